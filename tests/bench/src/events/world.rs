//! A private RabbitMQ with a raw and a public queue, and the clock of a case.

use super::{EventsArgs, Shot};
use crate::{BenchError, failed};
use banyan_events::broker::{Broker, ExchangeKind, Message, QueueOptions, Topology, connect};
use banyan_test_servers::{RabbitMq, rabbitmq_with_shovel};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const RAW: &str = "raw";
pub(super) const PUBLIC: &str = "public";
pub(super) const RAW_QUEUE: &str = "f.legacy";
pub(super) const PUSH: &str = "push";
/// Events in flight of every case.
pub(super) const PREFETCH: u16 = 1_500;
const BATCH: usize = 1_000;
/// A case that takes longer is broken.
const CASE_MAX: Duration = Duration::from_mins(5);

pub(super) struct World {
    pub(super) node: RabbitMq,
    pub(super) url: String,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) directory: tempfile::TempDir,
    pub(super) options: QueueOptions,
    pub(super) events: usize,
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl World {
    pub(super) async fn start(args: &EventsArgs) -> Result<Self, BenchError> {
        let node = tokio::task::spawn_blocking(rabbitmq_with_shovel)
            .await
            .map_err(failed("start RabbitMQ"))?
            .map_err(failed("start RabbitMQ"))?;
        // The limit of the test servers is small; an alarm in the middle of a case would be measured instead.
        let limit = ["set_vm_memory_high_watermark", "absolute", "2GB"];
        let node = tokio::task::spawn_blocking(move || node.control(&limit).map(|()| node))
            .await
            .map_err(failed("raise the memory limit"))?
            .map_err(failed("raise the memory limit"))?;
        let url = node.fresh_url();
        let broker = connect(&url).await.map_err(failed("connect"))?;
        let options = QueueOptions::default();
        let options = if args.quorum { options } else { options.classic() };
        let world = Self {
            node,
            url,
            broker,
            directory: tempfile::tempdir().map_err(failed("make a folder"))?,
            options,
            events: args.events as usize,
            rows: args.rows as usize,
            bytes: args.bytes as usize,
        };
        let topology = Topology::new()
            .exchange(RAW, ExchangeKind::Topic)
            .exchange(PUBLIC, ExchangeKind::Topic)
            .queue(RAW_QUEUE, options)
            .queue(PUSH, options)
            .bind(RAW_QUEUE, RAW, "#")
            .bind(PUSH, PUBLIC, "#");
        world.broker.declare(&topology).await.map_err(failed("declare"))?;
        Ok(world)
    }

    pub(super) fn event(&self, round: u32, number: usize) -> Message {
        Message::new(RAW, "message.sent", vec![b'x'; self.bytes])
            .persistent()
            .content_type("application/json")
            .kind("message.sent")
            .message_id(format!("m-{round}-{number}"))
    }

    /// Puts the events of a case into the raw queue.
    pub(super) async fn fill(&self, round: u32) -> Result<(), BenchError> {
        let numbers: Vec<usize> = (0..self.events).collect();
        for chunk in numbers.chunks(BATCH) {
            let batch = chunk.iter().map(|number| self.event(round, *number)).collect();
            self.broker.publish_all(batch).await.map_err(failed("fill the raw queue"))?;
        }
        Ok(())
    }

    /// Takes everything out of the public queue.
    pub(super) async fn empty(&self) -> Result<(), BenchError> {
        self.take_all(PUSH).await
    }

    /// Takes everything out of the raw queue.
    pub(super) async fn drop_raw(&self) -> Result<(), BenchError> {
        self.take_all(RAW_QUEUE).await
    }

    async fn take_all(&self, queue: &str) -> Result<(), BenchError> {
        const WHAT: &str = "empty a queue";
        while self.broker.depth(queue).await.map_err(failed(WHAT))? > 0 {
            let mut consumer = self.broker.consume(queue, 1_000).await.map_err(failed(WHAT))?;
            while let Ok(batch) =
                tokio::time::timeout(Duration::from_millis(500), consumer.next_batch(1_000)).await
            {
                let batch = batch.map_err(failed(WHAT))?;
                if let Some(last) = batch.last() {
                    consumer.ack_through(last.tag).await.map_err(failed(WHAT))?;
                }
            }
        }
        Ok(())
    }

    /// Waits until `wanted` messages lie in `queue`; answers the rate since `clock` began.
    pub(super) async fn until(
        &self,
        clock: &Clock,
        queue: &str,
        wanted: usize,
    ) -> Result<f64, BenchError> {
        while self.broker.depth(queue).await.map_err(failed("count"))? < wanted as u64 {
            if clock.began.elapsed() > CASE_MAX {
                return Err(failed("finish a case")("not within five minutes"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(rate(wanted, clock.began.elapsed()))
    }
}

/// When a case began, on the wall and in CPU time of this process.
pub(super) struct Clock {
    began: Instant,
    cpu_us: f64,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { began: Instant::now(), cpu_us: own_cpu_us() }
    }

    /// A shot of `events` at this rate, with the CPU that was used since the start.
    pub(super) fn shot(&self, per_second: f64, events: usize) -> Shot {
        Shot { per_second, cpu_us: Some((own_cpu_us() - self.cpu_us) / count(events)) }
    }
}

/// CPU time of this process so far, in microseconds.
fn own_cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: u32 = fields.filter_map(|field| field.parse::<u32>().ok()).sum();
    f64::from(ticks) * 10_000.0
}

fn rate(events: usize, elapsed: Duration) -> f64 {
    count(events) / elapsed.as_secs_f64().max(0.001)
}

fn count(events: usize) -> f64 {
    u32::try_from(events).map_or(f64::MAX, f64::from)
}
