//! The stable-window test: whether a difference seen while both sides move is real.
//!
//! The source is read, then the target, then the source again. A difference counts only when the
//! source did not change in between and nothing of the key was pending, since then every committed
//! change of the key had been applied before the target was read. One window can be fooled by a
//! change that was made and unmade inside it, so two windows in a row must agree.
//!
//! What must stay true: a key is never called equal or different on a window that was not quiet; a
//! key that never gets quiet is `Hot`, never equal.

use crate::hash::AggregateHash;

/// One look at the source side of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The hash of the rows the target should have.
    pub hash: AggregateHash,
    /// Whether a captured change of the key was not applied yet.
    pub pending: bool,
}

/// What the windows so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The sides agree.
    Equal,
    /// The sides differ although nothing is pending.
    Differs,
    /// Look again, after a pause.
    Again,
    /// The key never got quiet within the allowed windows.
    Hot,
}

/// Collects windows of one key.
#[derive(Debug, Clone)]
pub struct StableWindow {
    windows_left: u32,
    differed_with: Option<(AggregateHash, AggregateHash)>,
}

impl StableWindow {
    /// Allows this many windows.
    pub fn new(windows: u32) -> Self {
        Self { windows_left: windows, differed_with: None }
    }

    /// Judges one window: source before, target, source after.
    pub fn observe(&mut self, before: Look, target: AggregateHash, after: Look) -> Verdict {
        self.windows_left = self.windows_left.saturating_sub(1);
        let quiet = before == after && !before.pending;
        if quiet && before.hash == target {
            return Verdict::Equal;
        }
        if quiet {
            let seen = (before.hash, target);
            if self.differed_with == Some(seen) {
                return Verdict::Differs;
            }
            self.differed_with = Some(seen);
        } else {
            self.differed_with = None;
        }
        if self.windows_left == 0 { Verdict::Hot } else { Verdict::Again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AggregateHasher, KeyedRows, Value};

    fn hash(of: i128) -> AggregateHash {
        let mut rows = KeyedRows::default();
        rows.insert(&[0], vec![Value::Int(of)]).unwrap();
        let mut hasher = AggregateHasher::new();
        hasher.table(&rows);
        hasher.finish()
    }

    fn quiet(of: i128) -> Look {
        Look { hash: hash(of), pending: false }
    }

    #[test]
    fn a_difference_counts_after_two_equal_quiet_windows() {
        let mut window = StableWindow::new(9);
        assert_eq!(window.observe(quiet(1), hash(2), quiet(1)), Verdict::Again);
        assert_eq!(window.observe(quiet(1), hash(2), quiet(1)), Verdict::Differs);
    }

    #[test]
    fn a_change_in_between_or_pending_makes_the_window_worthless() {
        let mut window = StableWindow::new(9);
        let pending = Look { hash: hash(1), pending: true };
        assert_eq!(window.observe(quiet(1), hash(2), quiet(1)), Verdict::Again);
        assert_eq!(window.observe(pending, hash(2), pending), Verdict::Again);
        assert_eq!(window.observe(quiet(1), hash(2), quiet(3)), Verdict::Again);
        assert_eq!(window.observe(quiet(3), hash(2), quiet(3)), Verdict::Again);
        assert_eq!(window.observe(quiet(3), hash(3), quiet(3)), Verdict::Equal);
    }

    #[test]
    fn a_key_that_never_gets_quiet_is_hot_not_equal() {
        let mut window = StableWindow::new(2);
        let pending = Look { hash: hash(1), pending: true };
        assert_eq!(window.observe(pending, hash(1), pending), Verdict::Again);
        assert_eq!(window.observe(pending, hash(1), pending), Verdict::Hot);
    }
}
