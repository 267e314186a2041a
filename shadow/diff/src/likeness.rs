//! Pairing what two lists do not share by how alike it is.
//!
//! Owns the gaps that an alignment leaves and the choice of pairs inside of one gap. It exists because an edited element
//! should be one edit, not one that is missing and one that is new. Must stay true: symmetric; bounded by 64 x 64 looks
//! per gap, larger gaps go by place.

use crate::Why;
use crate::align::{self, Alignment, Pairs};
use crate::budget::Meter;

/// Removed times inserted elements of a gap that are compared each with each.
const LOOKS_MAX: usize = 64 * 64;

/// Places between two anchors that have no equal partner.
#[derive(Debug)]
pub(crate) struct Gap {
    pub(crate) removed: Vec<usize>,
    pub(crate) inserted: Vec<usize>,
}

/// The gaps with something on both sides.
pub(crate) fn gaps(alignment: &Alignment, legacy: usize, new: usize) -> Vec<Gap> {
    let mut used = (vec![false; legacy], vec![false; new]);
    for (x, y) in &alignment.moved {
        for slot in used.0.get_mut(*x).into_iter().chain(used.1.get_mut(*y)) {
            *slot = true;
        }
    }
    let free = |used: &[bool], from: usize, to: usize| -> Vec<usize> {
        (from..to).filter(|at| !used.get(*at).is_some_and(|used| *used)).collect()
    };
    let (mut gaps, mut from) = (Vec::new(), (0, 0));
    for (x, y) in alignment.anchors.iter().copied().chain([(legacy, new)]) {
        if from.0 < x && from.1 < y {
            let (removed, inserted) = (free(&used.0, from.0, x), free(&used.1, from.1, y));
            if !removed.is_empty() && !inserted.is_empty() {
                gaps.push(Gap { removed, inserted });
            }
        }
        from = (x + 1, y + 1);
    }
    gaps
}

/// Pairs a gap, the most alike first. `score` gets places inside of the gap; `None` means that they never belong
/// together.
pub(crate) fn pair(
    gap: &Gap,
    meter: &mut Meter,
    pairs: &mut Pairs,
    mut score: impl FnMut(usize, usize) -> Option<usize>,
) -> Result<(), Why> {
    let (n, m) = (gap.removed.len(), gap.inserted.len());
    let mut take = |i: usize, j: usize| {
        pairs.extend(gap.removed.get(i).copied().zip(gap.inserted.get(j).copied()));
    };
    if n.saturating_mul(m) > LOOKS_MAX {
        meter.charge(n.min(m))?;
        (0..n.min(m)).filter(|at| score(*at, *at).is_some()).for_each(|at| take(at, at));
        return Ok(());
    }
    meter.charge(n * m * 4)?;
    let mut scores = Vec::with_capacity(n * m);
    for i in 0..n {
        for j in 0..m {
            let alike = score(i, j).map(std::cmp::Reverse);
            scores.extend(alike.map(|alike| (alike, i.abs_diff(j), i.min(j), i, j)));
        }
    }
    scores.sort_unstable();
    let mut used = (vec![false; n], vec![false; m]);
    for (_, _, _, i, j) in scores {
        if let (Some(a), Some(b)) = (used.0.get_mut(i), used.1.get_mut(j))
            && !*a
            && !*b
        {
            (*a, *b) = (true, true);
            take(i, j);
        }
    }
    Ok(())
}

/// The share of equal entries of two sorted lists, 0 to 1,000.
pub(crate) fn shared(a: &[u64], b: &[u64]) -> usize {
    let listed = |hashes: &[u64]| hashes.iter().map(|hash| (*hash, 0)).collect::<Vec<_>>();
    align::join(&listed(a), &listed(b)).len() * 1_000 / a.len().max(b.len()).max(1)
}
