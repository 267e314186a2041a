//! From the configuration to the proxy's settings.

use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use banyan_proxy::{
    AccessLog, ForceConfig, HoldConfig, Listen, ListenTls, Network, ProxyConfig, ProxyError,
    ReadYourWritesConfig, TeeConfig, Upstream,
};
use std::path::PathBuf;

/// The proxy's settings.
///
/// # Errors
/// Exit 3 for a network that is none.
pub(crate) fn settings(config: &Config) -> Result<ProxyConfig, Failure> {
    let section = &config.proxy;
    let default = ProxyConfig::default();
    let networks =
        section.force_networks.iter().map(|text| network(text)).collect::<Result<_, _>>()?;
    let new = config.contexts.iter().map(|(name, places)| {
        let upstream = Upstream {
            connect_timeout_ms: section.connect_timeout_ms,
            read_timeout_ms: section.new_read_timeout_ms,
            ..upstream(&places.new)
        };
        (name.clone(), upstream)
    });
    let tls = section.tls.as_ref().map(|tls| ListenTls {
        cert: PathBuf::from(&tls.certificate),
        key: PathBuf::from(&tls.key),
    });
    Ok(ProxyConfig {
        listen: vec![Listen { addr: section.listen.to_string(), tls }],
        legacy: Upstream {
            connect_timeout_ms: section.connect_timeout_ms,
            read_timeout_ms: section.read_timeout_ms,
            ..upstream(&section.legacy)
        },
        new: new.collect(),
        threads: section.threads,
        tee: TeeConfig { answer_bytes_max: section.tee_max_bytes, ..default.tee },
        force: ForceConfig { networks, secret: section.secret.clone() },
        read_your_writes: ReadYourWritesConfig {
            secret: section.secret.clone(),
            ..default.read_your_writes
        },
        expose_side: section.expose_side,
        access_log: if section.access_log { AccessLog::All } else { AccessLog::Off },
        grace_ms: section.grace_ms,
        hold: HoldConfig {
            requests_max: section.hold_requests_max,
            wait_max_ms: section.hold_max_ms,
            ..default.hold
        },
        ..default
    })
}

/// `http://host:port` as an upstream; the port may be left out.
fn upstream(base_url: &str) -> Upstream {
    let (tls, rest) = match base_url.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some((_, rest)) => (false, rest),
        None => (false, base_url),
    };
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if tls { 443 } else { 80 };
    let address = if has_port { rest.to_owned() } else { format!("{rest}:{port}") };
    Upstream { tls, ..Upstream::new(&address) }
}

fn network(text: &str) -> Result<Network, Failure> {
    text.parse().map_err(|why| {
        Failure::new(
            "banyan::config::invalid",
            Exit::Config,
            format!("`proxy.force-networks`: {why}"),
        )
        .hint("write networks as \"10.0.0.0/8\" or single addresses as \"127.0.0.1/32\"")
    })
}

/// A proxy error as a failure.
pub(crate) fn failure(error: &ProxyError) -> Failure {
    Failure::of(error.code(), Exit::Unreachable, "cannot run the proxy", error).hint(error.hint())
}

#[cfg(test)]
mod tests {
    use super::upstream;

    #[test]
    fn a_base_url_becomes_an_address_with_a_port() {
        assert_eq!(upstream("http://127.0.0.1:3000").address, "127.0.0.1:3000");
        assert_eq!(upstream("http://monolith").address, "monolith:80");
        let secure = upstream("https://api.example");
        assert_eq!((secure.address.as_str(), secure.tls), ("api.example:443", true));
        assert_eq!(upstream("http://[::1]:80").address, "[::1]:80");
    }
}
