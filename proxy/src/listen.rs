//! The sockets a proxy listens on.
//!
//! Owns binding them and checking their certificates before anything runs. It exists because pingora panics where it
//! cannot bind or load. What must stay true: after `bind`, the address is ours until the process lets go of the socket.

use crate::config::{Listen, ListenTls};
use crate::error::ProxyError;
use pingora::listeners::TcpSocketOptions;
use pingora::listeners::tls::TlsSettings;
use pingora::server::{Fds, ListenFds};
use pingora::services::listening::Service;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::sync::Arc;

/// A bound socket that nobody reads from yet.
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    socket: TcpListener,
    tls: Option<ListenTls>,
}

impl Bound {
    /// Binds an address and checks its certificate.
    pub(crate) fn new(listen: &Listen) -> Result<Self, ProxyError> {
        if let Some(tls) = &listen.tls {
            check(tls)?;
        }
        let unknown = |source| ProxyError::ListenAddress { address: listen.addr.clone(), source };
        let refused = |source| ProxyError::Listen { address: listen.addr.clone(), source };
        let addresses: Vec<SocketAddr> = listen.addr.to_socket_addrs().map_err(unknown)?.collect();
        let socket = TcpListener::bind(addresses.as_slice()).map_err(refused)?;
        socket.set_nonblocking(true).map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        Ok(Self { address, socket, tls: listen.tls.clone() })
    }
}

/// Gives sockets to a service. The table that comes back must be passed to it at its start: pingora takes a socket
/// that it finds there instead of binding one of its own.
pub(crate) fn attach<A>(
    bound: Vec<Bound>,
    service: &mut Service<A>,
) -> Result<ListenFds, ProxyError> {
    let mut sockets = Fds::new();
    for Bound { address, socket, tls } in bound {
        let key = address.to_string();
        match tls {
            None => service.add_tcp(&key),
            Some(tls) => {
                let mut settings = TlsSettings::intermediate(
                    &tls.cert.to_string_lossy(),
                    &tls.key.to_string_lossy(),
                )
                .map_err(|error| certificate(&tls.cert, &error.to_string()))?;
                settings.enable_h2();
                service.add_tls_with_settings(&key, Some(TcpSocketOptions::default()), settings);
            }
        }
        sockets.add(key, socket.into_raw_fd());
    }
    Ok(Arc::new(sockets.into()))
}

/// Whether certificate and key can be read and belong together.
fn check(tls: &ListenTls) -> Result<(), ProxyError> {
    let wrong = |path: &Path, detail: String| certificate(path, &detail);
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_file_iter(&tls.cert)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(&tls.cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(&tls.cert, "no certificate in the file".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| wrong(&tls.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| wrong(&tls.cert, error.to_string()))?;
    Ok(())
}

fn certificate(path: &Path, detail: &str) -> ProxyError {
    ProxyError::Certificate { path: path.to_owned(), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_an_error_that_names_address_and_remedy() {
        let taken = Bound::new(&Listen::clear("127.0.0.1:0")).unwrap();
        let error = Bound::new(&Listen::clear(&taken.address.to_string())).err().unwrap();
        assert!(error.to_string().contains(&taken.address.to_string()), "{error}");
        assert!(error.hint().contains("ss -ltnp"), "{}", error.hint());
        let error = Bound::new(&Listen::clear("nonsense")).err().unwrap();
        assert!(matches!(error, ProxyError::ListenAddress { .. }));
    }

    #[test]
    fn a_certificate_that_cannot_be_used_is_refused_before_anything_runs() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let tls = |cert, key| Listen {
            addr: "127.0.0.1:0".to_owned(),
            tls: Some(ListenTls { cert, key }),
        };
        let missing = tls(dir.path().join("none.pem"), dir.path().join("none.pem"));
        assert!(matches!(Bound::new(&missing), Err(ProxyError::Certificate { .. })));
        let empty = tls(file("cert.pem", ""), file("key.pem", ""));
        assert!(matches!(Bound::new(&empty), Err(ProxyError::Certificate { .. })));
    }
}
