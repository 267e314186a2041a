//! Who may do what.
//!
//! Owns tokens, roles and the checks against requests forged by web pages. What must stay true: secrets
//! are kept only as digests and compared in constant time; without tokens only this machine gets in, and
//! not through a browser that was led here under another name.

use crate::error::{AdminError, Problem};
use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq;

/// The shortest secret that is accepted, in characters.
const SECRET_MIN: usize = 16;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Viewer,
    /// Also take steps back and freeze.
    OnCall,
    /// Also take steps forward and unfreeze.
    Admin,
}

impl Role {
    /// The words of all roles, in order of power.
    pub const WORDS: [&'static str; 3] = ["viewer", "on-call", "admin"];

    /// `viewer`, `on-call` or `admin`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::OnCall => "on-call",
            Self::Admin => "admin",
        }
    }

    /// The role that a word names, or nothing.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Viewer, Self::OnCall, Self::Admin].into_iter().find(|role| role.as_str() == word)
    }
}

/// A token as it is configured.
#[derive(Clone)]
pub struct AdminToken {
    /// The name that the audit shows.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The secret.
    pub token: String,
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminToken")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) role: Role,
}

impl Caller {
    /// Refuses a caller of a lesser role.
    pub(crate) fn need(&self, role: Role, act: &str) -> Result<(), Problem> {
        if self.role >= role {
            return Ok(());
        }
        let message = format!(
            "`{}` is {}, and only {} may {act}",
            self.name,
            self.role.as_str(),
            role.as_str()
        );
        Err(Problem::forbidden(message, format!("ask somebody with the role {}", role.as_str())))
    }
}

/// The door of the API.
pub(crate) struct Access {
    tokens: Vec<(Caller, [u8; 32])>,
}

impl Access {
    pub(crate) fn new(listen: SocketAddr, tokens: &[AdminToken]) -> Result<Self, AdminError> {
        if tokens.is_empty() && !listen.ip().is_loopback() {
            return Err(AdminError::Unprotected { listen });
        }
        let mut known: Vec<(Caller, [u8; 32])> = Vec::new();
        for token in tokens {
            if token.token.chars().count() < SECRET_MIN {
                return Err(AdminError::WeakToken { name: token.name.clone(), min: SECRET_MIN });
            }
            let digest = digest(&token.token);
            if known.iter().any(|(caller, other)| caller.name == token.name || *other == digest) {
                return Err(AdminError::SameToken { name: token.name.clone() });
            }
            known.push((Caller { name: token.name.clone(), role: token.role }, digest));
        }
        Ok(Self { tokens: known })
    }

    /// Who sends these headers. Without any configured token everybody on this machine is `local`.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        if self.tokens.is_empty() {
            return local(headers);
        }
        let secret = bearer(headers).ok_or_else(Problem::unauthorized)?;
        self.holder(secret).ok_or_else(Problem::unauthorized)
    }

    fn holder(&self, secret: &str) -> Option<Caller> {
        let digest = digest(secret);
        // All of them, so that the time says nothing about which one came close.
        let same = |known: &[u8; 32]| bool::from(known.ct_eq(&digest));
        let mut holder = None;
        for (caller, known) in &self.tokens {
            if same(known) {
                holder = Some(caller.clone());
            }
        }
        holder
    }
}

/// The caller when there are no tokens: anybody on this machine, but no web page that pointed its own name
/// at the loopback address and so reads and posts as same-origin.
fn local(headers: &HeaderMap) -> Result<Caller, Problem> {
    if is_local_name(headers) {
        return Ok(Caller { name: "local".to_owned(), role: Role::Admin });
    }
    Err(Problem::forbidden(
        "without tokens the admin API answers only under a loopback name",
        "use http://127.0.0.1:PORT, or declare admin tokens",
    ))
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// Refuses a change that a browser sends on behalf of another site's page.
pub(crate) fn refuse_foreign_page(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let foreign = || {
        Problem::forbidden(
            "the request comes from another site's page",
            "open the admin API under its own address",
        )
    };
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(foreign());
    }
    let Some(origin) = text("origin") else { return Ok(()) };
    let own = text("host").is_some_and(|host| {
        let origin_host = origin.split_once("://").map(|(_, host)| host);
        origin_host.is_some_and(|origin_host| origin_host.eq_ignore_ascii_case(host))
    });
    if own { Ok(()) } else { Err(foreign()) }
}

/// Whether the `Host` header names this machine by a loopback name; a request without one is no browser's.
fn is_local_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let host = host.to_str().unwrap_or("?");
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, role: Role, secret: &str) -> AdminToken {
        AdminToken { name: name.to_owned(), role, token: secret.to_owned() }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect()
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn without_tokens_only_a_loopback_listener_starts() {
        assert!(Access::new(at("127.0.0.1:0"), &[]).is_ok());
        assert!(Access::new(at("[::1]:0"), &[]).is_ok());
        let error = Access::new(at("0.0.0.0:0"), &[]).err().unwrap();
        assert!(matches!(error, AdminError::Unprotected { .. }));
        let one = [token("ci", Role::Viewer, "0123456789abcdef")];
        assert!(Access::new(at("0.0.0.0:0"), &one).is_ok());
    }

    #[test]
    fn weak_and_double_tokens_are_refused_by_name_and_never_shown() {
        let weak = [token("ci", Role::Viewer, "short")];
        assert!(Access::new(at("127.0.0.1:0"), &weak).err().unwrap().to_string().contains("`ci`"));
        let long = "0123456789abcdef";
        let twice = [token("a", Role::Viewer, long), token("b", Role::Admin, long)];
        assert!(matches!(
            Access::new(at("127.0.0.1:0"), &twice).err().unwrap(),
            AdminError::SameToken { name } if name == "b"
        ));
        assert!(!format!("{:?}", twice[0]).contains(long));
    }

    #[test]
    fn a_token_names_its_holder_and_a_wrong_one_nobody() {
        let tokens = [
            token("ci", Role::Viewer, "0123456789abcdef"),
            token("ann", Role::Admin, "fedcba9876543210"),
        ];
        let access = Access::new(at("127.0.0.1:0"), &tokens).unwrap();
        let caller = |value: &str| access.caller(&headers(&[("authorization", value)]));
        assert_eq!(caller("bearer fedcba9876543210").unwrap().name, "ann");
        for wrong in ["Bearer fedcba987654321", "Bearer ", "Basic fedcba9876543210", "Bearer"] {
            assert!(caller(wrong).is_err(), "{wrong}");
        }
        assert!(access.caller(&HeaderMap::new()).is_err());
    }

    #[test]
    fn without_tokens_a_rebound_name_is_refused() {
        let access = Access::new(at("127.0.0.1:0"), &[]).unwrap();
        for local in ["127.0.0.1:9000", "localhost", "[::1]:9000", "LOCALHOST:1"] {
            assert!(access.caller(&headers(&[("host", local)])).is_ok(), "{local}");
        }
        for foreign in ["evil.example:9000", "10.0.0.1", "localhost.evil.example", ""] {
            assert!(access.caller(&headers(&[("host", foreign)])).is_err(), "{foreign}");
        }
    }

    #[test]
    fn a_page_of_another_site_cannot_change_anything() {
        let check = |pairs: &[(&'static str, &str)]| refuse_foreign_page(&headers(pairs)).is_ok();
        assert!(check(&[("host", "127.0.0.1:9000")]), "curl sends no origin");
        assert!(check(&[("host", "127.0.0.1:9000"), ("origin", "http://127.0.0.1:9000")]));
        assert!(!check(&[("host", "127.0.0.1:9000"), ("origin", "http://127.0.0.1:9001")]));
        assert!(!check(&[("host", "127.0.0.1:9000"), ("origin", "https://evil.example")]));
        assert!(!check(&[("host", "127.0.0.1:9000"), ("origin", "null")]));
        assert!(!check(&[("origin", "http://127.0.0.1:9000")]));
        assert!(!check(&[("host", "127.0.0.1:9000"), ("sec-fetch-site", "cross-site")]));
    }
}
