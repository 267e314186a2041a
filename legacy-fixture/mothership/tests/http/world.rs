//! One mothership per test: its own database, its own port, real HTTP.

use banyan_test_servers::{Server, mariadb, or_skip};
use fixture_mothership::{Mothership, MothershipArgs};
use fixture_passport::{DEFAULT_SECRET, Passport};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect::Policy};
use serde_json::{Value, json};
use std::sync::OnceLock;
use tokio::{sync::oneshot, task::JoinHandle};

/// The MariaDB that the tests share, each with a database of its own; `None` when it is not installed.
static MARIADB: OnceLock<Option<Server>> = OnceLock::new();

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) passport: Passport,
    pub(crate) args: MothershipArgs,
    pub(crate) directory: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

/// Generates each test on SQLite and on a private MariaDB.
macro_rules! on_both {
    ($setup:expr; $($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::world::World::sqlite($setup).await).await;
            })*
        }
        mod mariadb {
            $(#[tokio::test]
            async fn $name() {
                if let Some(world) = $crate::world::World::mariadb($setup).await {
                    super::$name(world).await;
                }
            })*
        }
    };
}
pub(crate) use on_both;

impl World {
    pub(crate) async fn sqlite(setup: fn(&mut MothershipArgs)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", directory.path().join("mothership.db").display());
        Self::start(database, directory, setup).await
    }

    pub(crate) async fn mariadb(setup: fn(&mut MothershipArgs)) -> Option<Self> {
        let start = || MARIADB.get_or_init(|| or_skip(mariadb())).as_ref().map(Server::port);
        let port = tokio::task::spawn_blocking(start).await.unwrap()?;
        let directory = tempfile::tempdir().unwrap();
        let database = format!("mysql://root@127.0.0.1:{port}/m_{}", uuid::Uuid::new_v4().simple());
        Some(Self::start(database, directory, setup).await)
    }

    async fn start(
        database: String,
        directory: tempfile::TempDir,
        setup: fn(&mut MothershipArgs),
    ) -> Self {
        let mut args = MothershipArgs { users: 30, messages: 0, ..MothershipArgs::on(database) };
        setup(&mut args);
        args.broker = args
            .broker
            .map(|broker| broker.replace("{dir}", &directory.path().display().to_string()));
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        let mut world = Self {
            client,
            url: String::new(),
            passport: Passport::new(DEFAULT_SECRET),
            args,
            directory,
            stop: None,
            task: None,
        };
        world.restart().await;
        world
    }

    /// Ends gracefully, if running, and starts again on the same database.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        let mothership = Mothership::open(&self.args).await.unwrap();
        self.url = format!("http://{}", mothership.address());
        let (stop, stopped) = oneshot::channel::<()>();
        self.stop = Some(stop);
        self.task = Some(tokio::spawn(async move {
            mothership.serve(async { drop(stopped.await) }).await.unwrap();
        }));
    }

    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }

    /// A request of an API client.
    pub(crate) fn api(&self, method: Method, user_id: i64, path: &str) -> RequestBuilder {
        let token = format!("OAuth {}", self.passport.token(user_id));
        self.anonymous(method, path).header("authorization", token)
    }

    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, user_id: i64, path: &str) -> Response {
        self.api(Method::GET, user_id, path).send().await.unwrap()
    }

    pub(crate) async fn json(&self, user_id: i64, path: &str) -> Value {
        let response = self.get(user_id, path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.unwrap()
    }

    pub(crate) async fn text(&self, user_id: i64, path: &str) -> String {
        self.get(user_id, path).await.text().await.unwrap()
    }

    /// Sends a message; gives `MESSAGE`.
    pub(crate) async fn send(&self, from: i64, to: i64, body: &str) -> Value {
        let message = json!({ "recipient_id": to, "subject": "Hi", "body": body });
        self.create(from, message).await
    }

    pub(crate) async fn create(&self, from: i64, message: Value) -> Value {
        let body = json!({ "message": message });
        let response = self.api(Method::POST, from, "/messages").json(&body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        response.json::<Value>().await.unwrap()["message"].take()
    }

    pub(crate) async fn act(&self, method: Method, user_id: i64, path: &str) -> (u16, Value) {
        let response = self.api(method, user_id, path).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

/// Makes it a form post.
pub(crate) fn form(request: RequestBuilder, fields: &[(&str, &str)]) -> RequestBuilder {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}
