//! Why a proxy cannot start.
//!
//! Owns the typed errors of `bind` and `run`, each with a remedy. Errors of single requests are not here: they
//! become answers (see `answer.rs`) and counters.

use std::io;
use std::path::PathBuf;

/// Why a proxy cannot start. The display is a fragment that fits "cannot start the proxy: ...".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The configuration names no address to listen on.
    #[error("no address to listen on is configured")]
    NoListener,
    /// The address is no `host:port`, or its name is unknown.
    #[error("`{address}` is no address to listen on")]
    ListenAddress {
        /// As configured.
        address: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The system refuses the address: in use, no permission, not of this machine.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// As configured.
        address: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Certificate or key of a listener cannot be used.
    #[error("cannot use the certificate or key `{}`: {detail}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The address of an upstream is no `host:port`.
    #[error("upstream `{name}`: `{address}` is not of the form `host:port`")]
    UpstreamAddress {
        /// `legacy`, or the context whose new side it is.
        name: String,
        /// As configured.
        address: String,
    },
    /// The system refuses threads.
    #[error("cannot start the threads of the proxy")]
    Runtime(#[source] io::Error),
    /// The listening service ended by itself: our bug, the log says more.
    #[error("the listening service broke off")]
    Broken,
}

impl ProxyError {
    /// The stable code, the key of `banyan explain`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoListener => "banyan::proxy::no_listener",
            Self::ListenAddress { .. } => "banyan::proxy::listen_address",
            Self::Listen { .. } => "banyan::proxy::listen",
            Self::Certificate { .. } => "banyan::proxy::certificate",
            Self::UpstreamAddress { .. } => "banyan::proxy::upstream_address",
            Self::Runtime(_) => "banyan::proxy::runtime",
            Self::Broken => "banyan::proxy::broken",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoListener => "add `listen = [\"127.0.0.1:8080\"]` under `[proxy]`".to_owned(),
            Self::ListenAddress { .. } => {
                "write `listen` under `[proxy]` as `host:port`, e.g. `127.0.0.1:8080`".to_owned()
            }
            Self::Listen { address, source } => listen_hint(address, source.kind()),
            Self::Certificate { .. } => {
                "`cert` and `key` must be PEM files that belong together and that this user can read"
                    .to_owned()
            }
            Self::UpstreamAddress { .. } => {
                "write the upstream as `host:port`, e.g. `10.0.0.5:3000`".to_owned()
            }
            Self::Runtime(_) => {
                "lower `threads` under `[proxy]`, or raise the limit of processes (ulimit -u)"
                    .to_owned()
            }
            Self::Broken => "run again with -v and report what it prints".to_owned(),
        }
    }
}

fn listen_hint(address: &str, kind: io::ErrorKind) -> String {
    let port = address.rsplit(':').next().unwrap_or_default();
    if kind == io::ErrorKind::AddrInUse {
        format!(
            "another process listens there: find it with `ss -ltnp 'sport = :{port}'`, or change `listen` under `[proxy]`"
        )
    } else if kind == io::ErrorKind::PermissionDenied {
        format!(
            "port {port} needs a privilege (CAP_NET_BIND_SERVICE): take a port above 1023, or grant it"
        )
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "this machine does not have that address: `ip addr` lists those it has".to_owned()
    } else {
        "change `listen` under `[proxy]`".to_owned()
    }
}
