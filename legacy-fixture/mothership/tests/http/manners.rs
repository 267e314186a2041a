//! Rails' manners: sessions, forgery tokens, overridden methods, formats, entity tags, pages, the worker pool.

use crate::world::{World, form, on_both};
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

on_both! { |_| ();
    browser_logs_in_and_writes_with_its_pages_token,
    login_refuses_wrong_passwords,
    every_answer_has_racks_headers,
    same_body_is_304_and_head_has_no_body,
    form_posts_mean_other_methods,
    suffix_slash_and_accept_choose_the_format,
    private_tracks_exist_for_their_owner_only,
    comments_plays_and_followings_are_stored,
    broken_bodies_are_refused,
    pages_show_texts_escaped,
    suggestions_and_status_are_noise,
}

struct Browser<'w> {
    world: &'w World,
    cookie: String,
    token: String,
}

impl<'w> Browser<'w> {
    async fn login(world: &'w World, login: &str) -> Self {
        let fields = [("login", login), ("password", "secret")];
        let response = form(world.anonymous(Method::POST, "/login"), &fields).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let set = response.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert!(set.ends_with("; path=/; HttpOnly; SameSite=Lax"), "{set}");
        let cookie = set.split(';').next().unwrap().to_owned();
        let session: Value = response.json().await.unwrap();
        Self { world, cookie, token: session["csrf_token"].as_str().unwrap().to_owned() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.world.anonymous(method, path).header("cookie", &self.cookie)
    }

    async fn page(&self, path: &str) -> String {
        let response =
            self.request(Method::GET, path).header("accept", "text/html").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        response.text().await.unwrap()
    }
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn meta_token(page: &str) -> String {
    let after = page.split("name=\"csrf-token\" content=\"").nth(1).unwrap();
    after.split('"').next().unwrap().to_owned()
}

async fn permalink(world: &World, id: i64) -> String {
    let user = world.json(id, &format!("/users/{id}")).await;
    user["user"]["permalink"].as_str().unwrap().to_owned()
}

async fn browser_logs_in_and_writes_with_its_pages_token(world: World) {
    let browser = Browser::login(&world, &permalink(&world, 3).await).await;
    let body = json!({ "message": { "recipient_id": 17, "body": "hello" } });
    let post = || browser.request(Method::POST, "/messages").json(&body);

    let forged = post().send().await.unwrap();
    assert_eq!(forged.status(), 422);
    assert_eq!(
        forged.text().await.unwrap(),
        r#"{"status":"422","error":"Invalid authenticity token"}"#
    );
    let foreign = fixture_passport::csrf::mask(&[1; 32], &[2; 32]);
    assert_eq!(post().header("x-csrf-token", foreign).send().await.unwrap().status(), 422);
    assert_eq!(world.json(17, "/users/17/messages").await["total"], 0);

    let sent = post().header("x-csrf-token", &browser.token).send().await.unwrap();
    assert_eq!(sent.status(), 201);
    let session = browser.request(Method::GET, "/session").send().await.unwrap();
    assert!(header(&session, "set-cookie").starts_with(&browser.cookie), "the session stays");
    let session: Value = session.json().await.unwrap();
    assert_eq!(session["user"]["id"], 3);
    assert_ne!(session["csrf_token"], browser.token, "masked anew");

    let token = meta_token(&browser.page("/").await);
    let fields = [
        ("authenticity_token", token.as_str()),
        ("message[recipient_id]", "17"),
        ("message[body]", "form"),
        ("return_to", "/inbox/17"),
    ];
    let sent = form(browser.request(Method::POST, "/messages"), &fields).send().await.unwrap();
    assert_eq!((sent.status().as_u16(), header(&sent, "location")), (303, "/inbox/17"));
    assert_eq!(world.json(17, "/users/17/messages").await["messages"][0]["body"], "form");

    let fields = [("authenticity_token", token.as_str())];
    let out = form(browser.request(Method::POST, "/logout"), &fields).send().await.unwrap();
    assert_eq!(out.status(), 204);
    assert!(header(&out, "set-cookie").contains("max-age=0"));
}

async fn login_refuses_wrong_passwords(world: World) {
    let name = permalink(&world, 3).await;
    for (login, password) in [(name.as_str(), "wrong"), ("nobody", "secret"), ("", "")] {
        let body = json!({ "login": login, "password": password });
        let response = world.anonymous(Method::POST, "/login").json(&body).send().await.unwrap();
        assert_eq!(response.status(), 401, "{login}");
        assert_eq!(header(&response, "set-cookie"), "");
    }
    let by_email = json!({ "login": format!("{name}@example.org"), "password": "secret" });
    let response = world.anonymous(Method::POST, "/login").json(&by_email).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(world.anonymous(Method::GET, "/session").send().await.unwrap().status(), 401);
}

async fn every_answer_has_racks_headers(world: World) {
    for path in ["/users/3/messages", "/nothing", "/users/4/messages", "/healthz", "/login"] {
        let response = world.get(3, path).await;
        assert_eq!(header(&response, "cache-control"), "max-age=0, private, must-revalidate");
        assert!(header(&response, "etag").starts_with("W/\""), "{path}");
        assert_eq!(header(&response, "x-powered-by"), "Mothership");
        assert!(!header(&response, "server").is_empty());
        let runtime = header(&response, "x-runtime");
        assert!(
            runtime.parse::<f64>().unwrap() < 10.0 && runtime.split('.').nth(1).unwrap().len() == 6
        );
        assert_eq!(header(&response, "x-request-id").len(), 32);
    }
    let request = world.api(Method::GET, 3, "/session").header("x-request-id", "abc-1");
    assert_eq!(header(&request.send().await.unwrap(), "x-request-id"), "abc-1");
}

async fn same_body_is_304_and_head_has_no_body(world: World) {
    world.send(3, 17, "a").await;
    let first = world.get(17, "/users/17/messages").await;
    let (etag, length) = (header(&first, "etag").to_owned(), first.content_length().unwrap());
    let again = world.api(Method::GET, 17, "/users/17/messages").header("if-none-match", &etag);
    let again = again.send().await.unwrap();
    assert_eq!((again.status().as_u16(), header(&again, "etag")), (304, etag.as_str()));
    assert_eq!(again.text().await.unwrap(), "");
    let head = world.api(Method::HEAD, 17, "/users/17/messages").send().await.unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "etag")), (200, etag.as_str()));
    assert_eq!(header(&head, "content-length"), length.to_string());
    assert_eq!(head.text().await.unwrap(), "");
    world.send(3, 17, "b").await;
    let changed = world.api(Method::GET, 17, "/users/17/messages").header("if-none-match", &etag);
    assert_eq!(changed.send().await.unwrap().status(), 200);
}

async fn form_posts_mean_other_methods(world: World) {
    world.send(3, 17, "a").await;
    let fields = [("_method", "patch"), ("message[body]", "edited by form")];
    let edited = form(world.api(Method::POST, 3, "/messages/1"), &fields).send().await.unwrap();
    assert_eq!(edited.status(), 200);
    assert_eq!(world.json(3, "/messages/1").await["message"]["body"], "edited by form");
    let read =
        world.api(Method::POST, 17, "/messages/1/read").header("x-http-method-override", "PUT");
    assert_eq!(read.send().await.unwrap().status(), 200);
    let fields = [("_method", "delete"), ("return_to", "/inbox")];
    let deleted = form(world.api(Method::POST, 17, "/messages/1"), &fields).send().await.unwrap();
    assert_eq!((deleted.status().as_u16(), header(&deleted, "location")), (303, "/inbox"));
    assert_eq!(world.get(17, "/messages/1").await.status(), 404);
}

async fn suffix_slash_and_accept_choose_the_format(world: World) {
    world.send(3, 17, "a").await;
    for path in ["/users/17/messages.json", "/users/17/messages/", "/users/17/messages.json?page=1"]
    {
        assert_eq!(world.json(17, path).await["total"], 1, "{path}");
    }
    let accept = async |path: &str, accept: &str| {
        let request = world.api(Method::GET, 17, path).header("accept", accept);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        header(&response, "content-type").split(';').next().unwrap().to_owned()
    };
    assert_eq!(accept("/users/3", "text/html,*/*;q=0.8").await, "text/html");
    assert_eq!(accept("/users/3.json", "text/html").await, "application/json");
    assert_eq!(accept("/users/3", "*/*").await, "application/json");
    assert_eq!(accept("/users/17/messages", "text/html").await, "application/json", "the contract");
}

async fn private_tracks_exist_for_their_owner_only(world: World) {
    let track = json!({ "track": { "title": "Demo", "sharing": "private", "duration_ms": 1000 } });
    let response = world.api(Method::POST, 3, "/tracks").json(&track).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let uri = header(&response, "location").to_owned();
    let created: Value = response.json().await.unwrap();
    assert_eq!(created["track"]["uri"], uri.as_str());
    assert_eq!(world.json(3, &uri).await, created);
    assert_eq!(world.json(3, "/users/3/tracks").await["tracks"][0], created["track"]);
    for path in [uri.clone(), format!("{uri}/comments")] {
        assert_eq!(world.get(4, &path).await.status(), 404);
        assert_eq!(world.anonymous(Method::GET, &path).send().await.unwrap().status(), 404);
    }
    assert_eq!(world.act(Method::POST, 4, &format!("{uri}/plays")).await.0, 404);
    let others = world.json(4, "/users/3/tracks?per_page=100").await;
    let mut others = others["tracks"].as_array().unwrap().iter();
    assert!(others.all(|track| track["sharing"] == "public"));
    let bad = json!({ "track": { "title": "", "sharing": "secret" } });
    let refused = world.api(Method::POST, 3, "/tracks").json(&bad).send().await.unwrap();
    assert_eq!(
        refused.text().await.unwrap(),
        r#"{"errors":{"title":["can't be blank"],"sharing":["is not included in the list"]}}"#
    );
}

async fn comments_plays_and_followings_are_stored(world: World) {
    let track = json!({ "track": { "title": "Demo" } });
    let track: Value = world
        .api(Method::POST, 3, "/tracks")
        .json(&track)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let uri = track["track"]["uri"].as_str().unwrap().to_owned();
    let comment = json!({ "comment": { "body": "nice 🔥", "timestamp_ms": 500 } });
    let comments = format!("{uri}/comments");
    let response = world.api(Method::POST, 4, &comments).json(&comment).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let listed = world.json(5, &comments).await;
    assert_eq!(listed["comments"][0], response.json::<Value>().await.unwrap()["comment"]);
    assert_eq!(listed["comments"][0]["user"]["id"], 4);
    for count in 1..=2 {
        let (status, play) = world.act(Method::POST, 5, &format!("{uri}/plays")).await;
        assert_eq!((status, &play["playback_count"]), (201, &json!(count)));
    }
    let follow = async |who: i64, whom: i64| {
        let body = json!({ "following": { "followee_id": whom } });
        let request = world.api(Method::POST, who, "/users/29/followings").json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    let before = world.json(29, "/users/30").await["user"]["followers_count"].as_i64().unwrap();
    assert!([200, 201].contains(&follow(29, 30).await));
    assert_eq!(follow(29, 30).await, 200, "the second time nothing is new");
    let after = world.json(29, "/users/30").await["user"]["followers_count"].as_i64().unwrap();
    assert!(after == before + 1 || after == before);
    assert_eq!(follow(29, 29).await, 422);
    assert_eq!(follow(29, 9_999).await, 422);
    assert_eq!(follow(28, 30).await, 403);
}

async fn broken_bodies_are_refused(world: World) {
    let post = |body: &'static str| {
        let request =
            world.api(Method::POST, 3, "/messages").header("content-type", "application/json");
        request.body(body).send()
    };
    for body in ["{", "[]", "\"text\"", "{\"message\":[]}", "{\"message\":7}"] {
        assert_eq!(post(body).await.unwrap().status(), 400, "{body}");
    }
    let huge = world.api(Method::POST, 3, "/messages").body("x".repeat(1024 * 1024 + 1));
    assert_eq!(huge.send().await.unwrap().status(), 413);
    assert_eq!(post("{}").await.unwrap().status(), 400);
}

async fn pages_show_texts_escaped(world: World) {
    world.send(17, 3, "<script>alert('1')</script>").await;
    let browser = Browser::login(&world, &permalink(&world, 3).await).await;
    for path in ["/", "/login", "/inbox", "/inbox/17", "/users/17"] {
        let page = browser.page(path).await;
        assert!(page.contains("name=\"csrf-token\""), "{path}");
        assert!(!page.contains("<script>"), "{path}");
    }
    let inbox = browser.page("/inbox").await;
    assert!(inbox.contains("&lt;script&gt;alert(&#39;1&#39;)"), "{inbox}");
    assert!(inbox.contains("name=\"_method\" value=\"put\""), "{inbox}");
    assert_eq!(world.anonymous(Method::GET, "/inbox").send().await.unwrap().status(), 401);
}

async fn suggestions_and_status_are_noise(world: World) {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        seen.insert(world.text(3, "/users/3/suggestions").await);
    }
    assert!(seen.len() > 1, "always the same order");
    let status = world.json(3, "/status").await;
    assert_eq!(status["pid"], std::process::id());
    assert_eq!(world.json(3, "/healthz").await, json!({ "status": "ok" }));
}

#[tokio::test]
async fn full_waiting_line_answers_503_and_health_does_not_wait() {
    let world = World::sqlite(|args| {
        args.workers = 1;
        args.think_ms = 20;
    })
    .await;
    let many = join_all((0..60).map(|_| world.get(3, "/users/3/messages/unread_count"))).await;
    let count = |status: u16| many.iter().filter(|answer| answer.status() == status).count();
    assert_eq!(count(200) + count(503), 60);
    assert!(count(200) >= 33 && count(503) > 0, "{} served, {} refused", count(200), count(503));
    let refused = many.iter().find(|answer| answer.status() == 503).unwrap();
    assert_eq!(header(refused, "retry-after"), "1");
    assert_eq!(world.get(3, "/healthz").await.status(), 200);
}
