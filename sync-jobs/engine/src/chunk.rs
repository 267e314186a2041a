//! How many root keys one chunk takes: follow the time a chunk needs.
//!
//! Small chunks waste round trips, large ones hold locks long and memory high. The size moves toward
//! a time target by at most a factor of two per chunk, and halves when a chunk was too heavy.
//!
//! What must stay true: the size stays within its limits, so memory is bounded by configuration.

use std::time::Duration;

/// The adaptive size of the next chunk.
#[derive(Debug, Clone)]
pub struct ChunkSizer {
    size: usize,
    min: usize,
    max: usize,
    target: Duration,
}

impl ChunkSizer {
    /// Starts at `start` keys, stays within `1..=max`, aims at `target` per chunk.
    pub fn new(start: usize, max: usize, target: Duration) -> Self {
        let max = max.max(1);
        Self { size: start.clamp(1, max), min: 1, max, target }
    }

    /// Keys that the next chunk should take.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Learns from a chunk of `keys` that took `elapsed`.
    pub fn observe(&mut self, keys: usize, elapsed: Duration) {
        // A short last chunk says nothing about a full one.
        if keys < self.size {
            return;
        }
        if elapsed * 2 < self.target {
            self.size = (self.size * 2).min(self.max);
        } else if elapsed > self.target * 2 {
            self.size = (self.size / 2).max(self.min);
        }
    }

    /// Halves after a chunk of `keys` that was too heavy; false when it cannot get smaller.
    pub fn too_heavy(&mut self, keys: usize) -> bool {
        if keys <= self.min {
            return false;
        }
        self.size = (keys / 2).max(self.min);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_moves_toward_the_time_target_within_its_limits() {
        let mut sizer = ChunkSizer::new(100, 350, Duration::from_millis(500));
        sizer.observe(100, Duration::from_millis(50));
        assert_eq!(sizer.size(), 200);
        sizer.observe(200, Duration::from_millis(50));
        assert_eq!(sizer.size(), 350);
        sizer.observe(350, Duration::from_millis(400));
        assert_eq!(sizer.size(), 350);
        sizer.observe(350, Duration::from_secs(2));
        assert_eq!(sizer.size(), 175);
        sizer.observe(3, Duration::from_millis(1));
        assert_eq!(sizer.size(), 175, "a short chunk teaches nothing");
    }

    #[test]
    fn a_heavy_chunk_halves_down_to_one_key() {
        let mut sizer = ChunkSizer::new(3, 8, Duration::from_millis(500));
        assert!(sizer.too_heavy(3));
        assert_eq!(sizer.size(), 1);
        assert!(!sizer.too_heavy(1));
    }
}
