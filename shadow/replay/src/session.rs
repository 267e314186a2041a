//! Who asked: the key that keeps exchanges in order and samples whole sessions.
//!
//! What must stay true: the key of an exchange depends on nothing but the exchange, so that a resumed replay takes the
//! same share in the same order; only a hash of a credential is kept.

use crate::Recorded;
use banyan_domain::{Percent, bucket::bucket, sticky};
use std::str::FromStr;

/// Where the session key of an exchange comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SessionKey {
    /// What the recording says, else cookies and authorization, else the address.
    #[default]
    Auto,
    /// A cookie.
    Cookie(String),
    /// A header, by lower-case name.
    Header(String),
    /// The client's address, from the recording or `x-forwarded-for`.
    Address,
}

/// A session, as a hash of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(u64);

impl FromStr for SessionKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "address" => Ok(Self::Address),
            Some(("cookie", name)) if !name.is_empty() => Ok(Self::Cookie(name.to_owned())),
            Some(("header", name)) if !name.is_empty() => {
                Ok(Self::Header(name.to_ascii_lowercase()))
            }
            None | Some(_) => Err(format!(
                "must be `auto`, `cookie:NAME`, `header:NAME` or `address`, found `{text}`"
            )),
        }
    }
}

impl SessionKey {
    /// The session of an exchange; nothing when it names none, then it has no order to keep.
    pub fn of(&self, recorded: &Recorded) -> Option<Session> {
        match self {
            Self::Auto => {
                session(recorded).or_else(|| credentials(recorded)).or_else(|| address(recorded))
            }
            Self::Cookie(name) => {
                let header = std::str::from_utf8(recorded.header("cookie")?).ok()?;
                Some(Session::of(&[b"cookie", sticky::cookie(header, name)?.as_bytes()]))
            }
            Self::Header(name) => Some(Session::of(&[b"header", recorded.header(name)?])),
            Self::Address => address(recorded).or_else(|| session(recorded)),
        }
    }
}

fn session(recorded: &Recorded) -> Option<Session> {
    recorded.session.as_ref().map(|session| Session::of(&[b"session", session.as_bytes()]))
}

fn credentials(recorded: &Recorded) -> Option<Session> {
    let parts = [recorded.header("cookie"), recorded.header("authorization")];
    parts
        .iter()
        .any(Option::is_some)
        .then(|| Session::of(&[b"credentials", parts[0].unwrap_or(b""), parts[1].unwrap_or(b"")]))
}

fn address(recorded: &Recorded) -> Option<Session> {
    let value = recorded.header("x-forwarded-for").or_else(|| recorded.header("x-real-ip"))?;
    let first = value.split(|byte| *byte == b',').next().unwrap_or_default();
    Some(Session::of(&[b"address", first.trim_ascii()]))
}

impl Session {
    fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        Self(u64::from_le_bytes(first))
    }

    /// Whether an exchange is in the share: whole sessions are, and exchanges without one each for itself.
    pub fn is_taken(session: Option<Self>, number: u64, percent: Percent) -> bool {
        let key = match session {
            Some(session) => format!("{:016x}", session.0),
            None => number.to_string(),
        };
        bucket("shadow replay", &key).is_below(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(headers: &[(&str, &str)]) -> Recorded {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec()));
        Recorded { headers: headers.collect(), ..Recorded::default() }
    }

    #[test]
    fn the_key_is_what_was_asked_for() {
        let key =
            |text: &str, recorded: &Recorded| text.parse::<SessionKey>().unwrap().of(recorded);
        let ada = with(&[("cookie", "a=1; sid=x"), ("x-forwarded-for", "10.0.0.1, 10.0.0.2")]);
        let bob = with(&[("cookie", "a=2; sid=x"), ("x-forwarded-for", "10.0.0.1")]);
        assert_eq!(key("cookie:sid", &ada), key("cookie:sid", &bob));
        assert_ne!(key("cookie:a", &ada), key("cookie:a", &bob));
        assert_ne!(key("auto", &ada), key("auto", &bob));
        assert_eq!(key("address", &ada), key("address", &bob));
        assert_eq!(key("header:X-Missing", &ada), None);
        let recorded = Recorded { session: Some("s".into()), ..ada.clone() };
        assert_ne!(key("auto", &recorded), key("auto", &ada));
        assert!(
            "body:x".parse::<SessionKey>().is_err() && "cookie:".parse::<SessionKey>().is_err()
        );
    }

    #[test]
    fn a_share_takes_whole_sessions_and_about_as_many_as_it_says() {
        let percent = Percent::new(20).unwrap();
        let sessions: Vec<Session> =
            (0..10_000_u64).map(|at| Session::of(&[&at.to_le_bytes()])).collect();
        let taken = sessions.iter().filter(|s| Session::is_taken(Some(**s), 0, percent)).count();
        assert!((1_800..2_200).contains(&taken), "{taken}");
        for session in &sessions[..100] {
            let first = Session::is_taken(Some(*session), 1, percent);
            assert_eq!(first, Session::is_taken(Some(*session), 2, percent));
        }
    }
}
