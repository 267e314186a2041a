//! RabbitMQ's own shovel between the same queues, with confirms (`ack-mode: on-confirm`).

use super::Shot;
use super::world::{Clock, PREFETCH, PUBLIC, PUSH, RAW_QUEUE, World};
use crate::{BenchError, failed};

pub(super) async fn forward(world: &World) -> Result<Shot, BenchError> {
    const WHAT: &str = "run a shovel";
    let management =
        world.node.management_url().ok_or_else(|| failed(WHAT)("no management API"))?;
    let vhost = world.url.rsplit('/').next().unwrap_or_default();
    let place = format!("{management}/api/parameters/shovel/{vhost}/bench");
    let value = serde_json::json!({ "value": {
        "src-protocol": "amqp091", "src-uri": world.url, "src-queue": RAW_QUEUE,
        "src-prefetch-count": PREFETCH,
        "dest-protocol": "amqp091", "dest-uri": world.url, "dest-exchange": PUBLIC,
        "ack-mode": "on-confirm",
    }});
    let client = reqwest::Client::new();
    let clock = Clock::start();
    let answer = client.put(&place).json(&value).send().await.map_err(failed(WHAT))?;
    answer.error_for_status().map_err(failed(WHAT))?;
    let per_second = world.until(&clock, PUSH, world.events).await?;
    let answer = client.delete(&place).send().await.map_err(failed(WHAT))?;
    answer.error_for_status().map_err(failed(WHAT))?;
    Ok(Shot { per_second, cpu_us: None })
}
