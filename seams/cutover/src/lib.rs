//! The cutover protocol as a pure state machine over ports.
