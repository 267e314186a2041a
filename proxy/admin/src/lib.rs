//! The admin API on its own loopback listener.
