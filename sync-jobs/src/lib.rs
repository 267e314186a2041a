//! Sync jobs: dialects, capture, copy, drain, verify.
