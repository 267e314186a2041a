//! The walk: legacy, shadow with defects, shadow without, canary, new, rollback, new; then the writes there, back, there.
//!
//! Owns the order of the steps and what each waits for. What must stay true: each wait is for evidence, has
//! a bound, and fails by name.

use super::Size;
use super::effect;
use super::process::{Answer, trouble};
use super::summary::{Cause, ConsumerCounts, EventCounts, Summary, Walked};
use super::tale::Tale;
use super::world::World;
use crate::config;
use crate::failure::Failure;
use crate::wiring::control;
use banyan_control::{ControlStore, ShadowSummary};
use banyan_events::broker::{Broker, ExchangeKind, QueueOptions, Topology};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The read endpoints, in the order in which they move.
const READS: [&str; 5] = [
    "messages.list",
    "messages.conversations",
    "messages.conversation",
    "messages.unread_count",
    "messages.show",
];

/// The endpoints in which `--defects` plants something.
const DEFECTIVE: [&str; 4] =
    ["messages.list", "messages.conversation", "messages.unread_count", "messages.show"];

const WATCHER: &str = "demo.watcher";
/// How long the consumers may take after the last event is public.
const CATCH_UP_MAX: Duration = Duration::from_secs(15);

/// How often a switch is tried that is given up each time.
const SWITCH_TRIES: u32 = 3;

/// One walk through a world.
pub(crate) struct Walk<'w> {
    world: &'w mut World,
    tale: &'w Tale,
    size: Size,
    started: Instant,
    flips: u32,
}

/// What the walk looks at while it waits.
struct Eyes {
    store: Arc<dyn ControlStore>,
    broker: Arc<dyn Broker>,
}

impl<'w> Walk<'w> {
    pub(crate) fn new(world: &'w mut World, tale: &'w Tale, size: Size) -> Self {
        Self { world, tale, size, started: Instant::now(), flips: 0 }
    }

    /// The whole story.
    pub(crate) async fn whole(&mut self) -> Result<Summary, Failure> {
        let eyes = self.open_eyes().await?;
        let causes = self.find_defects(&eyes).await?;
        let (compared, mismatches, since) = self.pass_the_gate(&eyes).await?;
        self.ramp().await?;
        self.roll_back_and_forward().await?;
        let switches = self.switch_the_context(&since).await?;
        self.finish(&eyes, Walked { causes, compared, mismatches, switches, ..Walked::default() })
            .await
    }

    async fn open_eyes(&mut self) -> Result<Eyes, Failure> {
        let config = config::load(&self.world.folder().join("banyan.toml"))?;
        let store = control::open(&config).await?;
        let broker = banyan_events::broker::connect(&self.world.places.broker)
            .await
            .map_err(|error| trouble("cannot reach the broker").because(error.to_string()))?;
        let topology = Topology::new()
            .exchange("public-events", ExchangeKind::Topic)
            .queue(WATCHER, QueueOptions::default())
            .bind(WATCHER, "public-events", "#");
        broker.declare(&topology).await.map_err(|error| {
            trouble("cannot bind to the public exchange").because(error.to_string())
        })?;
        Ok(Eyes { store, broker })
    }

    async fn find_defects(&mut self, eyes: &Eyes) -> Result<Vec<Cause>, Failure> {
        self.tale.heading("Shadow: legacy answers, the service is asked afterwards and compared");
        let since = next_second();
        self.flip_all(&["shadow"], "first shadow reads").await?;
        let found = |summary: &ShadowSummary| {
            DEFECTIVE.iter().all(|name| {
                summary
                    .endpoints
                    .iter()
                    .any(|(n, e)| n.as_str() == *name && !e.differences.is_empty())
            })
        };
        let summary = self.wait_for_shadow(eyes, since, "four defects", found).await?;
        let since_text = since.to_string();
        let gate =
            self.world.launcher.expect(&["shadow", "gate", "--since", &since_text], 1).await?;
        self.tale.say("the gate fails, as it must:");
        self.tale.command(&gate, 12);
        let report =
            self.world.launcher.expect(&["shadow", "report", "--since", &since_text], 0).await?;
        self.tale.command(&report, 60);
        Ok(causes(&summary))
    }

    async fn pass_the_gate(&mut self, eyes: &Eyes) -> Result<(u64, u64, String), Failure> {
        self.tale.heading("The service without its defects");
        self.world.start_messages(false).await?;
        let since = next_second() + 1_000;
        let (enough, distinct) = (self.size.compared, self.size.distinct);
        let wanted = |summary: &ShadowSummary| {
            let compared: u64 = summary.endpoints.values().map(|e| e.outcomes.compared()).sum();
            let all_seen = READS.iter().all(|name| {
                summary.endpoints.iter().any(|(n, e)| n.as_str() == *name && e.distinct >= distinct)
            });
            compared >= enough && all_seen
        };
        let summary = self.wait_for_shadow(eyes, since, "enough comparisons", wanted).await?;
        let gate = self
            .world
            .launcher
            .expect(&["shadow", "gate", "--since", &since.to_string()], 0)
            .await?;
        self.tale.say("the gate passes:");
        self.tale.command(&gate, 12);
        let sum = |count: fn(&banyan_control::shadow::EndpointShadow) -> u64| -> u64 {
            summary.endpoints.values().map(count).sum()
        };
        let counted = (sum(|e| e.outcomes.compared()), sum(|e| e.outcomes.confirmed()));
        Ok((counted.0, counted.1, since.to_string()))
    }

    async fn ramp(&mut self) -> Result<(), Failure> {
        self.tale.heading("Canary, then new: callers move and never move back");
        for percent in ["10", "50"] {
            self.flip_all(&["canary", "--percent", percent], "ramp").await?;
            self.let_traffic_pass().await?;
        }
        let why =
            self.world.launcher.expect(&["route", "why", "GET", "/users/3/messages"], 0).await?;
        self.tale.command(&why, 6);
        self.flip_all(&["new"], "all callers").await?;
        self.let_traffic_pass().await
    }

    async fn roll_back_and_forward(&mut self) -> Result<(), Failure> {
        self.tale.heading("3 a.m.: one step back, on every proxy at once");
        let back = self
            .world
            .launcher
            .expect(&["rollback", "messages", "--reason", "drill", "--as", "oncall"], 0)
            .await?;
        self.flips += 1;
        self.tale.command(&back, 8);
        self.let_traffic_pass().await?;
        self.tale.heading("And forward again");
        self.flip_all(&["canary", "--percent", "50"], "after the drill").await?;
        self.flip_all(&["new"], "after the drill").await?;
        self.let_traffic_pass().await?;
        let status = self.world.launcher.expect(&["status"], 0).await?;
        self.tale.command(&status, 12);
        Ok(())
    }

    /// Writes, events and sync of the whole context: there, back with what was written meanwhile, and there again.
    async fn switch_the_context(&mut self, since: &str) -> Result<Vec<u64>, Failure> {
        self.tale.heading("The cutover: writes, events and sync move together, under traffic");
        let run =
            async |world: &World, words: &[&str], exit| world.launcher.expect(words, exit).await;
        run(self.world, &["sync", "install", "--execute"], 0).await?;
        let fences =
            run(self.world, &["context", "fence", "install", "messages", "--execute"], 0).await?;
        self.tale.say(&format!(
            "fences: {} triggers now refuse a write on the side that does not own the context",
            fences.stdout.lines().filter(|line| line.starts_with("made trigger")).count()
        ));
        let compared = run(self.world, &["sync", "verify", "messages"], 0).await?;
        self.tale.command(&compared, 6);
        let plan =
            run(self.world, &["context", "cutover", "messages", "--since", since], 1).await?;
        self.tale.command(&plan, 24);
        let mut holds = Vec::new();
        let there = [
            "context",
            "cutover",
            "messages",
            "--execute",
            "--since",
            since,
            "--reason",
            "the writes",
            "--as",
            "demo",
        ];
        holds.push(self.switch(&there).await?);
        self.let_traffic_pass().await?;
        let drill = run(self.world, &["context", "drill", "messages"], 0).await?;
        self.tale.say("would a rollback succeed now?");
        self.tale.command(&drill, 24);
        self.tale.heading("And back, with everything that was written meanwhile");
        let back = ["rollback", "messages", "--reason", "drill", "--as", "oncall"];
        holds.push(self.switch(&back).await?);
        self.let_traffic_pass().await?;
        self.tale.heading("And there for good");
        holds.push(self.switch(&there).await?);
        self.let_traffic_pass().await?;
        Ok(holds)
    }

    /// One change of the owner; answers for how long writes were held, in ms.
    async fn switch(&mut self, words: &[&str]) -> Result<u64, Failure> {
        let done = self.switched(words).await?;
        self.flips += 1;
        self.tale.command(&done, 8);
        let hold = done.stdout.lines().find_map(|line| line.trim().strip_prefix("hold"));
        let hold = hold.and_then(|text| text.split_whitespace().next());
        hold.and_then(|ms| ms.parse().ok())
            .ok_or_else(|| trouble("the switch did not say for how long writes were held"))
    }

    /// A switch that is given up has moved nothing: where the machine was too busy for its short hold, it is tried again.
    async fn switched(&mut self, words: &[&str]) -> Result<Answer, Failure> {
        for _ in 1..SWITCH_TRIES {
            let answer = self.world.launcher.run(words).await?;
            if !answer.stderr.contains("banyan::cutover::given_up") {
                return answer.expected(0);
            }
            self.tale.command(&answer, 16);
            self.tale.say("given up, nothing moved; again when more requests have passed");
            self.let_traffic_pass().await?;
        }
        self.world.launcher.expect(words, 0).await
    }

    async fn finish(&mut self, eyes: &Eyes, walked: Walked) -> Result<Summary, Failure> {
        self.tale.heading("Traffic ends; is everything where it belongs?");
        let traffic = self.world.end_traffic().await?;
        let events = self.count_events(eyes).await?;
        let consumers = self.count_effects().await?;
        let verify = self.compare_both().await?;
        self.tale.command(&verify, 12);
        let status = self.world.launcher.run(&["events", "status"]).await?;
        self.tale.command(&status, 12);
        let rows = self.synced_rows(eyes).await?;
        Ok(Summary::new(
            &traffic,
            Walked {
                seconds: self.started.elapsed().as_secs(),
                flips: self.flips,
                synced_rows: rows,
                drift: verify.exit != 0,
                events,
                consumers,
                ..walked
            },
        ))
    }

    /// Both jobs in the direction of their owners: the service owns the messages, the monolith the people.
    async fn compare_both(&mut self) -> Result<Answer, Failure> {
        let people = self.world.launcher.run(&["sync", "verify", "people"]).await?;
        if people.exit != 0 {
            return Ok(people);
        }
        self.world.launcher.run(&["sync", "verify", "messages", "--to", "legacy"]).await
    }

    /// Flips every read endpoint.
    async fn flip_all(&mut self, phase: &[&str], reason: &str) -> Result<(), Failure> {
        for (index, endpoint) in READS.iter().enumerate() {
            let mut arguments = vec!["route", "flip", endpoint];
            arguments.extend(phase);
            arguments.extend(["--reason", reason, "--as", "demo"]);
            let answer = self.world.launcher.expect(&arguments, 0).await?;
            self.flips += 1;
            if index == 0 {
                self.tale.command(&answer, 4);
            }
        }
        self.tale.say(&format!("and the other {} read endpoints likewise", READS.len() - 1));
        Ok(())
    }

    /// Waits until the traffic has made so many more requests.
    async fn let_traffic_pass(&mut self) -> Result<(), Failure> {
        let count = |world: &World| {
            world
                .traffic_counts()
                .and_then(|c| c.get("requests").and_then(serde_json::Value::as_u64))
                .unwrap_or(0)
        };
        let target = count(self.world) + self.size.requests_per_phase;
        let deadline = Instant::now() + Duration::from_secs(self.size.patience_s);
        while count(self.world) < target {
            self.patience("requests to pass", deadline)?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let counts = self.world.traffic_counts().unwrap_or_default();
        self.tale.say(&format!(
            "traffic so far: {} requests, {} failed",
            counts["requests"], counts["failed"]
        ));
        Ok(())
    }

    async fn wait_for_shadow(
        &mut self,
        eyes: &Eyes,
        since_ms: u64,
        what: &str,
        done: impl Fn(&ShadowSummary) -> bool,
    ) -> Result<ShadowSummary, Failure> {
        let deadline = Instant::now() + Duration::from_secs(self.size.patience_s);
        loop {
            let summary = eyes
                .store
                .shadow_summary(Some(since_ms))
                .await
                .map_err(|error| control::store_failure(&error))?;
            if done(&summary) {
                return Ok(summary);
            }
            self.patience(what, deadline)?;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    fn patience(&mut self, what: &str, deadline: Instant) -> Result<(), Failure> {
        self.world.check_alive()?;
        if Instant::now() < deadline {
            return Ok(());
        }
        Err(trouble(format!("waited {} s for {what}", self.size.patience_s)))
    }

    /// Compares what the monolith committed with what is public.
    async fn count_events(&mut self, eyes: &Eyes) -> Result<EventCounts, Failure> {
        let mut committed =
            fixture_mothership::committed_events(&self.world.places.legacy_database)
                .await
                .map_err(|error| {
                    trouble("cannot count the monolith's events").because(error.to_string())
                })?;
        committed.extend(self.announced().await?.into_iter().map(|event| event.id));
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        let mut consumer =
            eyes.broker.consume(WATCHER, 256).await.map_err(|error| {
                trouble("cannot consume public events").because(error.to_string())
            })?;
        let wanted = u64::try_from(committed.len()).unwrap_or(u64::MAX);
        // One more second after the last one: a duplicate would come late.
        while let Ok(Ok(delivery)) = tokio::time::timeout(
            Duration::from_secs(if u64::try_from(seen.len()).unwrap_or(0) < wanted {
                10
            } else {
                1
            }),
            consumer.next(),
        )
        .await
        {
            *seen
                .entry(delivery.message.properties.message_id.clone().unwrap_or_default())
                .or_default() += 1;
            consumer.ack_through(delivery.tag).await.map_err(|error| {
                trouble("cannot acknowledge a public event").because(error.to_string())
            })?;
        }
        Ok(EventCounts::compare(&committed, &seen))
    }

    /// What the service announced while it owned the context.
    async fn announced(&self) -> Result<Vec<fixture_messages::Announced>, Failure> {
        fixture_messages::committed(&self.world.places.new_database).await.map_err(|error| {
            trouble("cannot count the service's events").because(error.to_string())
        })
    }

    /// Holds what the consumers made against what the monolith committed; waits for them to catch up.
    async fn count_effects(&mut self) -> Result<ConsumerCounts, Failure> {
        let database = &self.world.places.legacy_database;
        let mut committed = fixture_mothership::committed(database).await.map_err(|error| {
            trouble("cannot count the monolith's changes").because(error.to_string())
        })?;
        for event in self.announced().await? {
            *committed.by_day.entry((event.day, event.kind)).or_default() += 1;
            committed.sent_to_others += u64::from(event.is_sent_to_other);
        }
        let deadline = Instant::now() + CATCH_UP_MAX;
        loop {
            let effects = effect::of(self.world).await?;
            let counts = ConsumerCounts::compare(&committed, &effects);
            if counts.is_exact() || Instant::now() > deadline {
                return Ok(counts);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Rows that finished runs have written: the first copy, since `serve` still follows.
    async fn synced_rows(&self, eyes: &Eyes) -> Result<u64, Failure> {
        let runs = eyes.store.runs(100).await.map_err(|error| control::store_failure(&error))?;
        Ok(runs.iter().map(|run| run.rows).sum())
    }
}

/// Evidence is counted by the second: a period that begins within one would miss a part of it.
fn next_second() -> u64 {
    (control::now_ms() / 1_000 + 1) * 1_000
}

fn causes(summary: &ShadowSummary) -> Vec<Cause> {
    let mut causes: Vec<Cause> = Vec::new();
    for (endpoint, shadow) in &summary.endpoints {
        for difference in &shadow.differences {
            let known = causes
                .iter_mut()
                .find(|c| c.endpoint == endpoint.as_str() && c.path == difference.shape);
            match known {
                Some(cause) => cause.count += difference.count,
                None => causes.push(Cause {
                    endpoint: endpoint.to_string(),
                    path: difference.shape.clone(),
                    kind: difference.kind.clone(),
                    count: difference.count,
                }),
            }
        }
    }
    causes
}
