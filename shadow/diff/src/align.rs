//! Alignment of two sequences of hashes: which places belong together, which moved, which are only on one side.
//!
//! Owns Myers' algorithm with a bound on its depth, and the longest increasing subsequence that judges order once. A
//! kept crate (`similar`) bounds its work with a clock; here the bound is a number, so the same two answers always give
//! the same report, and what is beyond the bound is aligned by occurrence instead of given up. Must stay true:
//! `anchors` grow on both sides; each place is used at most once; swapping the sides swaps the result.

use crate::Why;
use crate::budget::Meter;

/// Edits that Myers' algorithm looks for; its cost is at most this times the length.
const EDITS_MAX: usize = 200;

/// Pairs of places, (legacy, new).
pub(crate) type Pairs = Vec<(usize, usize)>;

/// How two sequences fit together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Alignment {
    /// Equal elements in the same order on both sides.
    pub(crate) anchors: Pairs,
    /// Equal elements out of order.
    pub(crate) moved: Pairs,
}

/// Aligns two sequences; the result is symmetric.
pub(crate) fn align(legacy: &[u64], new: &[u64], meter: &mut Meter) -> Result<Alignment, Why> {
    meter.charge(legacy.len() + new.len())?;
    if (new.len(), new) < (legacy.len(), legacy) {
        let mirrored = align_ordered(new, legacy, meter)?;
        return Ok(Alignment { anchors: swap(mirrored.anchors), moved: swap(mirrored.moved) });
    }
    align_ordered(legacy, new, meter)
}

fn swap(mut pairs: Pairs) -> Pairs {
    for pair in &mut pairs {
        *pair = (pair.1, pair.0);
    }
    pairs.sort_unstable();
    pairs
}

fn align_ordered(a: &[u64], b: &[u64], meter: &mut Meter) -> Result<Alignment, Why> {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (rest_a, rest_b) = (a.get(head..).unwrap_or_default(), b.get(head..).unwrap_or_default());
    let tail = rest_a.iter().rev().zip(rest_b.iter().rev()).take_while(|(x, y)| x == y).count();
    let middle_a = rest_a.get(..rest_a.len() - tail).unwrap_or_default();
    let middle_b = rest_b.get(..rest_b.len() - tail).unwrap_or_default();

    let middle = match shortest_edit(middle_a, middle_b, meter)? {
        Some(anchors) => {
            let moved = occurrences(middle_a, middle_b, &anchors);
            Alignment { anchors, moved }
        }
        None => by_occurrence(middle_a, middle_b),
    };
    let shift = |pairs: Pairs| pairs.into_iter().map(|(x, y)| (x + head, y + head));
    let mut anchors: Pairs = (0..head).map(|at| (at, at)).collect();
    anchors.extend(shift(middle.anchors));
    anchors.extend((0..tail).map(|at| (a.len() - tail + at, b.len() - tail + at)));
    Ok(Alignment { anchors, moved: shift(middle.moved).collect() })
}

/// Myers' greedy algorithm; `None` when more than [`EDITS_MAX`] edits are needed.
fn shortest_edit(a: &[u64], b: &[u64], meter: &mut Meter) -> Result<Option<Pairs>, Why> {
    if a.is_empty() || b.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let edits_max = EDITS_MAX.min(a.len() + b.len());
    if a.len().abs_diff(b.len()) > edits_max {
        return Ok(None);
    }
    // `reach[zero + k]` is the furthest place in `a` on diagonal k = place in `a` - place in `b`.
    let zero = edits_max + 1;
    let mut reach = vec![0usize; 2 * zero + 1];
    let mut history: Vec<Vec<usize>> = Vec::new();
    for edits in 0..=edits_max {
        history.push(reach[zero - edits..=zero + edits].to_vec());
        for k in (zero - edits..=zero + edits).step_by(2) {
            let down = k == zero - edits || (k != zero + edits && reach[k - 1] < reach[k + 1]);
            let start = if down { reach[k + 1] } else { reach[k - 1] + 1 };
            let start = if edits == 0 { 0 } else { start };
            let mut x = start;
            while let (Some(p), Some(q)) = (a.get(x), b.get(x + zero - k)) {
                if p != q {
                    break;
                }
                x += 1;
            }
            meter.charge(1 + (x - start) / 8)?;
            reach[k] = x;
            if x >= a.len() && x + zero - k >= b.len() {
                return Ok(Some(trace_back(&history, (a.len(), b.len()))));
            }
        }
    }
    Ok(None)
}

/// Walks the history from the end to the start and collects the places that were equal.
fn trace_back(history: &[Vec<usize>], (mut x, mut y): (usize, usize)) -> Pairs {
    let mut pairs = Pairs::new();
    for (edits, reach) in history.iter().enumerate().rev() {
        // Entry `edits` of the history holds the diagonals -edits..=edits before that round.
        let k = x + edits - y;
        let down = edits > 0 && (k == 0 || (k != 2 * edits && reach[k - 1] < reach[k + 1]));
        let (from_x, from_y) = match (edits, down) {
            (0, _) => (0, 0),
            (_, true) => (reach[k + 1], reach[k + 1] + edits - (k + 1)),
            (_, false) => (reach[k - 1], reach[k - 1] + edits - (k - 1)),
        };
        let (after_x, after_y) = match (edits, down) {
            (0, _) => (0, 0),
            (_, true) => (from_x, from_y + 1),
            (_, false) => (from_x + 1, from_y),
        };
        while x > after_x && y > after_y {
            x -= 1;
            y -= 1;
            pairs.push((x, y));
        }
        (x, y) = (from_x, from_y);
    }
    pairs.reverse();
    pairs
}

/// Pairs equal elements that no anchor uses, the k-th occurrence with the k-th.
fn occurrences(a: &[u64], b: &[u64], anchors: &Pairs) -> Pairs {
    let mut used_a = vec![false; a.len()];
    let mut used_b = vec![false; b.len()];
    for (x, y) in anchors {
        used_a[*x] = true;
        used_b[*y] = true;
    }
    let free = |hashes: &[u64], used: &[bool]| {
        let places = hashes.iter().zip(used).enumerate().filter(|(_, (_, used))| !**used);
        let mut free: Vec<(u64, usize)> = places.map(|(at, (hash, _))| (*hash, at)).collect();
        free.sort_unstable();
        free
    };
    let mut pairs = join(&free(a, &used_a), &free(b, &used_b));
    pairs.sort_unstable();
    pairs
}

/// Joins two lists that are sorted by hash and place.
pub(crate) fn join(a: &[(u64, usize)], b: &[(u64, usize)]) -> Pairs {
    let (mut at_a, mut at_b) = (0, 0);
    let mut pairs = Pairs::new();
    while let (Some((hash_a, x)), Some((hash_b, y))) = (a.get(at_a), b.get(at_b)) {
        match hash_a.cmp(hash_b) {
            std::cmp::Ordering::Less => at_a += 1,
            std::cmp::Ordering::Greater => at_b += 1,
            std::cmp::Ordering::Equal => {
                pairs.push((*x, *y));
                at_a += 1;
                at_b += 1;
            }
        }
    }
    pairs
}

/// For sequences with many edits: equal elements by occurrence; those that keep their order are the anchors.
fn by_occurrence(a: &[u64], b: &[u64]) -> Alignment {
    let pairs = occurrences(a, b, &Vec::new());
    let kept = longest_increasing(pairs.iter().map(|(_, y)| *y));
    let mut alignment = Alignment::default();
    let mut kept = kept.into_iter().peekable();
    for (at, pair) in pairs.into_iter().enumerate() {
        if kept.next_if_eq(&at).is_some() {
            alignment.anchors.push(pair);
        } else {
            alignment.moved.push(pair);
        }
    }
    alignment
}

/// Places of a longest increasing subsequence, growing; O(n log n).
pub(crate) fn longest_increasing(values: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut tails: Vec<(usize, usize)> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::new();
    for (at, value) in values.enumerate() {
        let length = tails.partition_point(|(tail, _)| *tail < value);
        before.push(length.checked_sub(1).and_then(|prior| tails.get(prior)).map(|(_, at)| *at));
        match tails.get_mut(length) {
            Some(tail) => *tail = (value, at),
            None => tails.push((value, at)),
        }
    }
    let mut places = Vec::with_capacity(tails.len());
    let mut next = tails.last().map(|(_, at)| *at);
    while let Some(at) = next {
        places.push(at);
        next = before.get(at).copied().flatten();
    }
    places.reverse();
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Budget;

    fn aligned(a: &[u64], b: &[u64]) -> Alignment {
        align(a, b, &mut Meter::new(&Budget::default())).unwrap()
    }

    /// Length of the longest common subsequence, the slow way.
    fn common(a: &[u64], b: &[u64]) -> usize {
        let mut row = vec![0; b.len() + 1];
        for x in a {
            let mut diagonal = 0;
            for (at, y) in b.iter().enumerate() {
                let above = row[at + 1];
                row[at + 1] = if x == y { diagonal + 1 } else { above.max(row[at]) };
                diagonal = above;
            }
        }
        row[b.len()]
    }

    #[test]
    fn shift_of_a_long_list_is_one_missing_and_one_extra() {
        let a: Vec<u64> = (0..50_000).collect();
        let b: Vec<u64> = (1..50_001).collect();
        let alignment = aligned(&a, &b);
        assert_eq!(alignment.anchors.len(), 49_999);
        assert!(alignment.moved.is_empty());
    }

    #[test]
    fn shuffle_beyond_the_edit_bound_is_only_moves() {
        let a: Vec<u64> = (0..5_000).collect();
        let b: Vec<u64> = a.iter().map(|x| x * 2_377 % 5_000).collect();
        let alignment = aligned(&a, &b);
        assert_eq!(alignment.anchors.len() + alignment.moved.len(), 5_000);
    }

    proptest! {
        #[test]
        fn anchors_are_a_longest_common_subsequence(
            a in prop::collection::vec(0u64..6, 0..40),
            b in prop::collection::vec(0u64..6, 0..40),
        ) {
            let alignment = aligned(&a, &b);
            prop_assert_eq!(alignment.anchors.len(), common(&a, &b));
            prop_assert!(alignment.anchors.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
            let all: Vec<_> = alignment.anchors.iter().chain(&alignment.moved).collect();
            for (x, y) in &all {
                prop_assert_eq!(a[*x], b[*y]);
            }
            let mut left: Vec<_> = all.iter().map(|p| p.0).collect();
            left.sort_unstable();
            left.dedup();
            prop_assert_eq!(left.len(), all.len());
        }

        #[test]
        fn swapping_the_sides_swaps_the_result(
            a in prop::collection::vec(0u64..6, 0..30),
            b in prop::collection::vec(0u64..6, 0..30),
        ) {
            let (forth, back) = (aligned(&a, &b), aligned(&b, &a));
            prop_assert_eq!(forth.anchors, swap(back.anchors));
            prop_assert_eq!(forth.moved, swap(back.moved));
        }

        #[test]
        fn increasing_subsequence_is_increasing(values in prop::collection::vec(0usize..50, 0..60)) {
            let places = longest_increasing(values.iter().copied());
            prop_assert!(places.windows(2).all(|w| w[0] < w[1] && values[w[0]] < values[w[1]]));
        }
    }
}
