//! Which events moved.
//!
//! Owns the blame for another order: the fewest events whose removal leaves both sides in the same order (all but a longest
//! increasing subsequence). It exists because one event that came early moves every other one behind it. What must stay
//! true: nothing is blamed where the order is the same; the number of blamed ones does not depend on which side is named first.

/// `ranks[i]` is the place in new's order of the i-th pair in legacy's order; the indices of those that moved.
pub(crate) fn moved(ranks: &[usize]) -> Vec<usize> {
    // tails[n]: the index with the smallest rank that ends an increasing run of n + 1.
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; ranks.len()];
    for (at, rank) in ranks.iter().enumerate() {
        let length = tails.partition_point(|tail| ranks[*tail] < *rank);
        before[at] = length.checked_sub(1).map(|shorter| tails[shorter]);
        if length == tails.len() {
            tails.push(at);
        } else {
            tails[length] = at;
        }
    }
    let mut stays = vec![false; ranks.len()];
    let mut at = tails.last().copied();
    while let Some(index) = at {
        stays[index] = true;
        at = before[index];
    }
    (0..ranks.len()).filter(|index| !stays[*index]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moved_event_is_one_finding() {
        assert!(moved(&[0, 1, 2, 3]).is_empty());
        assert_eq!(moved(&[3, 0, 1, 2]), [0]);
        assert_eq!(moved(&[1, 2, 3, 0]), [3]);
        assert_eq!(moved(&[1, 0]).len(), 1);
        assert_eq!(moved(&[2, 1, 0]).len(), 2);
        assert!(moved(&[]).is_empty());
    }
}
