//! The limits: what a program with lapin and nothing else reaches between the same queues.

use super::Shot;
use super::world::{Clock, PREFETCH, PUBLIC, PUSH, RAW, RAW_QUEUE, World};
use crate::{BenchError, failed};
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, PublisherConfirm};
use std::collections::VecDeque;

/// Unconfirmed publishes.
const WINDOW: usize = 256;

/// Consume, publish with confirms, acknowledge what is confirmed; nothing is stored.
pub(super) async fn forward(world: &World) -> Result<Shot, BenchError> {
    const WHAT: &str = "forward plainly";
    let (connection, channel) = open(world).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(failed(WHAT))?;
    let clock = Clock::start();
    let options = BasicConsumeOptions::default();
    let consuming =
        channel.basic_consume(RAW_QUEUE.into(), "".into(), options, FieldTable::default());
    let mut deliveries = consuming.await.map_err(failed(WHAT))?;
    let mut window: VecDeque<(u64, PublisherConfirm)> = VecDeque::with_capacity(WINDOW);
    for _ in 0..world.events {
        if window.len() >= WINDOW {
            settle(&channel, &mut window, WINDOW / 2).await?;
        }
        let delivery = deliveries.next().await.ok_or_else(|| failed(WHAT)("no delivery"))?;
        let delivery = delivery.map_err(failed(WHAT))?;
        let confirm = channel
            .basic_publish(
                PUBLIC.into(),
                delivery.routing_key.clone(),
                BasicPublishOptions::default(),
                &delivery.data,
                delivery.properties.clone(),
            )
            .await
            .map_err(failed(WHAT))?;
        window.push_back((delivery.delivery_tag, confirm));
    }
    settle(&channel, &mut window, WINDOW).await?;
    let per_second = world.until(&clock, PUSH, world.events).await?;
    let shot = clock.shot(per_second, world.events);
    connection.close(200, "done".into()).await.map_err(failed(WHAT))?;
    Ok(shot)
}

/// Awaits the oldest confirms and acknowledges their deliveries at once.
async fn settle(
    channel: &Channel,
    window: &mut VecDeque<(u64, PublisherConfirm)>,
    oldest: usize,
) -> Result<(), BenchError> {
    const WHAT: &str = "forward plainly";
    let mut last = None;
    for (tag, confirm) in window.drain(..oldest.min(window.len())) {
        confirm.await.map_err(failed(WHAT))?;
        last = Some(tag);
    }
    if let Some(tag) = last {
        let options = BasicAckOptions { multiple: true };
        channel.basic_ack(tag, options).await.map_err(failed(WHAT))?;
    }
    Ok(())
}

/// Publishes from memory with confirms.
pub(super) async fn publish(world: &World) -> Result<Shot, BenchError> {
    const WHAT: &str = "publish plainly";
    let (connection, channel) = open(world).await?;
    let body = vec![b'x'; world.bytes];
    let clock = Clock::start();
    let mut window: VecDeque<PublisherConfirm> = VecDeque::with_capacity(WINDOW);
    for number in 0..world.rows {
        if window.len() >= WINDOW
            && let Some(oldest) = window.pop_front()
        {
            oldest.await.map_err(failed(WHAT))?;
        }
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_message_id(format!("p-{number}").into());
        let options = BasicPublishOptions::default();
        let publishing =
            channel.basic_publish(RAW.into(), "message.sent".into(), options, &body, properties);
        window.push_back(publishing.await.map_err(failed(WHAT))?);
    }
    for confirm in window {
        confirm.await.map_err(failed(WHAT))?;
    }
    let per_second = world.until(&clock, RAW_QUEUE, world.rows).await?;
    let shot = clock.shot(per_second, world.rows);
    connection.close(200, "done".into()).await.map_err(failed(WHAT))?;
    Ok(shot)
}

async fn open(world: &World) -> Result<(Connection, Channel), BenchError> {
    const WHAT: &str = "connect plainly";
    let connection = Connection::connect(&world.url, ConnectionProperties::default())
        .await
        .map_err(failed(WHAT))?;
    let channel = connection.create_channel().await.map_err(failed(WHAT))?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(failed(WHAT))?;
    Ok((connection, channel))
}
