//! A consumer that is killed at any step has each effect once.

use std::sync::Arc;

use async_trait::async_trait;
use fixture_consumers::{App, Pause, Step};
use serde_json::json;
use tokio::sync::Notify;

use crate::world::{Running, SOON, World, legacy, on_both_brokers};

on_both_brokers!(a_consumer_killed_at_any_step_has_each_effect_once);

/// Stops at the second time that a step is reached, for ever.
struct StopAt {
    step: Step,
    reached: Notify,
    times: std::sync::atomic::AtomicU32,
}

#[async_trait]
impl Pause for StopAt {
    async fn at(&self, step: Step) {
        if step != self.step {
            return;
        }
        if self.times.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1 {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

async fn a_consumer_killed_at_any_step_has_each_effect_once(world: World) {
    const PER_ROUND: i64 = 6;
    let publisher = world.publisher().await;
    for app in App::ALL {
        world.run(app).await.stop().await;
        for (round, step) in (0..).zip(Step::ALL) {
            let numbers = round * PER_ROUND..(round + 1) * PER_ROUND;
            let messages = numbers.map(|number| legacy("message.sent", number)).collect();
            publisher.publish_all(messages).await.unwrap();
            let pause = Arc::new(StopAt { step, reached: Notify::new(), times: 0.into() });
            let mut args = world.args(app);
            // So that every step comes more than once.
            args.prefetch = 2;
            let killed = Running::start(app, args, Some(pause.clone())).await;
            tokio::time::timeout(SOON, pause.reached.notified())
                .await
                .expect("the step is reached");
            let done = killed.status().await["consumed"].as_i64().unwrap();
            assert!(
                done < (round + 1) * PER_ROUND,
                "{step:?}: killed in the middle, not after {done}"
            );
            killed.kill().await;
            let next = world.run(app).await;
            next.until_consumed((round + 1) * PER_ROUND).await;
            next.stop().await;
        }
        let running = world.run(app).await;
        let total = PER_ROUND * i64::try_from(Step::ALL.len()).unwrap();
        let status = running.status().await;
        assert_eq!((&status["effects"], &status["poison"]), (&json!(total), &json!(0)), "{app:?}");
        assert!(status["duplicates"].as_i64().unwrap() > 0, "a kill after the commit redelivers");
        match app {
            App::PushNotifications => {
                let made = (&status["notifications"], &status["notified_messages"]);
                assert_eq!(made, (&json!(total), &json!(total)));
            }
            App::Stats => {
                let day = json!({ "day": "2014-06-12", "type": "message.sent", "events": total });
                assert_eq!(running.get("/stats").await.1["stats"], json!([day]));
            }
        }
        running.stop().await;
    }
}
