//! Where the sides are.
//!
//! Owns the addresses of the sides and how connections to them are kept. What must stay true: no request waits for a
//! name to be resolved; every time-out is set; connections of different sides are never mixed up in a pool.

use crate::config::{HostPolicy, ProxyConfig, Upstream};
use crate::error::ProxyError;
use crate::tunnel::TunnelConnect;
use arc_swap::ArcSwap;
use banyan_domain::{ContextName, Side};
use http::HeaderValue;
use pingora::upstreams::peer::HttpPeer;
use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// All upstreams of a proxy.
pub(crate) struct Upstreams {
    legacy: Arc<Target>,
    new: HashMap<ContextName, Arc<Target>>,
}

/// One upstream with its resolved addresses.
pub(crate) struct Target {
    config: Upstream,
    /// Longest silence before an answer that nobody else can give.
    patient: Duration,
    /// `legacy`, or the context's name.
    name: String,
    host: String,
    port: u16,
    group_key: u64,
    peers: ArcSwap<Vec<HttpPeer>>,
    /// Index of the address in use; it moves on when a connection is refused.
    preferred: AtomicUsize,
    tunnels: AtomicUsize,
    /// What the upstream gets as `Host`, unless it gets the client's.
    pub(crate) host_header: Option<HeaderValue>,
}

/// How long an answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as the side's own limit says: legacy can answer instead.
    Short,
    /// As long as legacy's: nobody else can answer, and a write that is cut off may have happened all the same.
    Long,
}

impl Upstreams {
    /// Takes the addresses of the configuration and resolves them once. A name that is unknown for now is no error:
    /// it is tried again in the background.
    pub(crate) fn new(config: &ProxyConfig) -> Result<Self, ProxyError> {
        let patient = millis(config.legacy.read_timeout_ms);
        let legacy = Target::new("legacy", &config.legacy, patient, 1)?;
        let mut new = HashMap::with_capacity(config.new.len());
        for (group_key, (context, upstream)) in (2..).zip(&config.new) {
            let target = Target::new(context.as_str(), upstream, patient, group_key)?;
            new.insert(context.clone(), target);
        }
        Ok(Self { legacy, new })
    }

    /// The upstream of a side for a context; nothing when a context has no new side configured.
    pub(crate) fn of(&self, side: Side, context: Option<&ContextName>) -> Option<&Arc<Target>> {
        match side {
            Side::Legacy => Some(&self.legacy),
            Side::New => self.new.get(context?),
        }
    }

    /// Those that have a name to be resolved again and again.
    pub(crate) fn named(&self) -> Vec<Arc<Target>> {
        let all = std::iter::once(&self.legacy).chain(self.new.values());
        all.filter(|target| target.host.parse::<std::net::IpAddr>().is_err()).cloned().collect()
    }
}

impl Target {
    fn new(
        name: &str,
        config: &Upstream,
        patient: Duration,
        group_key: u64,
    ) -> Result<Arc<Self>, ProxyError> {
        let wrong = || ProxyError::UpstreamAddress {
            name: name.to_owned(),
            address: config.address.clone(),
        };
        let (host, port) = config.address.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            return Err(wrong());
        }
        let host_header = match &config.host {
            HostPolicy::Preserve => None,
            HostPolicy::Upstream => Some(config.address.as_str()),
            HostPolicy::Fixed(text) => Some(text.as_str()),
        };
        let host_header =
            host_header.map(HeaderValue::from_str).transpose().map_err(|_| wrong())?;
        let target = Self {
            config: config.clone(),
            patient,
            name: name.to_owned(),
            host: host.to_owned(),
            port,
            group_key,
            peers: ArcSwap::default(),
            preferred: AtomicUsize::new(0),
            tunnels: AtomicUsize::new(0),
            host_header,
        };
        match (host, port).to_socket_addrs() {
            Ok(addresses) => target.set(addresses.collect()),
            Err(error) => target.unresolved(&error),
        }
        Ok(Arc::new(target))
    }

    /// A peer to connect to; nothing while the name is not resolved. Of several addresses the one that accepted
    /// connections last is used: `localhost` often stands for two, of which one answers.
    pub(crate) fn peer(&self, patience: Patience) -> Option<Box<HttpPeer>> {
        let peers = self.peers.load();
        let peer = peers.get(self.preferred.load(Ordering::Relaxed)).or(peers.first());
        let mut peer = Box::new(peer?.clone());
        if patience == Patience::Long {
            peer.options.read_timeout = Some(self.patient);
        }
        Some(peer)
    }

    /// Turns away from the address of a peer that refused a connection. Says whether there is another one.
    pub(crate) fn avoid(&self, refused: &HttpPeer) -> bool {
        let peers = self.peers.load();
        let at = peers.iter().position(|peer| peer._address == refused._address);
        if let Some(at) = at {
            let next = (at + 1) % peers.len().max(1);
            // Whoever came first has moved it already.
            let order = Ordering::Relaxed;
            self.preferred.compare_exchange(at, next, order, order).unwrap_or_default();
        }
        peers.len() > 1
    }

    /// A peer for a tunnel: a connection of its own that is never kept for others.
    pub(crate) fn tunnel_peer(&self) -> Option<Box<HttpPeer>> {
        let mut peer = self.peer(Patience::Long)?;
        let timeout = millis(self.config.connect_timeout_ms);
        peer.options.custom_l4 = Some(Arc::new(TunnelConnect { timeout }));
        peer.options.read_timeout = Some(self.tunnel_idle());
        peer.options.idle_timeout = Some(Duration::from_millis(1));
        // The upper half is the tunnel's number, so that no two tunnels share a pool.
        let number = self.tunnels.fetch_add(1, Ordering::Relaxed) as u64;
        peer.group_key |= number.wrapping_add(1) << 32;
        Some(peer)
    }

    /// Longest silence of a tunnel.
    pub(crate) fn tunnel_idle(&self) -> Duration {
        Duration::from_millis(self.config.tunnel_idle_ms)
    }

    /// Resolves the name again and again, until the runtime ends. An answer that fails keeps the old addresses.
    pub(crate) async fn keep_resolved(self: Arc<Self>) {
        let mut every =
            tokio::time::interval(Duration::from_millis(self.config.resolve_every_ms.max(100)));
        loop {
            every.tick().await;
            match tokio::net::lookup_host((self.host.as_str(), self.port)).await {
                Ok(addresses) => self.set(addresses.collect()),
                Err(error) => self.unresolved(&error),
            }
        }
    }

    fn unresolved(&self, error: &std::io::Error) {
        tracing::warn!(upstream = %self.name, host = %self.host, %error, "upstream name not resolved");
    }

    fn set(&self, mut addresses: Vec<SocketAddr>) {
        // An order that does not depend on the resolver's mood, so that an unchanged answer changes nothing.
        addresses.sort_unstable();
        addresses.dedup();
        let known = self.peers.load();
        let same = known.len() == addresses.len()
            && known.iter().zip(&addresses).all(|(p, a)| p._address.as_inet() == Some(a));
        if !same && !addresses.is_empty() {
            self.preferred.store(0, Ordering::Relaxed);
            self.peers.store(Arc::new(addresses.into_iter().map(|a| self.peer_at(a)).collect()));
        }
    }

    fn peer_at(&self, address: SocketAddr) -> HttpPeer {
        let Upstream { tls, sni, .. } = &self.config;
        let sni = match (tls, sni.is_empty()) {
            (false, _) => String::new(),
            (true, true) => self.host.clone(),
            (true, false) => sni.clone(),
        };
        let ms = |ms: u64| Some(millis(ms));
        let mut peer = HttpPeer::new(address, *tls, sni);
        peer.group_key = self.group_key;
        peer.options.connection_timeout = ms(self.config.connect_timeout_ms);
        peer.options.total_connection_timeout = ms(self.config.connect_timeout_ms);
        peer.options.read_timeout = ms(self.config.read_timeout_ms);
        peer.options.write_timeout = ms(self.config.write_timeout_ms);
        peer.options.idle_timeout = ms(self.config.idle_timeout_ms);
        peer
    }
}

/// A limit; never none at all, which some readings of zero would be.
fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstreams(legacy: &str) -> Result<Upstreams, ProxyError> {
        let mut config = ProxyConfig { legacy: Upstream::new(legacy), ..ProxyConfig::default() };
        config.new.insert(ContextName::new("a").unwrap(), Upstream::new("127.0.0.1:1"));
        config.new.insert(ContextName::new("b").unwrap(), Upstream::new("127.0.0.1:1"));
        Upstreams::new(&config)
    }

    #[test]
    fn sides_at_one_address_do_not_share_a_pool_and_have_all_time_outs() {
        let upstreams = upstreams("127.0.0.1:1").unwrap();
        let name = |name| ContextName::new(name).unwrap();
        let (a, b) = (name("a"), name("b"));
        let peers = [(Side::Legacy, &a), (Side::New, &a), (Side::New, &b)]
            .map(|(side, context)| upstreams.of(side, Some(context)).unwrap())
            .map(|target| target.peer(Patience::Short).unwrap());
        let mut groups = peers.each_ref().map(|peer| peer.group_key);
        groups.sort_unstable();
        assert!(groups.windows(2).all(|pair| pair[0] != pair[1]), "{groups:?}");
        for peer in peers {
            let options = peer.options;
            assert!(options.connection_timeout.is_some() && options.read_timeout.is_some());
            assert!(options.write_timeout.is_some() && options.idle_timeout.is_some());
        }
        assert!(upstreams.of(Side::New, Some(&name("c"))).is_none());
        assert!(upstreams.of(Side::New, None).is_none());
        assert!(upstreams.named().is_empty());
    }

    #[test]
    fn malformed_addresses_are_refused_and_unknown_names_are_not() {
        for bad in ["localhost", "localhost:http", ":80", "http://a:80", "a b:80"] {
            assert!(matches!(upstreams(bad), Err(ProxyError::UpstreamAddress { .. })), "{bad}");
        }
        let unknown = upstreams("no-such-host.invalid:80").unwrap();
        assert!(unknown.of(Side::Legacy, None).unwrap().peer(Patience::Short).is_none());
        assert_eq!(unknown.named().len(), 1);
    }

    #[test]
    fn a_refused_address_is_left_for_the_next_and_taken_up_again_in_turn() {
        let upstreams = upstreams("127.0.0.1:1").unwrap();
        let target = upstreams.of(Side::Legacy, None).unwrap();
        let peer = || target.peer(Patience::Short).unwrap();
        assert!(!target.avoid(&peer()));
        target.set(["[::1]:1", "127.0.0.1:1"].map(|a| a.parse().unwrap()).into());
        let first = peer();
        assert!(target.avoid(&first) && target.avoid(&first));
        let second = peer();
        assert_ne!(first._address, second._address);
        assert_eq!(peer()._address, second._address);
        assert!(target.avoid(&second));
        assert_eq!(peer()._address, first._address);
    }

    #[test]
    fn only_what_legacy_can_answer_instead_gets_the_short_time_of_the_new_side() {
        let mut config = ProxyConfig::default();
        let context = ContextName::new("messages").unwrap();
        config.legacy.read_timeout_ms = 60_000;
        let new = Upstream { read_timeout_ms: 2_000, ..Upstream::new("127.0.0.1:1") };
        config.new.insert(context.clone(), new);
        let upstreams = Upstreams::new(&config).unwrap();
        let silence_ms = |side, patience| {
            let peer = upstreams.of(side, Some(&context)).unwrap().peer(patience).unwrap();
            peer.options.read_timeout.unwrap().as_millis()
        };
        assert_eq!(silence_ms(Side::New, Patience::Short), 2_000);
        assert_eq!(silence_ms(Side::New, Patience::Long), 60_000);
        assert_eq!(silence_ms(Side::Legacy, Patience::Short), 60_000);
        assert_eq!(silence_ms(Side::Legacy, Patience::Long), 60_000);
    }
}
