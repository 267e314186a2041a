//! Consistent renaming of ids between legacy and new.
//!
//! Owns which value of legacy became which value of new, per domain. It exists so that new ids can be compared instead
//! of ignored: the first sight binds, a later contradiction is a difference. Must stay true: values are only kept
//! hashed; a comparison adds its bindings only when both sides agreed, so that a stale answer cannot bind wrongly; the
//! memory is bounded, the oldest binding goes first.

use std::collections::{HashMap, VecDeque};
use std::fmt;

/// Bytes that one binding costs, with both tables and the queue.
const BINDING_BYTES: usize = 256;

/// Bindings that a single comparison may add.
const FRESH_MAX: usize = 100_000;

/// Hash of a value within a domain.
type Token = [u8; 16];

/// Which values belong together, over many comparisons. Values are kept as keyed hashes.
#[derive(Clone)]
pub struct Bijections {
    key: [u8; 32],
    bindings_max: usize,
    forth: HashMap<Token, Token>,
    back: HashMap<Token, Token>,
    oldest: VecDeque<(Token, Token)>,
    evicted: u64,
    fresh: Fresh,
}

/// What the running comparison adds.
#[derive(Debug, Clone, Default)]
struct Fresh {
    forth: HashMap<Token, Token>,
    back: HashMap<Token, Token>,
    order: Vec<(Token, Token)>,
}

impl Default for Bijections {
    /// Enough for one comparison.
    fn default() -> Self {
        Self::new([0; 32], FRESH_MAX * BINDING_BYTES)
    }
}

impl fmt::Debug for Bijections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bijections({} pairs, key hidden)", self.len())
    }
}

impl Bijections {
    /// Empty, with the secret under which values are hashed and a limit of its memory in bytes.
    pub fn new(key: [u8; 32], bytes_max: usize) -> Self {
        Self {
            key,
            bindings_max: bytes_max / BINDING_BYTES,
            forth: HashMap::new(),
            back: HashMap::new(),
            oldest: VecDeque::new(),
            evicted: 0,
            fresh: Fresh::default(),
        }
    }

    /// Pairs that are bound.
    pub fn len(&self) -> usize {
        self.oldest.len()
    }

    /// Whether nothing is bound.
    pub fn is_empty(&self) -> bool {
        self.oldest.is_empty()
    }

    /// Bindings that were forgotten for want of memory: their contradictions cannot be seen any more.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Whether a pair agrees with what is bound; a pair seen first is bound for this comparison.
    pub(crate) fn agrees(&mut self, domain: &str, legacy: (u8, &[u8]), new: (u8, &[u8])) -> bool {
        let (a, b) = (self.token(domain, 0, legacy), self.token(domain, 1, new));
        let known = |old: &HashMap<Token, Token>, fresh: &HashMap<Token, Token>, of: &Token| {
            fresh.get(of).or_else(|| old.get(of)).copied()
        };
        let forth = known(&self.forth, &self.fresh.forth, &a);
        let back = known(&self.back, &self.fresh.back, &b);
        match (forth, back) {
            (None, None) if self.fresh.order.len() < FRESH_MAX => {
                self.fresh.forth.insert(a, b);
                self.fresh.back.insert(b, a);
                self.fresh.order.push((a, b));
                true
            }
            (Some(bound), Some(of)) => bound == b && of == a,
            (None | Some(_), None | Some(_)) => false,
        }
    }

    /// Ends a comparison: its bindings stay when both sides agreed.
    pub(crate) fn settle(&mut self, agreed: bool) {
        let fresh = std::mem::take(&mut self.fresh);
        if !agreed {
            return;
        }
        for (a, b) in fresh.order {
            if self.oldest.len() >= self.bindings_max {
                let Some((old_a, old_b)) = self.oldest.pop_front() else { return };
                self.forth.remove(&old_a);
                self.back.remove(&old_b);
                self.evicted += 1;
            }
            self.forth.insert(a, b);
            self.back.insert(b, a);
            self.oldest.push_back((a, b));
        }
    }

    fn token(&self, domain: &str, side: u8, (tag, value): (u8, &[u8])) -> Token {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(domain.len() as u64).to_le_bytes());
        hasher.update(domain.as_bytes());
        hasher.update(&[side, tag]);
        hasher.update(value);
        let mut token = Token::default();
        hasher.finalize_xof().fill(&mut token);
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees(bijections: &mut Bijections, legacy: &str, new: &str) -> bool {
        bijections.agrees("user", (0, legacy.as_bytes()), (0, new.as_bytes()))
    }

    #[test]
    fn first_sight_binds_and_a_contradiction_in_either_direction_is_seen() {
        let mut known = Bijections::default();
        assert!(agrees(&mut known, "1", "a") && agrees(&mut known, "2", "b"));
        assert!(agrees(&mut known, "1", "a"));
        assert!(!agrees(&mut known, "1", "b") && !agrees(&mut known, "3", "a"));
        assert!(known.agrees("track", (0, b"1"), (0, b"b")), "another domain");
        known.settle(false);
        assert!(known.is_empty(), "a comparison that differed binds nothing");
        assert!(agrees(&mut known, "1", "b"));
        known.settle(true);
        assert!(!agrees(&mut known, "1", "a"));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_binding_goes() {
        let mut known = Bijections::new([7; 32], 2 * BINDING_BYTES);
        for (legacy, new) in [("1", "a"), ("2", "b"), ("3", "c")] {
            assert!(agrees(&mut known, legacy, new));
            known.settle(true);
        }
        assert_eq!((known.len(), known.evicted()), (2, 1));
        assert!(agrees(&mut known, "1", "z"), "forgotten");
        assert!(!agrees(&mut known, "3", "z"));
        let mut none = Bijections::new([7; 32], 0);
        assert!(agrees(&mut none, "1", "a"));
        none.settle(true);
        assert!(none.is_empty());
    }
}
