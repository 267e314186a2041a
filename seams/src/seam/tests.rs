//! Behaviour of the seam, with two scripted sides; races are made by gates, not by sleeps.

use super::*;
use crate::{
    lab::{CountingLab, StrictLab},
    switch::{FixedSwitch, Position, Positions, SharedSwitch},
};
use banyan_domain::{Epoch, Phase};
use std::sync::Mutex;
use tokio::sync::Notify;

struct Count;
impl Op for Count {
    const NAME: &'static str = "messages.unread_count";
    type Req = u64;
    type Resp = u64;
    type Error = &'static str;
}
impl Read for Count {}

struct Send;
impl Op for Send {
    const NAME: &'static str = "messages.create";
    type Req = &'static str;
    type Resp = u64;
    type Error = &'static str;
}
impl Write for Send {}

type Reply = Result<u64, SeamError<&'static str>>;

/// A side that records what reached it and answers as told; `gate` holds it until it is notified.
#[derive(Default)]
struct Scripted {
    reply: Option<Reply>,
    gate: Option<Arc<Notify>>,
    panics: bool,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn answering(reply: Reply) -> Self {
        Self { reply: Some(reply), ..Self::default() }
    }

    async fn answer(&self, call: String) -> Reply {
        self.calls.lock().unwrap().push(call);
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        assert!(!self.panics, "scripted panic");
        self.reply.clone().unwrap_or(Ok(0))
    }
}

impl Serve<Count> for Scripted {
    async fn serve(&self, cx: Cx, req: u64) -> Reply {
        self.answer(format!("read {req} hops {}", cx.hops())).await
    }
}
impl Serve<Send> for Scripted {
    async fn serve(&self, _: Cx, req: &'static str) -> Reply {
        self.answer(format!("write {req}")).await
    }
}

fn cx(key: &str) -> Cx {
    Cx::new(key, Duration::from_secs(30))
}

fn all_phases() -> [Phase; 5] {
    let half = Percent::new(50).unwrap();
    [Phase::Legacy, Phase::Shadow, Phase::Canary(half), Phase::New, Phase::Retired]
}

fn seam_at(
    phase: Phase,
    legacy: Scripted,
    new: Scripted,
) -> Seam<Scripted, Scripted, FixedSwitch, CountingLab> {
    Seam::new(legacy, new, FixedSwitch::at(phase), CountingLab::default())
}

#[tokio::test]
async fn each_phase_is_served_and_mirrored_as_the_table_says() {
    for (phase, served, mirrored) in [
        (Phase::Legacy, 1, None),
        (Phase::Shadow, 1, Some("new")),
        (Phase::Canary(Percent::HUNDRED), 2, Some("legacy")),
        (Phase::Canary(Percent::new(0).unwrap()), 1, Some("new")),
        (Phase::New, 2, Some("legacy")),
        (Phase::Retired, 2, None),
    ] {
        let seam = seam_at(phase, Scripted::answering(Ok(1)), Scripted::answering(Ok(2)));
        assert_eq!(seam.read::<Count>(cx("user:3"), 3).await, Ok(served), "{phase}");
        seam.drain().await;
        let (legacy, new) = (&seam.sides.legacy.calls, &seam.sides.new.calls);
        let asked = (legacy.lock().unwrap().len(), new.lock().unwrap().len());
        let expected = match (served, mirrored) {
            (1, None) => (1, 0),
            (2, None) => (0, 1),
            _ => (1, 1),
        };
        assert_eq!(asked, expected, "{phase}");
        assert_eq!(seam.lab().count(Verdict::Different), u64::from(mirrored.is_some()), "{phase}");
    }
}

#[tokio::test]
async fn writes_reach_exactly_the_owner_in_every_phase_whatever_it_answers() {
    let replies = [
        Ok(7),
        Err(SeamError::App("invalid")),
        Err(SeamError::Unavailable("down".to_owned())),
        Err(SeamError::NotOwner { epoch: Epoch(4) }),
    ];
    for phase in all_phases() {
        for owner in Side::ALL {
            for reply in replies.clone() {
                let position = Position { owner, ..Position::at(phase) };
                let seam = Seam::new(
                    Scripted::answering(reply.clone()),
                    Scripted::answering(reply.clone()),
                    FixedSwitch(position),
                    CountingLab::default(),
                );
                assert_eq!(seam.write::<Send>(cx("user:3"), "hi").await, reply);
                seam.drain().await;
                let legacy = seam.sides.legacy.calls.lock().unwrap().len();
                let new = seam.sides.new.calls.lock().unwrap().len();
                let expected = if owner == Side::Legacy { (1, 0) } else { (0, 1) };
                assert_eq!((legacy, new), expected, "{phase}, owner {owner}");
                assert!(Verdict::ALL.iter().all(|verdict| seam.lab().count(*verdict) == 0));
            }
        }
    }
}

#[tokio::test]
async fn an_experiment_never_delays_the_answer() {
    let gate = Arc::new(Notify::new());
    let slow = Scripted { gate: Some(Arc::clone(&gate)), ..Scripted::answering(Ok(1)) };
    let seam = seam_at(Phase::Shadow, Scripted::answering(Ok(1)), slow);
    // The mirrored side cannot answer before the gate opens, and it opens only after the answer is here.
    assert_eq!(seam.read::<Count>(cx("user:3"), 3).await, Ok(1));
    assert_eq!(seam.lab().count(Verdict::Same), 0);
    gate.notify_one();
    seam.drain().await;
    assert_eq!(seam.lab().count(Verdict::Same), 1);
}

#[tokio::test]
async fn experiments_above_the_limit_are_dropped_and_counted() {
    let gate = Arc::new(Notify::new());
    let slow = Scripted { gate: Some(Arc::clone(&gate)), ..Scripted::answering(Ok(1)) };
    let legacy = Scripted::answering(Ok(1));
    let limits = Limits { experiments: 1, ..Limits::default() };
    let switch = FixedSwitch::at(Phase::Shadow);
    let seam = Seam::with_limits(legacy, slow, switch, CountingLab::default(), limits);
    for _ in 0..3 {
        assert_eq!(seam.read::<Count>(cx("user:3"), 3).await, Ok(1));
    }
    assert_eq!(seam.lab().count(Verdict::Dropped), 2);
    gate.notify_one();
    seam.drain().await;
    assert_eq!(seam.lab().count(Verdict::Same), 1);
}

#[tokio::test]
async fn a_mirrored_side_that_hangs_or_panics_learns_nothing_and_harms_nobody() {
    let hanging = Scripted { gate: Some(Arc::new(Notify::new())), ..Scripted::default() };
    let panicking = Scripted { panics: true, ..Scripted::default() };
    for new in [hanging, panicking] {
        let limits = Limits { experiment_timeout: Duration::from_millis(5), ..Limits::default() };
        let legacy = Scripted::answering(Ok(1));
        let switch = FixedSwitch::at(Phase::Shadow);
        let seam = Seam::with_limits(legacy, new, switch, CountingLab::default(), limits);
        assert_eq!(seam.read::<Count>(cx("user:3"), 3).await, Ok(1));
        seam.drain().await;
        assert_eq!(seam.lab().count(Verdict::Failed), 1);
    }
}

#[tokio::test]
async fn verdicts_keep_refusals_of_either_side_apart() {
    let refused = |why| Err(SeamError::App(why));
    for (legacy, new, verdict) in [
        (Ok(1), Ok(1), Some(Verdict::Same)),
        (Ok(1), Ok(2), Some(Verdict::Different)),
        (refused("not found"), refused("not found"), Some(Verdict::Same)),
        (refused("not found"), refused("invalid"), Some(Verdict::Different)),
        (refused("not found"), Ok(1), Some(Verdict::OnlyServedRefused)),
        (Ok(1), refused("not found"), Some(Verdict::OnlyMirroredRefused)),
        (Ok(1), Err(SeamError::Timeout), Some(Verdict::Failed)),
        (refused("not found"), Err(SeamError::Timeout), Some(Verdict::Failed)),
        (Err(SeamError::Timeout), Ok(1), None),
    ] {
        let (legacy, new) = (Scripted::answering(legacy), Scripted::answering(new));
        let seam = seam_at(Phase::Shadow, legacy, new);
        seam.read::<Count>(cx("user:3"), 3).await.ok();
        seam.drain().await;
        for each in Verdict::ALL {
            let expected = u64::from(Some(each) == verdict);
            assert_eq!(seam.lab().count(each), expected, "{verdict:?} {each:?}");
        }
    }
}

#[tokio::test]
async fn a_side_that_misses_the_deadline_is_a_timeout() {
    let hanging = Scripted { gate: Some(Arc::new(Notify::new())), ..Scripted::default() };
    let seam = seam_at(Phase::New, Scripted::default(), hanging);
    let cx = Cx::new("user:3", Duration::from_millis(5));
    assert_eq!(seam.read::<Count>(cx, 3).await, Err(SeamError::Timeout));
    seam.drain().await;
    assert!(seam.sides.legacy.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_request_that_goes_in_circles_is_refused() {
    let seam = seam_at(Phase::Legacy, Scripted::default(), Scripted::default());
    let second = cx("user:3").with_hops(Some("2"));
    assert_eq!(seam.read::<Count>(second, 3).await, Ok(0));
    for header in ["3", "4", "300", "x"] {
        let answer = seam.read::<Count>(cx("user:3").with_hops(Some(header)), 3).await;
        assert!(matches!(answer, Err(SeamError::Unavailable(_))), "{header}");
        let answer = seam.write::<Send>(cx("user:3").with_hops(Some(header)), "hi").await;
        assert!(matches!(answer, Err(SeamError::Unavailable(_))), "{header}");
    }
    assert_eq!(*seam.sides.legacy.calls.lock().unwrap(), ["read 3 hops 3"]);
}

#[tokio::test]
async fn a_retired_seam_needs_no_legacy_code() {
    let switch = FixedSwitch::at(Phase::Retired);
    let seam = Seam::new((), Scripted::answering(Ok(7)), switch, CountingLab::default());
    assert_eq!(seam.read::<Count>(cx("user:3"), 3).await, Ok(7));
    assert_eq!(seam.write::<Send>(cx("user:3"), "hi").await, Ok(7));
    let early = Seam::new((), Scripted::default(), FixedSwitch::at(Phase::Legacy), NoWaiting);
    let answer = early.read::<Count>(cx("user:3"), 3).await;
    assert!(matches!(answer, Err(SeamError::Unavailable(_))));
}

struct NoWaiting;
impl Lab for NoWaiting {
    fn observe(&self, experiment: Experiment) {
        panic!("nothing is compared with a side that is gone: {experiment:?}");
    }
}

#[tokio::test]
#[should_panic(expected = "`messages.unread_count` must answer alike on both sides")]
async fn a_strict_lab_panics_where_the_test_can_see_it() {
    let (legacy, new) = (Scripted::answering(Ok(1)), Scripted::answering(Ok(2)));
    let seam = Seam::new(legacy, new, FixedSwitch::at(Phase::Shadow), StrictLab);
    seam.read::<Count>(cx("user:3"), 3).await.ok();
}

#[tokio::test]
async fn a_shared_switch_moves_one_operation_at_once() {
    let switch = SharedSwitch::new(Positions::all(Position::at(Phase::Legacy)));
    let (legacy, new) = (Scripted::answering(Ok(1)), Scripted::answering(Ok(2)));
    let seam = Seam::new(legacy, new, switch.clone(), CountingLab::default());
    assert_eq!(seam.read::<Count>(cx("user:3"), 3).await, Ok(1));
    let moved = Positions::all(Position::at(Phase::Legacy))
        .with("messages.unread_count", Position::at(Phase::New));
    switch.replace(moved);
    assert_eq!(seam.read::<Count>(cx("user:3"), 3).await, Ok(2));
    assert_eq!(seam.write::<Send>(cx("user:3"), "hi").await, Ok(1));
}

#[tokio::test]
async fn the_sample_is_an_exact_share_of_reads() {
    for percent in [0, 1, 30, 99, 100] {
        let sample = Percent::new(percent).unwrap();
        let position = Position { sample, ..Position::at(Phase::Shadow) };
        let (legacy, new) = (Scripted::default(), Scripted::default());
        let seam = Seam::new(legacy, new, FixedSwitch(position), CountingLab::default());
        for _ in 0..100 {
            seam.read::<Count>(cx("user:3"), 3).await.unwrap();
            seam.drain().await;
        }
        assert_eq!(seam.lab().count(Verdict::Same), u64::from(percent));
    }
}

#[tokio::test]
async fn a_canary_keeps_each_caller_on_one_side() {
    let half = Percent::new(50).unwrap();
    let seam = seam_at(Phase::Canary(half), Scripted::answering(Ok(1)), Scripted::answering(Ok(2)));
    let mut served_by_new = 0;
    for user in 0..200 {
        let key = format!("user:{user}");
        let first = seam.read::<Count>(cx(&key), 3).await;
        assert_eq!(first, seam.read::<Count>(cx(&key), 3).await, "{key}");
        let is_new = banyan_domain::bucket("messages.unread_count", &key).is_below(half);
        assert_eq!(first, Ok(if is_new { 2 } else { 1 }), "{key}");
        served_by_new += u32::from(is_new);
    }
    assert!((60..140).contains(&served_by_new), "{served_by_new}");
}
