//! Reading both sides again.
//!
//! Owns which side is read when; what it means is [`crate::settle`]'s. What must stay true: the watermark is taken before
//! the other side is read, so that what the sync had passed by then must be in that answer; the owner is read before and
//! after the other side.

use crate::judge::EndpointJudge;
use crate::settle::{Judge, Reads, Settle, Settled, Suspect, Watched};
use crate::worker::{Core, Read, apart};
use crate::{Answer, Ask, AskError};
use banyan_domain::Side;
use std::sync::Arc;

/// One round of re-reads and what it means; a mismatch that holds is watched at once.
pub(crate) async fn round(core: &Arc<Core>, read: &Read, settle: Settle) -> (Settle, Settled) {
    let judge = core.judge(read);
    let (settle, settled) = rounded(core, read, settle, judge.clone()).await;
    match settled {
        Settled::Watch => watched(core, read, settle, judge).await,
        Settled::Lag
        | Settled::Mismatch(_)
        | Settled::NewError(_)
        | Settled::Again(_)
        | Settled::Inconclusive(_) => (settle, settled),
    }
}

async fn rounded(
    core: &Core,
    read: &Read,
    mut settle: Settle,
    judge: EndpointJudge,
) -> (Settle, Settled) {
    let config = core.config.recheck.settle.clone();
    let Ok(reads) = sandwich(core, read, judge.owner).await else {
        let settled = settle.failed(&config);
        return (settle, settled);
    };
    let bytes = settle.bytes() + reads.before.bytes() + reads.other.bytes();
    let first_ms = settle.first_ms();
    let step = move || {
        let settled = settle.step(&config, &judge, reads);
        (settle, settled)
    };
    apart(bytes, step).await.unwrap_or_else(|| lost(first_ms))
}

async fn watched(
    core: &Core,
    read: &Read,
    mut settle: Settle,
    judge: EndpointJudge,
) -> (Settle, Settled) {
    let config = core.config.recheck.settle.clone();
    let Ok(watched) = watch(core, read, &judge).await else {
        let settled = settle.failed(&config);
        return (settle, settled);
    };
    let first_ms = settle.first_ms();
    let bytes = settle.bytes();
    let step = move || {
        let settled = settle.watched(&config, &judge, &watched);
        (settle, settled)
    };
    apart(bytes, step).await.unwrap_or_else(|| lost(first_ms))
}

/// A comparison that failed on its thread: a bug, and no evidence.
fn lost(first_ms: u64) -> (Settle, Settled) {
    (Settle::new(Suspect::Difference, first_ms), Settled::Inconclusive("compare_failed"))
}

/// Reads the owner, the other side, the owner again.
async fn sandwich(core: &Core, read: &Read, owner: Side) -> Result<Reads, AskError> {
    let before = ask(core, read, owner).await?;
    let watermark_ms = watermark_ms(core, read);
    let other = ask(core, read, owner.other()).await?;
    let after = ask(core, read, owner).await?;
    let quiet_ms = core.rechecks.quiet_ms(&read.context);
    let ended_ms = core.clock.now_ms();
    Ok(Reads { before, other, after, ended_ms, watermark_ms, quiet_ms })
}

/// Looks at the owner again and again until the sync has passed the first look, then at the other side and once more at
/// the owner. Without a watermark the margin alone is waited for.
async fn watch(core: &Core, read: &Read, judge: &EndpointJudge) -> Result<Watched, AskError> {
    let config = &core.config.recheck.settle;
    let first = ask(core, read, judge.owner).await?;
    let since_ms = core.clock.now_ms();
    let enough_ms = since_ms.saturating_add(config.margin_ms);
    loop {
        core.clock.sleep(config.watch_every_ms.max(1)).await;
        let passed = watermark_ms(core, read).unwrap_or(core.clock.now_ms()) >= enough_ms;
        let other = if passed { Some(ask(core, read, judge.owner.other()).await?) } else { None };
        let owner = ask(core, read, judge.owner).await?;
        if !unmoved(judge, &first, &owner).await {
            return Ok(Watched::Moved);
        }
        if let Some(other) = other {
            return Ok(Watched::Unmoved { owner, other });
        }
        if core.clock.now_ms().saturating_sub(since_ms) >= config.watch_max_ms {
            return Ok(Watched::Behind);
        }
    }
}

async fn unmoved(judge: &EndpointJudge, first: &Answer, later: &Answer) -> bool {
    let bytes = first.bytes() + later.bytes();
    let (judge, first, later) = (judge.clone(), first.clone(), later.clone());
    apart(bytes, move || judge.same(&first, &later)).await.unwrap_or(false)
}

async fn ask(core: &Core, read: &Read, side: Side) -> Result<Answer, AskError> {
    core.guard.ask(&read.context, side, &read.request).await
}

fn watermark_ms(core: &Core, read: &Read) -> Option<u64> {
    core.lag.as_ref().and_then(|lag| lag.watermark_ms(&read.context))
}
