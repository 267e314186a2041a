//! The doctor: what on the broker would break the rule of one emitter, and what to do about it.
//!
//! Owns the findings. The look (`examine`) collects facts, the judgement is pure. What must stay true: all findings are
//! told, not only the first; what could not be looked at is a finding of its own and never counts as healthy.

mod judge;

use serde::Serialize;

use crate::forwarder::{ForwarderConfig, ForwarderError, routed_copies};
use crate::management::{
    BindingRow, ExchangeRow, Management, ManagementError, PermissionRow, QueueRow,
};

/// How a finding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Harmless now, dangerous later.
    Warn,
    /// Breaks a promise.
    Fail,
    /// Could not be looked at.
    Unknown,
}

impl Level {
    /// Its word in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check: `bypass`, `queue`, `permission`, `consumer-timeout`, `copies`, `version`.
    pub check: &'static str,
    /// How it stands.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; empty when nothing.
    pub hint: String,
}

/// What the broker says of one place.
#[derive(Debug, Clone, Default)]
struct Facts {
    /// Of which place: `raw legacy`, `raw new` or `public`.
    place: String,
    exchange: String,
    queue: Option<String>,
    version: Option<String>,
    nodes: usize,
    exchange_row: Option<ExchangeRow>,
    queue_row: Option<QueueRow>,
    bindings: Vec<BindingRow>,
    permissions: Vec<PermissionRow>,
    user: String,
}

/// Looks at every place of the forwarder.
///
/// # Errors
/// [`ForwarderError::Store`] when the log cannot be read; a broker that cannot be asked is a finding.
pub async fn examine(
    config: &ForwarderConfig,
    management: Option<&str>,
) -> Result<Vec<Finding>, ForwarderError> {
    let mut findings = Vec::new();
    for (side, raw) in &config.raw {
        let place = format!("raw {side}");
        let asked = Asked {
            place: &place,
            url: &raw.broker,
            exchange: &raw.exchange,
            queue: Some(&raw.queue),
        };
        findings.extend(look(config, management, asked).await);
    }
    let asked = Asked {
        place: "public",
        url: &config.public.broker,
        exchange: &config.public.exchange,
        queue: None,
    };
    findings.extend(look(config, management, asked).await);
    findings.push(judge::consumer_timeout());
    findings.push(judge::copies(routed_copies(config).await?));
    Ok(findings)
}

struct Asked<'a> {
    place: &'a str,
    url: &'a str,
    exchange: &'a str,
    queue: Option<&'a str>,
}

async fn look(
    config: &ForwarderConfig,
    management: Option<&str>,
    asked: Asked<'_>,
) -> Vec<Finding> {
    if asked.url.starts_with("embedded:") {
        return vec![judge::embedded(asked.place)];
    }
    let Some(management) = management else { return vec![judge::no_management(asked.place)] };
    match gather(management, &asked).await {
        Ok(facts) => judge::judge(config, &facts),
        Err(error) => vec![judge::unreachable(asked.place, &error)],
    }
}

async fn gather(management: &str, asked: &Asked<'_>) -> Result<Facts, ManagementError> {
    let api = Management::new(management, asked.url)?;
    let queue_row = match asked.queue {
        Some(queue) => api.queue(queue).await?,
        None => None,
    };
    Ok(Facts {
        place: asked.place.to_owned(),
        exchange: asked.exchange.to_owned(),
        queue: asked.queue.map(ToOwned::to_owned),
        version: api.overview().await?.map(|overview| overview.rabbitmq_version),
        nodes: api.nodes().await?.len(),
        exchange_row: api.exchange(asked.exchange).await?,
        queue_row,
        bindings: api.bindings_from(asked.exchange).await?,
        permissions: api.permissions().await?,
        user: user_of(asked.url),
    })
}

fn user_of(url: &str) -> String {
    let uri: Result<lapin::uri::AMQPUri, _> = url.parse();
    uri.map_or_else(|_| String::new(), |uri| uri.authority.userinfo.username)
}
