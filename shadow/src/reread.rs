//! Reading both sides again.
//!
//! Owns which side is read when; what it means is [`crate::settle`]'s. What must stay true: the watermark is taken before
//! the other side is read, so that what the sync had passed by then must be in that answer; the owner is read before and
//! after the other side.

use crate::ask::Failure;
use crate::capacity::Purpose;
use crate::judge::EndpointJudge;
use crate::observe::LegacyPair;
use crate::settle::{Judge, Pair, Reads, Settle, Settled, Suspect, Watched};
use crate::worker::{Core, Read, apart};
use crate::{Answer, AskError};
use banyan_domain::Side;
use std::sync::Arc;

/// One round of re-reads and what it means; a mismatch that holds is watched at once.
pub(crate) async fn round(core: &Arc<Core>, read: &Arc<Read>, settle: Settle) -> (Settle, Settled) {
    let judge = core.judge(read);
    let (settle, settled) = rounded(core, read, settle, judge.clone()).await;
    match settled {
        Settled::Watch => watched(core, read, settle, judge).await,
        Settled::Lag(_)
        | Settled::Raced
        | Settled::Mismatch(_)
        | Settled::NewError(_)
        | Settled::Again(_)
        | Settled::NotComparable
        | Settled::Inconclusive(_) => (settle, settled),
    }
}

/// The other side shows what the client had seen; the lag, if it can be told.
pub(crate) struct Agreed {
    pub(crate) lag_ms: Option<u64>,
}

/// Looks once whether the other side shows now what the owner had shown.
pub(crate) async fn look(core: &Core, read: &Read, settle: &mut Settle) -> Option<Agreed> {
    let looks = settle.looks.as_mut()?;
    let judge = core.judge(read);
    let asked_ms = core.clock.now_ms();
    let other = core.guard.ask(read.call(judge.owner.other(), Purpose::Look)).await;
    let answered_ms = core.clock.now_ms();
    let owner = &settle.first.owner;
    let agree = match other {
        Ok(other) => {
            let (owner, bytes) = (owner.clone(), owner.bytes() + other.bytes());
            apart(bytes, move || judge.across(&owner, &other).verdict.is_match()).await
        }
        Err(_) => None,
    };
    match agree {
        Some(true) => return Some(Agreed { lag_ms: looks.agreed(answered_ms) }),
        Some(false) => looks.differed(asked_ms),
        // What is not known cannot be measured any more.
        None => settle.looks = None,
    }
    None
}

async fn rounded(
    core: &Arc<Core>,
    read: &Arc<Read>,
    mut settle: Settle,
    judge: EndpointJudge,
) -> (Settle, Settled) {
    let config = core.config.recheck.settle.clone();
    let reads = match sandwich(core, read, judge.owner).await {
        Ok(Sandwich::Whole(reads)) => reads,
        Ok(Sandwich::Silence(owner)) => {
            let settled = settle.silent(&config, judge.silence(&owner));
            return (settle, settled);
        }
        Err(error) => {
            let settled = settle.failed(&config, word(error));
            return (settle, settled);
        }
    };
    let bytes = settle.bytes() + reads.before.bytes() + reads.other.bytes();
    let first_ms = settle.first_ms();
    let (core, read) = (core.clone(), read.clone());
    let step = move || {
        observe(&core, &read, &judge, &reads);
        let settled = settle.step(&config, &judge, &reads);
        (settle, settled)
    };
    apart(bytes, step).await.unwrap_or_else(|| lost(first_ms))
}

/// Shows legacy's two answers to who looks on.
fn observe(core: &Core, read: &Read, judge: &EndpointJudge, reads: &Reads) {
    let Reads { before, other, after, .. } = reads;
    if let (Some(observer), Side::Legacy) = (&core.observer, judge.owner) {
        observer.legacy_pair(&LegacyPair { seen: core.seen(read), before, new: other, after });
    }
}

async fn watched(
    core: &Core,
    read: &Read,
    settle: Settle,
    judge: EndpointJudge,
) -> (Settle, Settled) {
    let config = core.config.recheck.settle.clone();
    let first_ms = settle.first_ms();
    let (mut settle, watched) = match watch(core, read, settle, &judge).await {
        (settle, Some(Ok(watched))) => (settle, watched),
        (mut settle, Some(Err(error))) => {
            let settled = settle.failed(&config, word(error));
            return (settle, settled);
        }
        (_, None) => return lost(first_ms),
    };
    let bytes = settle.bytes();
    let step = move || {
        let settled = settle.watched(&config, &judge, watched);
        (settle, settled)
    };
    apart(bytes, step).await.unwrap_or_else(|| lost(first_ms))
}

/// A comparison that failed on its thread: a bug, and no evidence.
fn lost(first_ms: u64) -> (Settle, Settled) {
    let first = Pair { owner: Answer::none(), other: Answer::none() };
    (Settle::new(Suspect::Difference, first_ms, first), Settled::Inconclusive("compare_failed"))
}

/// The word for a read that is not settled because a side could not be read.
const fn word(error: AskError) -> &'static str {
    match error.failure() {
        Failure::Skip(reason) => reason.as_str(),
        Failure::Inconclusive(why) => why,
    }
}

/// What a round of reads gave.
enum Sandwich {
    Whole(Reads),
    /// Legacy answered, new not in time.
    Silence(Answer),
}

/// Reads the owner, the other side, the owner again.
async fn sandwich(core: &Core, read: &Read, owner: Side) -> Result<Sandwich, AskError> {
    let before = ask(core, read, owner).await?;
    let watermark_ms = watermark_ms(core, read);
    let other = match ask(core, read, owner.other()).await {
        Err(AskError::Timeout) if owner == Side::Legacy => return Ok(Sandwich::Silence(before)),
        other => other?,
    };
    let after = ask(core, read, owner).await?;
    let quiet_ms = core.rechecks.quiet_ms(&read.context);
    let ended_ms = core.clock.now_ms();
    Ok(Sandwich::Whole(Reads { before, other, after, ended_ms, watermark_ms, quiet_ms }))
}

/// What a watch saw, or nothing when a comparison failed.
type Watch = Option<Result<Watched, AskError>>;

/// Looks at the owner again and again until the sync has passed the first look, then at the other side and once more at
/// the owner. Without a watermark the owner is watched for as long as the sync was ever late lately, twice.
async fn watch(
    core: &Core,
    read: &Read,
    mut settle: Settle,
    judge: &EndpointJudge,
) -> (Settle, Watch) {
    let config = &core.config.recheck.settle;
    let mut since_ms = None;
    loop {
        let passed = since_ms.is_some_and(|since_ms: u64| {
            if let Some(passed_ms) = watermark_ms(core, read) {
                return passed_ms >= since_ms.saturating_add(config.margin_ms);
            }
            let quiet_ms = core.rechecks.quiet_ms(&read.context).max(config.margin_ms);
            core.clock.now_ms() >= since_ms.saturating_add(quiet_ms)
        });
        let other = if passed { Some(ask(core, read, judge.owner.other()).await) } else { None };
        let other = match other.transpose() {
            Ok(other) => other,
            Err(error) => return (settle, Some(Err(error))),
        };
        let owner = match ask(core, read, judge.owner).await {
            Ok(owner) => owner,
            Err(error) => return (settle, Some(Err(error))),
        };
        let Some((next, still)) = compared(judge, settle, owner.clone()).await else {
            return lost_watch(since_ms.unwrap_or_default());
        };
        settle = next;
        if !still {
            return (settle, Some(Ok(Watched::Moved)));
        }
        if let Some(other) = other {
            return (settle, Some(Ok(Watched::Unmoved(Pair { owner, other }))));
        }
        let now_ms = core.clock.now_ms();
        if settle.looks.is_some_and(|looks| looks.due_ms() <= now_ms)
            && let Some(agreed) = look(core, read, &mut settle).await
        {
            return (settle, Some(Ok(Watched::Agreed(agreed.lag_ms))));
        }
        let longest_ms = match watermark_ms(core, read) {
            Some(_) => config.watch_max_ms,
            None => config.max_wait_ms.max(config.watch_max_ms),
        };
        if now_ms.saturating_sub(*since_ms.get_or_insert(now_ms)) >= longest_ms {
            return (settle, Some(Ok(Watched::Behind)));
        }
        core.clock.sleep(config.watch_every_ms.max(1)).await;
    }
}

fn lost_watch(first_ms: u64) -> (Settle, Watch) {
    (lost(first_ms).0, None)
}

/// Compares one more answer of the owner with the last; false when nothing that differs is left where it did not move.
async fn compared(
    judge: &EndpointJudge,
    mut settle: Settle,
    owner: Answer,
) -> Option<(Settle, bool)> {
    let (judge, bytes) = (judge.clone(), 2 * owner.bytes());
    let looked = move || {
        let still = settle.look(&judge, owner);
        (settle, still)
    };
    apart(bytes, looked).await
}

async fn ask(core: &Core, read: &Read, side: Side) -> Result<Answer, AskError> {
    core.guard.ask(read.call(side, Purpose::Reread)).await
}

fn watermark_ms(core: &Core, read: &Read) -> Option<u64> {
    core.lag.as_ref().and_then(|lag| lag.watermark_ms(&read.context))
}
