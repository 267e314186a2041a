//! The life of a request, seen from outside: real sockets, small upstreams, one world per test.

#![cfg(test)]

mod agent;
mod fallback;
mod fence;
mod forward;
mod header;
mod hold;
mod log;
mod ryw;
mod shutdown;
mod support;
mod target;
mod tee;
mod tunnel;
mod write;
