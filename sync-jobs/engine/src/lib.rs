//! The pure part of sync: plan, aggregate difference, hashes, verify.
