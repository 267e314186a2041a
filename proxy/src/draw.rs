//! Cheap numbers for sampling.
//!
//! Owns the only dice of the proxy. They decide what is compared or logged, never where a request goes.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<u64> = Cell::new(rand::random());
}

/// A number 0..100, evenly spread (splitmix64).
pub(crate) fn percent() -> u8 {
    let state = STATE.with(|cell| {
        let next = cell.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        cell.set(next);
        next
    });
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mixed = mixed ^ (mixed >> 31);
    u8::try_from((u128::from(mixed) * 100) >> 64).unwrap_or(99)
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_below_a_hundred_and_spread() {
        let mut seen = [0u32; 100];
        for _ in 0..100_000 {
            seen[usize::from(super::percent())] += 1;
        }
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
    }
}
