//! A dry run walks the same steps and changes nothing.

use std::sync::atomic::AtomicBool;

use banyan_cutover::{Cutover, DryRun, Ending, Intent, Limits, Notice, Order, Step, Watch};
use banyan_domain::Side;

use crate::theatre::{Death, Driver, Theatre};
use crate::world::Size;

const SIZE: Size =
    Size { proxies: 1, writes: 2, direct: 2, workers: 1, events: true, deaths: false };

#[derive(Default)]
struct Seen(Vec<Step>);

impl Watch for Seen {
    fn notice(&mut self, notice: &Notice) {
        if let Notice::Done { step, .. } = notice {
            self.0.push(*step);
        }
    }
}

/// Runs dry and says what it would have done, and how that would have ended.
fn dry(theatre: &Theatre, intent: Intent) -> (Ending, Vec<Step>, Vec<String>) {
    let theatre = theatre.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut driver: Driver = Box::pin(async move {
        let (ports, abort) = (DryRun::new(&theatre), AtomicBool::new(false));
        let (order, mut seen) = (Order { intent, force: false }, Seen::default());
        let run = Cutover::new(&ports, Limits::default(), order, &abort, &mut seen);
        let ended = run.run().await;
        sender.send((seen.0, ports.calls())).unwrap();
        ended
    });
    let (ending, _) = (0..10_000).find_map(|_| Theatre::poll(&mut driver)).unwrap();
    let (steps, calls) = receiver.recv().unwrap();
    (ending, steps, calls)
}

#[test]
fn a_dry_run_says_every_step_and_changes_nothing() {
    let theatre = Theatre::new(SIZE, 1);
    let before = theatre.lock().world.clone();
    let (ending, steps, calls) = dry(&theatre, Intent::Start { to: Side::New });
    assert!(matches!(ending, Ending::Finished(_)), "{ending:?}");
    assert_eq!(theatre.lock().world, before);
    assert!(theatre.lock().records.is_empty());
    let forward: Vec<Step> = Step::ALL.into_iter().filter(|step| *step <= Step::Events).collect();
    assert_eq!(steps, forward, "all steps, in their order");
    assert_eq!(
        calls,
        [
            "sync legacy -> new: move and compare what is there",
            "route table: armed at epoch 2",
            "route table: writes are held",
            "fence of legacy: open(1) -> draining(2)",
            "sync legacy -> new: move the last rows",
            "compare what changed since the last clean comparison",
            "raise the sequences of new",
            "raw queue of new: open(2)",
            "fence of new: shut(0) -> open(2)",
            "route table: new owns at epoch 2",
            "sync new -> legacy: from now on",
            "raw queue of legacy: seal(2)",
        ]
    );
    // The real run does the same steps.
    let order = Order { intent: Intent::Start { to: Side::New }, force: false };
    let (_, summary) = theatre.run(order).unwrap();
    let done: Vec<Step> = summary.steps.iter().map(|time| time.step).collect();
    assert!(forward.iter().all(|step| done.contains(step)), "{done:?}");
}

#[test]
fn a_dry_abort_shows_the_way_back() {
    let theatre = Theatre::new(SIZE, 1);
    theatre.lock().death = Some(Death::Done(Step::OpenMarker));
    assert!(theatre.run(Order { intent: Intent::Start { to: Side::New }, force: false }).is_none());
    theatre.lock().death = None;
    let (ending, steps, calls) = dry(&theatre, Intent::Abort);
    assert!(matches!(ending, Ending::GivenUp { .. }), "{ending:?}");
    assert_eq!(steps, [Step::Bar, Step::Reopen, Step::Disarm, Step::Void]);
    assert_eq!(
        calls,
        [
            "fence of new: shut(0) -> barred(2)",
            "fence of legacy: draining(2) -> open(1)",
            "route table: released to legacy",
            "raw queue of legacy: void(2)",
        ]
    );
    assert!(!theatre.lock().world.fence(Side::Legacy).is_open(), "nothing was changed");
}
