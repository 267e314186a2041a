//! Differences of two answers: canonical values, located differences, verdicts.
