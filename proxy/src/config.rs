//! What an operator can set on the proxy.
//!
//! Owns the settings with their defaults and their meaning; the whole-file configuration of the CLI is read
//! into these. It holds no live state: phases, owners and percentages come from the route table.

use crate::network::Network;
use banyan_domain::ContextName;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Settings of one proxy.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Addresses to listen on; at least one. Default: `127.0.0.1:8080` in clear.
    pub listen: Vec<Listen>,
    /// The monolith.
    pub legacy: Upstream,
    /// The carved service of each context. A context without one behaves as if its service were down.
    pub new: BTreeMap<ContextName, Upstream>,
    /// Threads that serve requests. Default: one per core.
    pub threads: usize,
    /// Limits of the copies kept for comparison.
    pub tee: TeeConfig,
    /// Who may force a side.
    pub force: ForceConfig,
    /// Read-your-writes.
    pub read_your_writes: ReadYourWritesConfig,
    /// Limits on clients.
    pub limit: LimitConfig,
    /// How writes are held while their context is cut over.
    pub hold: HoldConfig,
    /// Whether answers say in `x-banyan-side` which side gave them. Default: no.
    pub expose_side: bool,
    /// Access log, by `tracing` under the target `access`. Default: off.
    pub access_log: AccessLog,
    /// Statuses of the new side that count as "cannot answer" for a read with fallback. Default: 502, 503, 504.
    pub fallback_statuses: Vec<u16>,
    /// Peers whose `X-Forwarded-For` is believed when the client's address is needed. Default: nobody.
    pub trusted_proxies: Vec<Network>,
    /// How long, after readiness turned to 503, connections are still accepted at a shutdown, in ms, so that a load
    /// balancer can notice. Default: 0.
    pub drain_delay_ms: u64,
    /// How long requests on their way may take at a shutdown, in ms; those that take longer are cut. Default: 30,000.
    pub grace_ms: u64,
}

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// `host:port`; port 0 takes a free one.
    pub addr: String,
    /// TLS with HTTP/2 through ALPN; in clear without.
    pub tls: Option<ListenTls>,
}

/// Certificate and key of a listener, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenTls {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A server that requests are forwarded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// `host:port`. A name is resolved in the background, never on the path of a request.
    pub address: String,
    /// Whether it is spoken to by TLS. Default: no.
    pub tls: bool,
    /// Name for SNI and for checking the certificate; empty means the host of `address`.
    pub sni: String,
    /// What it gets as `Host`. Default: what the client sent.
    pub host: HostPolicy,
    /// Time to connect, in ms, TLS included. Default: 1,000.
    pub connect_timeout_ms: u64,
    /// Longest silence while an answer is awaited or read, in ms. Of a new side it is the limit of the reads that legacy
    /// answers instead; writes, and reads that cannot fall back, get the time that legacy gets. Default: 60,000.
    pub read_timeout_ms: u64,
    /// Longest time for one write of request bytes, in ms. Default: 30,000.
    pub write_timeout_ms: u64,
    /// Time that an unused connection is kept, in ms. It must be below the upstream's own keep-alive time: a write
    /// that meets a connection being closed is answered with 502, never sent again. Default: 4,000.
    pub idle_timeout_ms: u64,
    /// Longest silence of a tunnel (WebSocket), in ms. Default: 3,600,000.
    pub tunnel_idle_ms: u64,
    /// How often a name is resolved again, in ms. Default: 5,000.
    pub resolve_every_ms: u64,
}

/// What an upstream gets as `Host`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HostPolicy {
    /// What the client sent.
    #[default]
    Preserve,
    /// The upstream's own `host:port`.
    Upstream,
    /// This text.
    Fixed(String),
}

/// Limits of the copies of answers that are kept until they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TeeConfig {
    /// Largest body that is copied; larger ones are not compared and counted. Default: 256 KiB.
    pub answer_bytes_max: usize,
    /// All copies together, waiting ones included; above it answers are not compared and counted. Default: 64 MiB.
    pub total_bytes_max: usize,
}

/// Who may force a side with the header `x-banyan-side` or the cookie `banyan_side`.
#[derive(Debug, Clone, Default)]
pub struct ForceConfig {
    /// Clients from these networks may say plainly `legacy` or `new`. Default: nobody.
    pub networks: Vec<Network>,
    /// Key of signed values (see [`crate::sign_side`]) that are valid from anywhere. Default: none are.
    pub secret: Option<String>,
}

/// How a caller's own writes stay visible to it while the sync lags.
#[derive(Debug, Clone)]
pub struct ReadYourWritesConfig {
    /// Key of the cookie `banyan_ryw`; the same on every proxy of a fleet. Default: random for this process.
    pub secret: Option<String>,
    /// How far the clocks of the proxy and of the owner's database may differ, in ms. Default: 250.
    pub clock_skew_ms: u64,
    /// Callers remembered at the same time; above it whole groups of callers are pinned. Default: 100,000.
    pub entries_max: usize,
}

/// How writes are held while their context is cut over. A write that cannot be held or is held for too long gets 503
/// with `Retry-After`; no side has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldConfig {
    /// Writes that may be held at a time, per context. Default: 1,000.
    pub requests_max: usize,
    /// Longest time that one write is held, in ms. Default: 5,000.
    pub wait_max_ms: u64,
    /// How long the proxy may be cut off from the control store before it stops the writes of a context whose cutover is
    /// armed, in ms. It must be below the time after which the store takes an instance for dead (3 s). Default: 2,000.
    pub lease_ms: u64,
}

/// Limits on clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitConfig {
    /// Bytes of all request headers together; above it 431. Default: 64 KiB.
    pub header_bytes_max: usize,
    /// Time that an unused client connection is kept, in s. Default: 60.
    pub keepalive_s: u64,
    /// Requests on one client connection, after which it is closed. Default: none.
    pub keepalive_requests: Option<u32>,
    /// Longest silence of a client that sends a body, in ms. Default: 60,000.
    pub client_read_timeout_ms: u64,
    /// Longest time for one write to a client, in ms. Default: 60,000.
    pub client_write_timeout_ms: u64,
    /// Unused connections kept per upstream and thread. Default: 128.
    pub upstream_pool: usize,
    /// Whether HTTP/2 with prior knowledge is spoken on listeners in clear. Default: yes.
    pub h2c: bool,
}

/// Whether requests are logged one by one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// No line.
    #[default]
    Off,
    /// One line per request.
    All,
    /// One line for this many of 100 requests.
    Sampled(u8),
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            listen: vec![Listen { addr: "127.0.0.1:8080".to_owned(), tls: None }],
            legacy: Upstream::new("127.0.0.1:3000"),
            new: BTreeMap::new(),
            threads: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            tee: TeeConfig::default(),
            force: ForceConfig::default(),
            read_your_writes: ReadYourWritesConfig::default(),
            limit: LimitConfig::default(),
            hold: HoldConfig::default(),
            expose_side: false,
            access_log: AccessLog::Off,
            fallback_statuses: vec![502, 503, 504],
            trusted_proxies: Vec::new(),
            drain_delay_ms: 0,
            grace_ms: 30_000,
        }
    }
}

impl Listen {
    /// A listener in clear.
    pub fn clear(addr: &str) -> Self {
        Self { addr: addr.to_owned(), tls: None }
    }
}

impl Upstream {
    /// An upstream in clear with the default times.
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            tls: false,
            sni: String::new(),
            host: HostPolicy::Preserve,
            connect_timeout_ms: 1_000,
            read_timeout_ms: 60_000,
            write_timeout_ms: 30_000,
            idle_timeout_ms: 4_000,
            tunnel_idle_ms: 3_600_000,
            resolve_every_ms: 5_000,
        }
    }
}

impl Default for TeeConfig {
    fn default() -> Self {
        Self { answer_bytes_max: 256 << 10, total_bytes_max: 64 << 20 }
    }
}

impl Default for HoldConfig {
    fn default() -> Self {
        Self { requests_max: 1_000, wait_max_ms: 5_000, lease_ms: 2_000 }
    }
}

impl Default for ReadYourWritesConfig {
    fn default() -> Self {
        Self { secret: None, clock_skew_ms: 250, entries_max: 100_000 }
    }
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            header_bytes_max: 64 << 10,
            keepalive_s: 60,
            keepalive_requests: None,
            client_read_timeout_ms: 60_000,
            client_write_timeout_ms: 60_000,
            upstream_pool: 128,
            h2c: true,
        }
    }
}
