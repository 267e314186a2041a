//! The data plane: decide, forward, tee, hand over.
//!
//! Owns what happens to a request between the client and the two sides. It exists so that phases, owners and
//! canaries are enforced in one place that the application does not know. What must stay true: a request is
//! decided once, from one snapshot of the table; a write reaches exactly one side at most once; nothing that
//! shadow, metrics or the control store do can make a client wait.
//!
//! The life of a request is in `README.md`; the steps are the functions of `life.rs`, in order.

mod access;
mod admit;
mod answer;
mod call;
mod config;
mod cookie;
mod draw;
mod error;
mod failure;
mod fence;
mod finish;
mod force;
mod gate;
mod handoff;
mod hold;
mod intake;
mod life;
mod listen;
mod metric;
mod network;
mod pin;
mod plane;
mod progress;
mod retry;
mod ryw;
mod server;
mod sign;
mod tee;
mod tunnel;
mod upstream;

pub use config::{
    AccessLog, ForceConfig, HoldConfig, HostPolicy, LimitConfig, Listen, ListenTls, ProxyConfig,
    ReadYourWritesConfig, TeeConfig, Upstream,
};
pub use error::ProxyError;
pub use force::sign_side;
pub use gate::Writes;
pub use handoff::Handoff;
pub use network::Network;
pub use server::{Drained, Live, Proxy, Readiness, Silence};
