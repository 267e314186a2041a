//! What relays say in metrics.

use banyan_outbox::RelayConfig;
use banyan_outbox::fence::Order;

use crate::relay::{quick, start};
use crate::rigged::{Fault, Rigged};
use crate::world::{World, event};

/// The value of a series of this process, if it is there.
fn value(name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let families = prometheus::gather();
    let family = families.iter().find(|family| family.get_name() == name)?;
    let metric = family.get_metric().iter().find(|metric| {
        labels.iter().all(|(label, wanted)| {
            metric.get_label().iter().any(|l| l.get_name() == *label && l.get_value() == *wanted)
        })
    })?;
    Some(metric.get_counter().get_value() + metric.get_gauge().get_value())
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(crate::world::SOON, waiting).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_says_what_waits_and_takes_it_back_when_it_ends() {
    let Some(world) = World::sqlite().await else { return };
    let world = world.owned(Order::Subject).await;
    // A name of its own, because other tests of this process count too.
    let config = || RelayConfig { name: "measured".to_owned(), ..quick() };
    let of = [("relay", "measured")];
    let waiting = [("relay", "measured"), ("context", "messages"), ("state", "waiting")];
    let ready = [("relay", "measured"), ("context", "messages"), ("state", "ready")];
    let broker = Rigged::default();
    broker.rig(0, Some(Fault::Full));
    world.emit_many(0..4, 2).await;
    world.run("UPDATE banyan_outbox SET created_at_ms = created_at_ms - 60000").await;
    let sent = || value("banyan_outbox_rows_total", &[("result", "sent")]).unwrap_or(0.0);
    let refused = || value("banyan_outbox_rows_total", &[("result", "refused")]).unwrap_or(0.0);
    let before = (sent(), refused());
    let relay = start(&world, &broker, config());
    until("it leads", || value("banyan_outbox_relay_leads", &of) == Some(1.0)).await;
    assert_eq!(value("banyan_outbox_relay_generation", &of), Some(1.0));
    until("it counts", || {
        (value("banyan_outbox_backlog_rows", &waiting), value("banyan_outbox_backlog_rows", &ready))
            == (Some(1.0), Some(1.0))
    })
    .await;
    let lag = value("banyan_outbox_lag_seconds", &[("relay", "measured"), ("context", "messages")]);
    assert!(lag.is_some_and(|lag| (60.0..90.0).contains(&lag)), "{lag:?}");
    until("rows are counted", || sent() >= before.0 + 2.0 && refused() > before.1).await;
    broker.rig(0, None);
    world.until_empty().await;
    world.emit(&event(0, 9)).await;
    world.until_empty().await;
    relay.stop().await;
    assert_eq!(value("banyan_outbox_relay_leads", &of), Some(0.0));
    assert_eq!(
        value("banyan_outbox_backlog_rows", &waiting),
        None,
        "a former leader knows nothing"
    );
}
