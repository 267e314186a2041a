//! Mirror queue, recheck, tally and gate.
