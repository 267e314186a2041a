//! Noise: what legacy shows against itself, and whether new shows more than that.
//!
//! Owns the reading of evidence (pairs and triples of answers to one request), the test of each place and the list of
//! what is never noise. It exists apart from the shadow shell because a statistic that hides differences must be tested
//! over thousands of worlds, which only a pure crate allows. What must stay true: pure and total; a test is per request
//! pair, never from totals; nothing structural and nothing protected is ever called noise.

mod class;
mod decision;
mod evidence;
mod place;
mod refusal;
pub mod stat;

pub use class::same_band;
pub use decision::{ALPHA, Decision, Judged, STEADY_PAIRS, decide};
pub use evidence::{Counts, PairEvidence, Sign, Triple, pair, triple};
pub use place::{Key, Places};
pub use refusal::Refusal;
