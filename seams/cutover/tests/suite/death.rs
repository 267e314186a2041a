//! A run dies at each step, before it, after its effect and at its pause point; somebody else resumes or aborts.

use banyan_cutover::{Ending, GiveUp, Intent, Order, RecordOutcome, Step};
use banyan_domain::Side;

use crate::theatre::{Death, Theatre};
use crate::world::{Happening, Size};

const SIZE: Size =
    Size { proxies: 2, writes: 6, direct: 6, workers: 2, events: true, deaths: false };

const fn order(intent: Intent) -> Order {
    Order { intent, force: false }
}

const FORWARD: Order = order(Intent::Start { to: Side::New });
const BACK: Order = order(Intent::Start { to: Side::Legacy });

/// Which deaths a step has: some have no call of their own, and are only waited for.
fn deaths(step: Step) -> Vec<Death> {
    match step {
        Step::Quiet | Step::Events => vec![Death::Done(step)],
        Step::Preflight
        | Step::CatchUp
        | Step::Arm
        | Step::Hold
        | Step::Close
        | Step::Drain
        | Step::Verify
        | Step::Sequences
        | Step::OpenMarker
        | Step::Commit
        | Step::Route
        | Step::Reverse
        | Step::Settle
        | Step::Seal
        | Step::Bar
        | Step::Reopen
        | Step::Disarm
        | Step::Void => vec![Death::Before(step), Death::ReplyLost(step), Death::Done(step)],
    }
}

/// Sets a world up, kills a run, and lets `next` come, `later_ms` after. Whether the run died at all is the answer.
fn die_and(death: Death, next: Intent, later_ms: u64, differs: bool, seed: u64) -> bool {
    let what = format!("{death:?}, then {next:?} after {later_ms} ms, seed {seed}");
    let theatre = Theatre::new(SIZE, seed);
    for _ in 0..300 {
        theatre.happen();
    }
    {
        let mut inside = theatre.lock();
        inside.death = Some(death);
        if differs {
            inside.differing = vec!["1:2".to_owned()];
        }
    }
    let died = theatre.run(FORWARD).is_none();
    let (decided, held, at_rest) = {
        let mut inside = theatre.lock();
        inside.death = None;
        inside.now_ms += later_ms;
        let world = &inside.world;
        (world.fence(Side::New).is_open(), world.route.holding, world.at_rest())
    };
    let (ending, _) = theatre.run(order(next)).unwrap();
    match next {
        Intent::Abort if decided => {
            // Whoever wants to give it up is told that something of it is left.
            let told = matches!(ending, Ending::TooLate(_));
            assert!(
                told || (at_rest && matches!(ending, Ending::Nothing { .. })),
                "{what}: {ending:?}"
            );
            let (ending, _) = theatre.run(order(Intent::Resume)).unwrap();
            assert!(matches!(ending, Ending::Finished(_) | Ending::Nothing { .. }), "{what}");
        }
        Intent::Abort => {
            assert!(
                matches!(ending, Ending::GivenUp { .. } | Ending::Nothing { .. }),
                "{what}: {ending:?}"
            );
        }
        Intent::Resume | Intent::Start { .. } => {
            assert!(
                !matches!(ending, Ending::Broken(_) | Ending::Interrupted { .. }),
                "{what}: {ending:?}"
            );
        }
    }
    theatre.settle();
    let inside = theatre.lock();
    assert!(inside.world.at_rest(), "{what}: {ending:?}, {:#?}", inside.world);
    assert!(!decided || inside.world.owner() == Side::New, "{what}: a decision is final");
    let late = later_ms > 0 && held;
    let stays = next == Intent::Abort || late || differs;
    assert!(decided || !stays || inside.world.owner() == Side::Legacy, "{what}");
    died
}

#[test]
fn a_death_at_any_step_leaves_one_owner_and_loses_nothing() {
    let mut died = Vec::new();
    for step in Step::ALL {
        for death in deaths(step) {
            for next in [Intent::Resume, Intent::Abort] {
                for (later_ms, differs) in [(0, false), (60_000, false), (0, true)] {
                    let dies = |seed| die_and(death, next, later_ms, differs, seed);
                    if (1..=20).any(dies) {
                        died.push(step);
                    }
                }
            }
        }
    }
    // A death that never happens tests nothing.
    for step in Step::ALL {
        assert!(died.contains(&step), "no run died at {step}");
    }
}

#[test]
fn a_resumed_run_goes_on_while_the_hold_lasts() {
    for step in [Step::Arm, Step::Hold, Step::Close, Step::Drain, Step::OpenMarker] {
        let theatre = Theatre::new(SIZE, 3);
        theatre.lock().death = Some(Death::Done(step));
        assert!(theatre.run(FORWARD).is_none());
        theatre.lock().death = None;
        let (ending, summary) = theatre.run(order(Intent::Resume)).unwrap();
        assert!(matches!(ending, Ending::Finished(_)), "{step}: {ending:?}");
        assert!(summary.steps.iter().all(|time| time.step != Step::Preflight), "only what is left");
    }
}

#[test]
fn who_starts_anew_is_told_of_an_unfinished_run_and_leaves_it_alone() {
    for (step, late) in
        [(Step::Arm, Side::New), (Step::Close, Side::New), (Step::Close, Side::Legacy)]
    {
        let theatre = Theatre::new(SIZE, 3);
        theatre.lock().death = Some(Death::Done(step));
        assert!(theatre.run(FORWARD).is_none());
        theatre.lock().death = None;
        let before = theatre.lock().world.fences;
        let (ending, _) = theatre.run(order(Intent::Start { to: late })).unwrap();
        assert!(
            matches!(ending, Ending::Unfinished(switch) if switch.to() == Side::New),
            "{ending:?}"
        );
        assert_eq!(theatre.lock().world.fences, before);
    }
}

#[test]
fn a_rollback_of_a_decided_unfinished_switch_finishes_it_first() {
    let theatre = Theatre::new(SIZE, 5);
    theatre.lock().death = Some(Death::ReplyLost(Step::Commit));
    assert!(theatre.run(FORWARD).is_none());
    theatre.lock().death = None;
    let (ending, _) = theatre.run(BACK).unwrap();
    assert!(matches!(ending, Ending::Finished(switch) if switch.epoch.0 == 3), "{ending:?}");
    theatre.settle();
    let inside = theatre.lock();
    assert!(inside.world.at_rest() && inside.world.owner() == Side::Legacy);
}

#[test]
fn a_session_that_keeps_the_fence_locked_is_named_and_the_switch_given_up() {
    let theatre = Theatre::new(Size { workers: 0, proxies: 0, writes: 0, direct: 1, ..SIZE }, 1);
    let begin = Happening::Begin { write: 0, side: Side::Legacy, proxy: None };
    theatre.lock().world.happen(begin);
    // Nothing else happens: the session sits in its transaction.
    let mut driver = theatre.driver(FORWARD);
    let (ending, summary) = (0..100_000).find_map(|_| Theatre::poll(&mut driver)).unwrap();
    let Ending::GivenUp { reason: GiveUp::HeldTooLong { age, blocked_by }, .. } = ending else {
        panic!("{ending:?}");
    };
    assert_eq!(blocked_by, ["session 7"]);
    assert!(age.as_millis() >= 5_000 && age.as_millis() < 6_000, "{age:?}");
    assert!(summary.hold.unwrap().as_millis() < 7_000, "{:?}", summary.hold);
    let inside = theatre.lock();
    assert!(inside.world.fence(Side::Legacy).is_open() && !inside.world.route.holding);
    let again = inside.records.iter().filter(|line| line.outcome == RecordOutcome::Retried);
    assert_eq!(again.count(), 1, "the audit gets one line, not one per try");
}

#[test]
fn differing_data_gives_the_switch_up_and_names_the_keys() {
    let theatre = Theatre::new(SIZE, 2);
    theatre.lock().differing = vec!["1:2".to_owned()];
    let (ending, summary) = theatre.run(FORWARD).unwrap();
    let Ending::GivenUp { switch, reason } = ending else { panic!("{ending:?}") };
    assert_eq!(reason.to_string(), "1 aggregates differ between the sides: 1:2");
    let steps: Vec<Step> = summary.steps.iter().map(|time| time.step).collect();
    let back = [Step::Bar, Step::Reopen, Step::Disarm, Step::Void];
    assert!(steps.ends_with(&back), "{steps:?}");
    theatre.lock().differing.clear();
    theatre.settle();
    let (ending, _) = theatre.run(FORWARD).unwrap();
    let Ending::Finished(next) = ending else { panic!("{ending:?}") };
    assert_eq!((switch.epoch.0, next.epoch.0), (2, 3), "the epoch that was given up is burnt");
    assert_eq!(next.back_to.0, 1, "and the ownership is still the first");
}

/// A target that is away before the owner is closed costs the release of the hold; after it nobody may guess.
#[test]
fn a_target_that_is_away_is_never_guessed() {
    for (step, stays_closed) in [(Step::Hold, false), (Step::Close, true)] {
        let theatre = Theatre::new(SIZE, 4);
        theatre.lock().death = Some(Death::Done(step));
        assert!(theatre.run(FORWARD).is_none());
        theatre.lock().death = None;
        theatre.lock().away = vec!["new"];
        let (ending, _) = theatre.run(order(Intent::Resume)).unwrap();
        let Ending::Interrupted { decided, reason, .. } = ending else { panic!("{ending:?}") };
        assert!(reason.contains("`new` cannot be reached"), "{reason}");
        let closed = !theatre.lock().world.fence(Side::Legacy).is_open();
        assert_eq!(closed, stays_closed);
        assert_eq!(decided, (!stays_closed).then_some(false));
        assert_eq!(theatre.lock().world.route.holding, stays_closed);
        theatre.lock().away.clear();
        let (ending, _) = theatre.run(order(Intent::Resume)).unwrap();
        assert!(!matches!(ending, Ending::Interrupted { .. } | Ending::Broken(_)), "{ending:?}");
        theatre.settle();
        assert!(theatre.lock().world.at_rest());
    }
}

/// The way back needs no control store while a run lives: it has read before which ownership to go back to.
#[test]
fn the_owner_is_reopened_while_the_control_store_is_away() {
    let theatre = Theatre::new(SIZE, 6);
    let mut driver = theatre.driver(FORWARD);
    let ended = (0..200_000).find_map(|_| {
        let mut inside = theatre.lock();
        if !inside.world.fence(Side::Legacy).is_open() {
            inside.away = vec!["control"];
        }
        drop(inside);
        for _ in 0..4 {
            theatre.happen();
        }
        Theatre::poll(&mut driver)
    });
    let (ending, _) = ended.unwrap();
    assert!(matches!(ending, Ending::Interrupted { decided: Some(false), .. }), "{ending:?}");
    assert!(
        theatre.lock().world.fence(Side::Legacy).is_open(),
        "consoles and jobs can write again"
    );
    theatre.lock().away.clear();
    let (ending, _) = theatre.run(order(Intent::Resume)).unwrap();
    assert!(matches!(ending, Ending::Nothing { .. } | Ending::GivenUp { .. }), "{ending:?}");
    theatre.settle();
    assert!(theatre.lock().world.at_rest());
}

#[test]
fn a_side_without_a_fence_is_said_at_once_before_anything_begins() {
    let theatre = Theatre::new(SIZE, 8);
    theatre.lock().unfenced = Some(Side::New);
    let before = theatre.lock().now_ms;
    let (ending, summary) = theatre.run(FORWARD).unwrap();
    let Ending::Interrupted { switch, reason, .. } = ending else { panic!("{ending:?}") };
    assert_eq!(reason, "not reachable: `new` refuses: it has no fence");
    assert!(switch.is_none() && summary.steps.is_empty());
    assert_eq!(theatre.lock().now_ms, before, "nothing was waited for");
}
