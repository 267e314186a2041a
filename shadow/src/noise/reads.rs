//! The reads of one look.
//!
//! Owns which side is read when. What must stay true: the two reads of a pair follow each other at once; new is only read
//! for a triple after the sync has passed legacy's first answer, so that being late is never evidence against it; answers
//! are compared by the rules without accepted noise, else a defect under it could not be seen.

use super::Chosen;
use super::ledger::{NoiseLedger, Spot};
use crate::Answer;
use crate::capacity::Purpose;
use crate::judge::EndpointJudge;
use crate::settle::Judge as _;
use crate::worker::{Core, Read, apart};
use banyan_diff::{Comparison, Difference, Fragment};
use banyan_domain::Side;
use banyan_noise::{Key, Places, Triple, pair, triple};

/// Looks at one request; nothing when it was broken off (a side did not answer, a comparison could not see all).
pub(crate) async fn look(core: &Core, read: &Read, chosen: Chosen) -> Option<()> {
    let eye = Eye { core, read, judge: core.base_judge(read) };
    let first = eye.ask(Side::Legacy).await?;
    let second = eye.ask(Side::Legacy).await?;
    let (tight, comparison) = eye.within(&first, &second).await?;
    let again = if tight.is_empty() {
        Places::default()
    } else {
        let third = eye.ask(Side::Legacy).await?;
        eye.moved(&second, &third).await?
    };
    let evidence = pair(&tight, &again);
    let mut spots = NoiseLedger::default();
    spots.pair(chosen);
    for key in &evidence.noisy {
        spots.noisy(eye.spot(key), chosen, eye.example(key, &comparison.differences));
    }
    for key in &evidence.moved {
        spots.moved(eye.spot(key));
    }
    core.books.noise(&read.endpoint, read.at_ms, spots);
    let new = eye.ask(Side::New).await?;
    let across = eye.across(&first, &new).await?;
    if tight.is_empty() && across.is_empty() {
        return Some(());
    }
    let mut spots = NoiseLedger::default();
    for (key, sign) in triple(&eye.triple().await?) {
        spots.sign(eye.spot(&key), sign);
    }
    spots.triple();
    core.books.noise(&read.endpoint, read.at_ms, spots);
    Some(())
}

/// What all reads of a look share.
struct Eye<'a> {
    core: &'a Core,
    read: &'a Read,
    judge: EndpointJudge,
}

impl Eye<'_> {
    async fn ask(&self, side: Side) -> Option<Answer> {
        if self.core.is_closing() || !self.core.still_planned(self.read) {
            return None;
        }
        self.core.guard.ask(self.read.call(side, Purpose::Look)).await.ok()
    }

    /// Where legacy's answer and new's differ.
    async fn across(&self, legacy: &Answer, new: &Answer) -> Option<Places> {
        let bytes = legacy.bytes() + new.bytes();
        let (judge, legacy, new) = (self.judge.clone(), legacy.clone(), new.clone());
        let compared = apart(bytes, move || judge.compare(Side::Legacy, &legacy, &new)).await?;
        Places::of(&compared)
    }

    /// Where two answers of legacy differ.
    async fn within(&self, one: &Answer, other: &Answer) -> Option<(Places, Comparison)> {
        let bytes = one.bytes() + other.bytes();
        let (judge, one, other) = (self.judge.clone(), one.clone(), other.clone());
        let comparison = apart(bytes, move || judge.within(&one, &other)).await?;
        Places::of(&comparison).map(|places| (places, comparison))
    }

    async fn moved(&self, one: &Answer, other: &Answer) -> Option<Places> {
        self.within(one, other).await.map(|(places, _)| places)
    }

    /// Fresh reads: legacy, legacy again and again until the sync has passed the first, new, legacy, and at last legacy.
    async fn triple(&self) -> Option<Triple> {
        let first = self.ask(Side::Legacy).await?;
        let mut seen = Triple::default();
        self.until_passed(&mut seen.between).await?;
        let new = self.ask(Side::New).await?;
        let second = self.ask(Side::Legacy).await?;
        seen.first_new = self.across(&first, &new).await?;
        seen.first_second = self.moved(&first, &second).await?;
        if seen.first_new.is_empty() && seen.first_second.is_empty() {
            return Some(seen);
        }
        let last = self.ask(Side::Legacy).await?;
        seen.first_last = self.moved(&first, &last).await?;
        seen.second_last = self.moved(&second, &last).await?;
        seen.last_new = self.across(&last, &new).await?;
        Some(seen)
    }

    /// Reads legacy until the sync has passed now, and keeps where neighbouring answers differ. Nothing when the sync
    /// does not come that far in time.
    async fn until_passed(&self, between: &mut Places) -> Option<()> {
        let config = &self.core.config.recheck.settle;
        let since_ms = self.core.clock.now_ms();
        let quiet_ms = self.core.rechecks.quiet_ms(&self.read.context);
        let enough_ms = since_ms.saturating_add(config.margin_ms);
        let mut earlier: Option<Answer> = None;
        loop {
            self.core.clock.sleep(config.watch_every_ms.max(1)).await;
            let later = self.ask(Side::Legacy).await?;
            if let Some(earlier) = &earlier {
                between.extend(self.moved(earlier, &later).await?);
            }
            earlier = Some(later);
            let now_ms = self.core.clock.now_ms();
            let passed = match self.watermark_ms() {
                Some(passed) => passed >= enough_ms,
                None => now_ms >= enough_ms.saturating_add(quiet_ms),
            };
            if passed {
                return Some(());
            }
            if now_ms.saturating_sub(since_ms) >= config.watch_max_ms {
                return None;
            }
        }
    }

    fn watermark_ms(&self) -> Option<u64> {
        self.core.lag.as_ref().and_then(|lag| lag.watermark_ms(&self.read.context))
    }

    /// The key as it is stored: names in its path that may be values are gone.
    #[expect(clippy::unused_self, reason = "reads as a step of the look")]
    fn spot(&self, key: &Key) -> Spot {
        Spot { shape: crate::redact::shape(&key.shape), kind: key.kind.clone() }
    }

    fn example(&self, key: &Key, differences: &[Difference]) -> Option<String> {
        let shows = |difference: &&Difference| Key::of(difference) == *key;
        let difference = differences.iter().find(shows)?;
        let legacy: &Fragment = difference.legacy.as_ref()?;
        Some(self.core.books.redacted(&difference.location.part, legacy))
    }
}
