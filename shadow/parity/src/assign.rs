//! Which event of one side belongs to which of the other, among those of one key.
//!
//! Owns the assignment. It exists because several events of one key are common (a message edited three times), and pairing the
//! n-th with the n-th blames everything behind one that is missing. What must stay true: as many pairs as possible, equal
//! payloads first, then the smallest delays; the same pairs when the sides are swapped.

/// One side's events of a key, in their order: their times.
pub(crate) type Times<'a> = &'a [i64];

/// Cells of the table up to which all payloads are looked at.
const CELLS_MAX: usize = 1_024;
/// How far from the diagonal payloads are looked at beyond that, besides the difference of both numbers; and how many of
/// them. Beyond that only order and time decide.
const BAND: usize = 3;
const BAND_CELLS_MAX: usize = 16_384;
/// Pairs of one key beyond which not even a table is made.
const TABLE_MAX: usize = 1 << 18;

/// Pairs of indices, ascending in the first.
///
/// `alike` says whether two payloads are equal; it is asked at most twice [`BAND_CELLS_MAX`] times.
pub(crate) fn assign(
    legacy: Times<'_>,
    new: Times<'_>,
    window_ms: i64,
    alike: &mut dyn FnMut(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    let near = |a: usize, b: usize| (legacy[a] - new[b]).abs() <= window_ms;
    if legacy.len() == 1 && new.len() == 1 {
        return if near(0, 0) { vec![(0, 0)] } else { Vec::new() };
    }
    // The two sides in an order that does not depend on their names, so that ties fall the same way.
    if (new.len(), new) < (legacy.len(), legacy) {
        let swapped = assign(new, legacy, window_ms, &mut |b, a| alike(a, b));
        let mut pairs: Vec<_> = swapped.into_iter().map(|(b, a)| (a, b)).collect();
        pairs.sort_unstable();
        return pairs;
    }
    let cells = legacy.len().saturating_mul(new.len());
    // The usual case, and the only way in which all can be paired without crossing.
    let straight =
        |at: usize, alike: &mut dyn FnMut(usize, usize) -> bool| near(at, at) && alike(at, at);
    if legacy.len() == new.len()
        && legacy.len() <= BAND_CELLS_MAX
        && (0..legacy.len()).all(|at| straight(at, alike))
    {
        return (0..legacy.len()).map(|at| (at, at)).collect();
    }
    let mut pairs = Vec::new();
    // Of very many, only those near the diagonal: both sides have nearly as many, in nearly the same order.
    let band = if cells <= CELLS_MAX { cells } else { legacy.len().abs_diff(new.len()) + BAND };
    if cells <= CELLS_MAX || legacy.len().saturating_mul(2 * band + 1) <= BAND_CELLS_MAX {
        let equal: Vec<Vec<bool>> = (0..legacy.len())
            .map(|a| {
                let looks = |b: usize| a.abs_diff(b) <= band && near(a, b) && alike(a, b);
                (0..new.len()).map(looks).collect()
            })
            .collect();
        pairs = in_order(legacy, new, |a, b| equal[a][b]);
        // Equal ones that crossed: they have another order, which is a finding of its own.
        for (a, row) in equal.iter().enumerate() {
            let free = |b: &usize| row[*b] && !pairs.iter().any(|(_, taken)| taken == b);
            if !pairs.iter().any(|(taken, _)| *taken == a)
                && let Some(b) = (0..new.len()).find(free)
            {
                pairs.push((a, b));
            }
        }
    }
    let left_a: Vec<usize> =
        (0..legacy.len()).filter(|a| !pairs.iter().any(|(taken, _)| taken == a)).collect();
    let left_b: Vec<usize> =
        (0..new.len()).filter(|b| !pairs.iter().any(|(_, taken)| taken == b)).collect();
    let times = |all: Times<'_>, left: &[usize]| left.iter().map(|at| all[*at]).collect::<Vec<_>>();
    let (rest_a, rest_b) = (times(legacy, &left_a), times(new, &left_b));
    let rest = in_order(&rest_a, &rest_b, |a, b| (rest_a[a] - rest_b[b]).abs() <= window_ms);
    pairs.extend(rest.into_iter().map(|(a, b)| (left_a[a], left_b[b])));
    pairs.sort_unstable();
    pairs
}

/// As many pairs as possible that do not cross, of those with the smallest sum of delays.
fn in_order(
    legacy: Times<'_>,
    new: Times<'_>,
    may: impl Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    let (rows, columns) = (legacy.len(), new.len());
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    if rows.saturating_mul(columns) > TABLE_MAX {
        return one_by_one(rows, columns, may);
    }
    // best[a][b]: pairs and delay of what begins at a and b; more pairs, then less delay.
    let mut best = vec![vec![(0_i64, 0_i64); columns + 1]; rows + 1];
    for a in (0..rows).rev() {
        for b in (0..columns).rev() {
            let mut value = best[a + 1][b].max(best[a][b + 1]);
            if may(a, b) {
                let (pairs, delay) = best[a + 1][b + 1];
                value = value.max((pairs + 1, delay - (legacy[a] - new[b]).abs()));
            }
            best[a][b] = value;
        }
    }
    let (mut a, mut b, mut pairs) = (0, 0, Vec::new());
    while a < rows && b < columns {
        let (count, delay) = best[a + 1][b + 1];
        if may(a, b) && best[a][b] == (count + 1, delay - (legacy[a] - new[b]).abs()) {
            pairs.push((a, b));
            (a, b) = (a + 1, b + 1);
        } else if best[a][b] == best[a + 1][b] {
            a += 1;
        } else {
            b += 1;
        }
    }
    pairs
}

/// The n-th with the n-th, where they may.
fn one_by_one(
    rows: usize,
    columns: usize,
    may: impl Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    (0..rows.min(columns)).map(|at| (at, at)).filter(|(a, b)| may(*a, *b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(legacy: &[(i64, char)], new: &[(i64, char)]) -> Vec<(usize, usize)> {
        let times = |side: &[(i64, char)]| side.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assign(&times(legacy), &times(new), 100, &mut |a, b| legacy[a].1 == new[b].1)
    }

    #[test]
    fn one_that_is_missing_does_not_move_the_others() {
        let legacy = [(0, 'a'), (10, 'b'), (20, 'c')];
        assert_eq!(pairs(&legacy, &[(12, 'b'), (22, 'c')]), [(1, 0), (2, 1)]);
        let same = [(0, 'a'), (10, 'a'), (20, 'a')];
        assert_eq!(pairs(&same, &[(1, 'a'), (21, 'a')]), [(0, 0), (2, 1)], "the nearest");
    }

    #[test]
    fn changed_payloads_are_paired_in_order_and_moved_ones_by_payload() {
        assert_eq!(pairs(&[(0, 'a'), (10, 'b')], &[(1, 'a'), (11, 'x')]), [(0, 0), (1, 1)]);
        assert_eq!(pairs(&[(0, 'a'), (10, 'b')], &[(1, 'b'), (11, 'a')]), [(0, 1), (1, 0)]);
    }

    #[test]
    fn what_is_further_apart_than_the_window_is_no_pair() {
        assert!(pairs(&[(0, 'a')], &[(101, 'a')]).is_empty());
        assert_eq!(pairs(&[(0, 'a'), (300, 'a')], &[(301, 'a')]), [(1, 0)]);
    }

    #[test]
    fn among_very_many_one_that_is_missing_still_moves_no_other() {
        // New is later than the next event of legacy: by time alone each would be paired with its neighbour.
        let legacy: Vec<i64> = (0..600).map(|nth| nth * 10).collect();
        let mut new: Vec<i64> = legacy.iter().map(|at| at + 35).collect();
        new.remove(250);
        let truth = |b: usize| if b < 250 { b } else { b + 1 };
        let mut asked = 0;
        let pairs = assign(&legacy, &new, 100, &mut |a, b| {
            asked += 1;
            a == truth(b)
        });
        assert_eq!(pairs, (0..599).map(|b| (truth(b), b)).collect::<Vec<_>>());
        assert!(asked <= 2 * BAND_CELLS_MAX, "{asked}");
    }
}
