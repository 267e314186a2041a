//! The life of a request, seen from outside: real sockets, small upstreams, one world per test.

#![cfg(test)]

mod fallback;
mod forward;
mod header;
mod ryw;
mod shutdown;
mod support;
mod target;
mod tee;
mod tunnel;
mod write;
