//! Seeded, checking load for the practice world.
