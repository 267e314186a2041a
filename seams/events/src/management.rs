//! RabbitMQ's management API: what AMQP itself cannot be asked, such as who is bound to an exchange.
//!
//! Only reads. It exists because a wrap must copy the bindings that applications made, and because a binding that
//! goes round the forwarder is found nowhere else. What must stay true: every call has an end; no URL with a
//! password reaches an error text.

use std::time::Duration;

use lapin::uri::AMQPUri;
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The API, seen from one virtual host.
#[derive(Debug, Clone)]
pub struct Management {
    client: reqwest::Client,
    base: Url,
    vhost: String,
}

/// Why the API did not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ManagementError {
    /// The management or the broker URL is none.
    #[error("cannot use the management API: {reason}")]
    Url {
        /// What is wrong.
        reason: String,
    },
    /// No answer.
    #[error("cannot reach the management API at `{place}`: {reason}")]
    Unreachable {
        /// Host and port.
        place: String,
        /// The last error.
        reason: String,
    },
    /// An answer other than expected.
    #[error("the management API at `{place}` refused `{path}`: {reason}")]
    Refused {
        /// Host and port.
        place: String,
        /// What was asked for.
        path: String,
        /// Status, or why the answer is unreadable.
        reason: String,
    },
}

/// One binding as the API tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BindingRow {
    /// Exchange that is bound to; empty for the default exchange.
    pub source: String,
    /// Queue or exchange that receives.
    pub destination: String,
    /// `queue` or `exchange`.
    pub destination_type: String,
    /// The pattern.
    pub routing_key: String,
    /// Arguments, for header exchanges.
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

/// One exchange.
#[derive(Debug, Clone, Deserialize)]
pub struct ExchangeRow {
    /// Its name.
    pub name: String,
    /// `topic`, `fanout`, `direct` or another.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it survives a restart.
    pub durable: bool,
}

/// One queue.
#[derive(Debug, Clone, Deserialize)]
pub struct QueueRow {
    /// Its name.
    pub name: String,
    /// Whether it survives a restart.
    pub durable: bool,
    /// `x-queue-type` and its like.
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

/// One user's permissions in the virtual host.
#[derive(Debug, Clone, Deserialize)]
pub struct PermissionRow {
    /// The user.
    pub user: String,
    /// Pattern of what it may publish to.
    pub write: String,
    /// Pattern of what it may consume and bind from.
    pub read: String,
}

/// The broker itself.
#[derive(Debug, Clone, Deserialize)]
pub struct OverviewRow {
    /// Such as `3.10.8`.
    pub rabbitmq_version: String,
}

/// One node of the cluster.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeRow {
    /// Its name.
    pub name: String,
}

impl Management {
    /// The API at `url` (with user and password) for the virtual host of a broker URL.
    ///
    /// # Errors
    /// [`ManagementError::Url`].
    pub fn new(url: &str, broker_url: &str) -> Result<Self, ManagementError> {
        let wrong = |reason: String| ManagementError::Url { reason };
        let base = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        let uri: AMQPUri = broker_url.parse().map_err(wrong)?;
        let client = reqwest::Client::builder()
            .timeout(ANSWER_MAX)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { client, base, vhost: uri.vhost })
    }

    /// Everything bound to an exchange.
    ///
    /// # Errors
    /// See [`ManagementError`].
    pub async fn bindings_from(&self, exchange: &str) -> Result<Vec<BindingRow>, ManagementError> {
        self.all(&["exchanges", &self.vhost, exchange, "bindings", "source"]).await
    }

    /// An exchange, if it is there.
    ///
    /// # Errors
    /// See [`ManagementError`].
    pub async fn exchange(&self, name: &str) -> Result<Option<ExchangeRow>, ManagementError> {
        self.get(&["exchanges", &self.vhost, name]).await
    }

    /// A queue, if it is there.
    ///
    /// # Errors
    /// See [`ManagementError`].
    pub async fn queue(&self, name: &str) -> Result<Option<QueueRow>, ManagementError> {
        self.get(&["queues", &self.vhost, name]).await
    }

    /// What users may do in the virtual host.
    ///
    /// # Errors
    /// See [`ManagementError`].
    pub async fn permissions(&self) -> Result<Vec<PermissionRow>, ManagementError> {
        self.all(&["vhosts", &self.vhost, "permissions"]).await
    }

    /// The broker's version.
    ///
    /// # Errors
    /// See [`ManagementError`].
    pub async fn overview(&self) -> Result<Option<OverviewRow>, ManagementError> {
        self.get(&["overview"]).await
    }

    /// The nodes of the cluster.
    ///
    /// # Errors
    /// See [`ManagementError`].
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, ManagementError> {
        self.all(&["nodes"]).await
    }

    async fn all<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Vec<T>, ManagementError> {
        Ok(self.get(path).await?.unwrap_or_default())
    }

    /// `None` for what is not there.
    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Option<T>, ManagementError> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.pop_if_empty().push("api").extend(path)),
            Err(()) => {
                return Err(ManagementError::Url { reason: "the URL has no path".to_owned() });
            }
        }
        let refused = |reason: String| ManagementError::Refused {
            place: self.place(),
            path: path.join("/"),
            reason,
        };
        let answer = self.client.get(url).send().await.map_err(|error| {
            let (place, reason) = (self.place(), error.without_url().to_string());
            ManagementError::Unreachable { place, reason }
        })?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !answer.status().is_success() {
            return Err(refused(format!("status {}", answer.status())));
        }
        let read = answer.json().await;
        read.map(Some).map_err(|error| refused(error.without_url().to_string()))
    }

    fn place(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        format!("{host}:{}", self.base.port_or_known_default().unwrap_or_default())
    }
}
