//! What the two consumers of the practice world made, as their status pages say.

use super::process::trouble;
use super::world::World;
use crate::failure::Failure;
use fixture_consumers::App;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// The effects of all events so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Effects {
    pub(crate) notifications: u64,
    /// Different messages among them.
    pub(crate) notified_messages: u64,
    /// Events by day and type.
    pub(crate) by_day: BTreeMap<(String, String), u64>,
    /// Messages that either consumer put aside as unreadable.
    pub(crate) poison: u64,
}

/// Asks both consumers.
pub(crate) async fn of(world: &World) -> Result<Effects, Failure> {
    let push = ask(world, App::PushNotifications, "/status").await?;
    let stats = ask(world, App::Stats, "/status").await?;
    let days = ask(world, App::Stats, "/stats").await?;
    let mut effects = Effects {
        notifications: number(&push, "notifications"),
        notified_messages: number(&push, "notified_messages"),
        poison: number(&push, "poison") + number(&stats, "poison"),
        by_day: BTreeMap::new(),
    };
    for row in days["stats"].as_array().into_iter().flatten() {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        effects.by_day.insert((text("day"), text("type")), number(row, "events"));
    }
    Ok(effects)
}

fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or(0)
}

async fn ask(world: &World, app: App, path: &str) -> Result<Value, Failure> {
    let failed = |why: String| trouble(format!("cannot ask {}", app.as_str())).because(why);
    let url = world.consumer_url(app).ok_or_else(|| failed("it does not run".to_owned()))?;
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
    let client = client.map_err(|error| failed(error.to_string()))?;
    let asked = client.get(format!("{url}{path}")).send().await;
    let answer = asked.and_then(reqwest::Response::error_for_status);
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    answer.json().await.map_err(|error| failed(error.to_string()))
}
