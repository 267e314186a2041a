//! Behaviour of the API over real sockets, with a real store and a real agent behind it.

use crate::access::{AdminToken, Role};
use crate::server::{AdminConfig, AdminParts, AdminServer, serve};
use crate::{AdminError, Readiness};
use banyan_control::{Agent, AgentOptions, ControlStore, SqliteStore};
use banyan_domain::{
    Catalogue, ContextName, ContextSpec, EndpointName, EndpointSpec, PathTemplate, Percent, Phase,
};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const VIEWER: &str = "viewer-token-0123456789";
const ON_CALL: &str = "on-call-token-0123456789";
const ADMIN: &str = "admin-token-0123456789";

struct World {
    server: AdminServer,
    agent: Agent,
    store: Arc<SqliteStore>,
    readiness: Readiness,
    client: Client,
    folder: TempDir,
}

fn catalogue() -> Catalogue {
    let spec = |name: &str, method: &str, path: &str| EndpointSpec {
        name: EndpointName::new(name).unwrap(),
        methods: vec![method.to_owned()],
        path: PathTemplate::new(path).unwrap(),
        start: Phase::Legacy,
        mirror_percent: Percent::HUNDRED,
        mirror_back: true,
        fallback: true,
        sticky: Vec::new(),
    };
    let context = ContextSpec {
        name: ContextName::new("messages").unwrap(),
        sticky: vec!["path:user_id".to_owned().try_into().unwrap()],
        read_your_writes_max_ms: 5_000,
        endpoints: vec![
            spec("messages.list", "GET", "/users/{user_id}/messages"),
            spec("messages.create", "POST", "/messages"),
        ],
    };
    Catalogue { contexts: vec![context] }
}

fn tokens() -> Vec<AdminToken> {
    let token = |name: &str, role, token: &str| AdminToken {
        name: name.to_owned(),
        role,
        token: token.to_owned(),
    };
    vec![
        token("ci", Role::Viewer, VIEWER),
        token("olga", Role::OnCall, ON_CALL),
        token("ann", Role::Admin, ADMIN),
    ]
}

impl World {
    async fn new(tokens: Vec<AdminToken>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.db").display().to_string();
        let store = Arc::new(SqliteStore::open(&path).await.unwrap());
        let options = AgentOptions {
            poll_ms: 10,
            heartbeat_ms: 20,
            ..AgentOptions::new("proxy-1", "proxy", folder.path().join("table"))
        };
        let agent = Agent::start(store.clone(), catalogue(), options).await.unwrap();
        let readiness = Readiness::new();
        let config = AdminConfig {
            tokens,
            name: "test".to_owned(),
            applied_timeout_ms: 2_000,
            ..AdminConfig::default()
        };
        let parts = AdminParts::of(&agent, readiness.clone());
        let server = serve(config, parts, &CancellationToken::new()).await.unwrap();
        Self { server, agent, store, readiness, client: Client::new(), folder }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let url = format!("http://{}{path}", self.server.address);
        let mut request = self.client.request(method, url);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, VIEWER, None).await
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> (StatusCode, Value) {
        self.call(Method::POST, path, token, Some(body)).await
    }

    async fn flip(&self, phase: &str) -> (StatusCode, Value) {
        let body = json!({"phase": phase, "reason": "test"});
        self.post("/api/endpoints/messages.list/flip", ADMIN, body).await
    }
}

#[tokio::test]
async fn a_flip_answers_after_the_proxies_applied_it() {
    let world = World::new(tokens()).await;
    let body = json!({"phase": "shadow", "reason": "week 1", "generation": 1});
    let (status, done) = world.post("/api/endpoints/messages.list/flip", ADMIN, body).await;
    assert_eq!(status, StatusCode::OK, "{done}");
    assert_eq!((&done["generation"], &done["changed"]), (&json!(2), &json!(true)));
    assert_eq!(done["applied"]["applied"], json!(1));
    let message = done["message"].as_str().unwrap();
    assert!(message.starts_with("generation 2: applied 1/1 in "), "{message}");
    assert_eq!(world.agent.generation().0, 2, "the answer came after the proxy applied it");

    let (_, audit) = world.get("/api/audit?limit=1").await;
    assert_eq!((&audit[0]["actor"], &audit[0]["reason"]), (&json!("ann"), &json!("week 1")));
    let body = json!({"phase": "canary", "percent": 10, "reason": "week 2"});
    let (status, done) = world.post("/api/endpoints/messages.list/flip", ADMIN, body).await;
    assert_eq!((status, &done["moved"][0]["to"]["percent"]), (StatusCode::OK, &json!(10)));
}

#[tokio::test]
async fn each_refusal_has_its_status_code_and_a_hint() {
    let world = World::new(tokens()).await;
    let flip = "/api/endpoints/messages.list/flip";
    let to = |phase: &str| json!({"phase": phase, "reason": "r"});
    let mut stale = to("shadow");
    stale["generation"] = json!(0);
    let write = "/api/endpoints/messages.create/flip";
    let unknown = "/api/endpoints/messages.nope/flip";
    let cases = [
        (flip, stale, 409, "banyan::flip::stale"),
        (flip, to("new"), 422, "banyan::flip::illegal_transition"),
        (flip, to("sideways"), 422, "banyan::admin::invalid"),
        (flip, json!({"phase": "shadow", "reason": " "}), 422, "banyan::admin::invalid"),
        (flip, json!({"phase": "shadow", "raeson": "r"}), 422, "banyan::admin::invalid"),
        (
            flip,
            json!({"phase": "canary", "percent": 250, "reason": "r"}),
            422,
            "banyan::admin::invalid",
        ),
        (write, to("shadow"), 422, "banyan::flip::write_endpoint"),
        (unknown, to("shadow"), 404, "banyan::flip::unknown_endpoint"),
        ("/api/endpoints/NOPE/flip", to("shadow"), 404, "banyan::admin::not_found"),
        ("/api/endpoints/messages.list/rollback", json!({}), 422, "banyan::rollback::nothing"),
        ("/api/contexts/tracks/rollback", json!({}), 404, "banyan::flip::unknown_context"),
        ("/api/nope", json!({}), 404, "banyan::admin::not_found"),
        ("/api/status", json!({}), 405, "banyan::admin::method"),
    ];
    for (path, body, expected, code) in cases {
        let (status, problem) = world.post(path, ADMIN, body.clone()).await;
        assert_eq!((status.as_u16(), &problem["code"]), (expected, &json!(code)), "{path} {body}");
        assert!(!problem["hint"].as_str().unwrap().is_empty(), "{problem}");
        assert!(!problem["message"].as_str().unwrap().is_empty(), "{problem}");
        assert_eq!(problem["retryable"], json!(false));
    }
    assert_eq!(world.agent.generation().0, 1, "nothing was changed");
    let (_, audit) = world.get("/api/audit").await;
    let tries = audit.as_array().unwrap().iter().filter(|entry| entry["outcome"] != "done");
    assert_eq!(tries.count(), 6, "every try that reached the rules is audited: {audit}");
}

#[tokio::test]
async fn a_stale_try_says_who_changed_it_and_when() {
    let world = World::new(tokens()).await;
    world.flip("shadow").await;
    let body = json!({"phase": "legacy", "reason": "r", "generation": 1});
    let (status, problem) = world.post("/api/endpoints/messages.list/flip", ADMIN, body).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains("ann changed it") && message.ends_with("s ago"), "{message}");
}

#[tokio::test]
async fn a_freeze_locks_the_way_forward_only() {
    let world = World::new(tokens()).await;
    world.flip("shadow").await;
    let (status, _) = world.post("/api/freeze", ON_CALL, json!({"reason": "incident"})).await;
    assert_eq!(status, StatusCode::OK);
    let body = json!({"phase": "canary", "percent": 1, "reason": "r"});
    let (status, problem) = world.post("/api/endpoints/messages.list/flip", ADMIN, body).await;
    assert_eq!((status, &problem["code"]), (StatusCode::LOCKED, &json!("banyan::flip::frozen")));
    // A phone at night: no body at all.
    let (status, done) =
        world.call(Method::POST, "/api/contexts/messages/rollback", ON_CALL, None).await;
    assert_eq!((status, &done["moved"][0]["to"]["name"]), (StatusCode::OK, &json!("legacy")));
    let (status, _) = world.post("/api/unfreeze", ADMIN, json!({"reason": "over"})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(world.flip("shadow").await.0, StatusCode::OK);
}

#[tokio::test]
async fn roles_allow_looking_stepping_back_and_going_forward() {
    let world = World::new(tokens()).await;
    world.flip("shadow").await;
    let rollback = "/api/endpoints/messages.list/rollback";
    let flip = "/api/endpoints/messages.list/flip";
    let to = |phase: &str| json!({"phase": phase, "reason": "r"});
    for (path, token, body) in [
        (rollback, VIEWER, json!({})),
        ("/api/freeze", VIEWER, json!({})),
        (flip, VIEWER, to("legacy")),
        (flip, ON_CALL, json!({"phase": "canary", "percent": 5, "reason": "r"})),
        ("/api/unfreeze", ON_CALL, json!({})),
    ] {
        let (status, problem) = world.post(path, token, body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
        assert!(problem["message"].as_str().unwrap().contains("may"), "{problem}");
    }
    assert_eq!(world.agent.generation().0, 2);
    let (status, _) = world.post(flip, ON_CALL, to("legacy")).await;
    assert_eq!(status, StatusCode::OK, "a flip back is a step back");
    let why = json!({"method": "GET", "url": "/users/3/messages"});
    assert_eq!(world.post("/api/why", VIEWER, why).await.0, StatusCode::OK);
}

#[tokio::test]
async fn without_a_valid_token_only_the_probes_answer() {
    let world = World::new(tokens()).await;
    for path in ["/api/status", "/api/routes", "/api/audit"] {
        for token in ["", "wrong-token-0123456789"] {
            let (status, problem) = world.call(Method::GET, path, token, None).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(problem["code"], "banyan::admin::unauthorized");
        }
    }
    let (status, _) = world.call(Method::POST, "/api/freeze", "", None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.call(Method::GET, "/live", "", None).await.0, StatusCode::OK);
    let (status, text) = world.call(Method::GET, "/metrics", "", None).await;
    assert_eq!(status, StatusCode::OK);
    let text = text.as_str().unwrap();
    for name in
        ["banyan_control_store_up", "banyan_route_generation", "banyan_admin_requests_total"]
    {
        assert!(text.contains(name), "{name}");
    }
}

#[tokio::test]
async fn ready_says_503_before_the_start_and_while_stopping() {
    let world = World::new(tokens()).await;
    let ready = async || world.call(Method::GET, "/ready", "", None).await;
    assert_eq!(ready().await, (StatusCode::SERVICE_UNAVAILABLE, json!("starting\n")));
    world.readiness.set_ready();
    assert_eq!(ready().await, (StatusCode::OK, json!("ready\n")));
    world.readiness.set_stopping();
    assert_eq!(ready().await, (StatusCode::SERVICE_UNAVAILABLE, json!("stopping\n")));
}

#[tokio::test]
async fn no_get_changes_anything() {
    let world = World::new(tokens()).await;
    world.flip("shadow").await;
    for path in [
        "/api/endpoints/messages.list/flip",
        "/api/endpoints/messages.list/rollback",
        "/api/contexts/messages/rollback",
        "/api/freeze",
        "/api/unfreeze",
    ] {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
            let (status, _) = world.call(method.clone(), path, ADMIN, None).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
    }
    assert_eq!(world.agent.generation().0, 2);
}

#[tokio::test]
async fn a_page_of_another_site_cannot_change_anything_even_without_tokens() {
    let world = World::new(Vec::new()).await;
    let own = format!("http://{}", world.server.address);
    for (origin, expected) in [("https://evil.example", 403), ("null", 403), (own.as_str(), 200)] {
        let request = world.client.post(format!("{own}/api/freeze")).header("origin", origin);
        assert_eq!(request.send().await.unwrap().status().as_u16(), expected, "{origin}");
    }
    let rebound = world.client.get(format!("{own}/api/status")).header("host", "evil.example");
    assert_eq!(rebound.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let (_, audit) = world.get("/api/audit?limit=1").await;
    assert_eq!(audit[0]["actor"], "local");
}

#[tokio::test]
async fn status_routes_and_one_route_show_the_same_state() {
    let world = World::new(tokens()).await;
    world.flip("shadow").await;
    let (_, status) = world.get("/api/status").await;
    assert_eq!((&status["environment"], &status["generation"]), (&json!("test"), &json!(2)));
    assert_eq!(status["store"]["health"], "ok");
    assert_eq!(
        (&status["instances"]["applied"], &status["instances"]["of"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(status["contexts"][0]["phase"], "shadow");
    let (_, routes) = world.get("/api/routes").await;
    assert_eq!(routes["routes"].as_array().unwrap().len(), 2);
    let (code, route) = world.get("/api/routes/messages.list").await;
    assert_eq!((code, &route["phase"]["name"]), (StatusCode::OK, &json!("shadow")));
    assert_eq!(route["path"], "/users/{user_id}/messages");
    assert_eq!(route["audit"][0]["action"], "flip");
    assert_eq!(world.get("/api/routes/messages.nope").await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.get("/api/audit?limit=x").await.0, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn why_explains_with_the_table_in_force() {
    let world = World::new(tokens()).await;
    world.flip("shadow").await;
    let ask = async |method: &str, url: &str| {
        world.post("/api/why", VIEWER, json!({"method": method, "url": url})).await.1
    };
    let list = ask("GET", "http://shop.example/users/3/messages?page=2").await;
    assert_eq!((&list["endpoint"], &list["side"]), (&json!("messages.list"), &json!("legacy")));
    assert_eq!((&list["mirrored_to"], &list["reason"]), (&json!("new"), &json!("phase shadow")));
    assert_eq!(ask("post", "/messages").await["kind"], "write");
    let odd = ask("GET", "/users//3/messages").await;
    assert!(odd["refused"].as_str().unwrap().contains("empty segment"), "{odd}");
    let other = ask("GET", "/tracks").await;
    assert_eq!((&other["endpoint"], &other["kind"]), (&Value::Null, &json!("unmatched")));
}

#[tokio::test]
async fn with_the_store_away_looking_works_and_changing_is_refused_as_retryable_or_not() {
    let world = World::new(tokens()).await;
    world.flip("shadow").await;
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(world.folder.path().join(format!("control.db{suffix}"))));
    }
    let (code, status) = world.get("/api/status").await;
    assert_eq!((code, &status["store"]["health"]), (StatusCode::OK, &json!("away")));
    assert_eq!(status["contexts"][0]["phase"], "shadow", "what this process knows is shown");
    assert_eq!(world.get("/api/routes/messages.list").await.0, StatusCode::OK);
    let (code, problem) = world.flip("legacy").await;
    assert_eq!(
        (code, &problem["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("banyan::control::missing"))
    );
    let text = problem.to_string();
    assert!(text.contains("banyan serve"), "{text}");
}

#[tokio::test]
async fn a_proxy_that_does_not_answer_is_named_in_the_answer() {
    let mut world = World::new(tokens()).await;
    let silent = banyan_control::InstanceReport {
        instance: "proxy-2".to_owned(),
        started_ms: u64::MAX / 4,
        ..banyan_control::InstanceReport::default()
    };
    world.store.heartbeat(&silent).await.unwrap();
    // Long enough for the proxy that does answer, on a busy machine too.
    let config = AdminConfig { applied_timeout_ms: 2_000, ..AdminConfig::default() };
    let parts = AdminParts::of(&world.agent, Readiness::new());
    world.server = serve(config, parts, &CancellationToken::new()).await.unwrap();
    let (status, done) = world.flip("shadow").await;
    assert_eq!((status, &done["changed"]), (StatusCode::OK, &json!(true)));
    assert_eq!(done["applied"]["missing"], json!(["proxy-2"]));
    assert!(done["message"].as_str().unwrap().ends_with("no answer from proxy-2"), "{done}");
}

#[tokio::test]
async fn an_open_listener_without_tokens_and_a_taken_port_are_refused() {
    let world = World::new(tokens()).await;
    let try_on = async |listen: &str| {
        let config = AdminConfig { listen: listen.parse().unwrap(), ..AdminConfig::default() };
        let parts = AdminParts::of(&world.agent, Readiness::new());
        serve(config, parts, &CancellationToken::new()).await.unwrap_err()
    };
    assert!(matches!(try_on("0.0.0.0:0").await, AdminError::Unprotected { .. }));
    let taken = try_on(&world.server.address.to_string()).await;
    assert!(matches!(taken, AdminError::Listen { .. }) && taken.hint().contains("ss -ltnp"));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_stopping_closes_the_port() {
    let world = World::new(tokens()).await;
    let (status, _) =
        world.post("/api/freeze", ADMIN, json!({"reason": "x".repeat(100_000)})).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let long = json!({"reason": "x".repeat(501)});
    let (status, _) = world.post("/api/freeze", ADMIN, long).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let address = world.server.address;
    world.server.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
