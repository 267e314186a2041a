//! Who is calling: issues and verifies session cookies and API tokens.
//!
//! Both are `<user id>` plus an HMAC-SHA-256 under one shared secret, so that each application verifies them alone,
//! without a call to the other and without a session table.
//!
//! What must stay true: the two kinds are signed over different texts (a token is never a valid session), and
//! signatures are compared in constant time.

use hmac::{Hmac, Mac, digest::KeyInit};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use subtle::ConstantTimeEq;

/// Name of the cookie that carries a session.
pub const SESSION_COOKIE: &str = "_mothership_session";

/// The secret that both applications use unless told otherwise: good for practice, for nothing else.
pub const DEFAULT_SECRET: &str = "practice-only";

const HMAC_BLOCK_BYTES: usize = 64;

/// Issues and verifies sessions, tokens and raw CSRF tokens under one secret.
#[derive(Clone)]
pub struct Passport {
    key: [u8; HMAC_BLOCK_BYTES],
}

/// Somebody whose session or token was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The user that the credential names.
    pub user_id: i64,
    /// Which kind of credential it was; only session callers need a CSRF token.
    pub by: CallerKind,
}

/// The kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerKind {
    /// A session cookie: a browser.
    Session,
    /// An `Authorization: OAuth` token: an API client.
    Token,
}

impl Passport {
    /// A passport office for `secret`. Applications with the same secret accept each other's credentials.
    pub fn new(secret: &str) -> Self {
        let mut key = [0; HMAC_BLOCK_BYTES];
        // HMAC itself shortens long keys and pads short ones this way; done here it cannot fail.
        let digest = Sha256::digest(secret.as_bytes());
        let bytes: &[u8] =
            if secret.len() > HMAC_BLOCK_BYTES { &digest } else { secret.as_bytes() };
        for (slot, byte) in key.iter_mut().zip(bytes) {
            *slot = *byte;
        }
        Self { key }
    }

    /// The session cookie's value for a user who logged in at `issued_unix_s` (seconds).
    pub fn session(&self, user_id: i64, issued_unix_s: u64) -> String {
        let mac = hex(&self.sign(&format!("session:{user_id}.{issued_unix_s}")));
        format!("{user_id}.{issued_unix_s}.{mac}")
    }

    /// The user's API token: what follows `Authorization: OAuth `.
    pub fn token(&self, user_id: i64) -> String {
        format!("{user_id}-{}", hex(&self.sign(&format!("token:{user_id}"))))
    }

    /// The user of a session cookie's value, or `None` when this office did not issue it.
    pub fn verify_session(&self, session: &str) -> Option<i64> {
        let mut parts = session.splitn(3, '.');
        let user_id = parts.next()?.parse().ok()?;
        let issued_unix_s = parts.next()?.parse().ok()?;
        same(session, &self.session(user_id, issued_unix_s)).then_some(user_id)
    }

    /// The user of an API token, or `None` when this office did not issue it.
    pub fn verify_token(&self, token: &str) -> Option<i64> {
        let user_id = token.rsplit_once('-')?.0.parse().ok()?;
        same(token, &self.token(user_id)).then_some(user_id)
    }

    /// Who calls, from the `Authorization` and the `Cookie` header as received.
    ///
    /// A present `Authorization` header decides alone: a bad token is never excused by a good cookie.
    pub fn caller(
        &self,
        authorization: Option<&str>,
        cookie_header: Option<&str>,
    ) -> Option<Caller> {
        match authorization {
            Some(value) => self
                .verify_token(oauth_token(value)?)
                .map(|user_id| Caller { user_id, by: CallerKind::Token }),
            None => self
                .verify_session(session_cookie(cookie_header?)?)
                .map(|user_id| Caller { user_id, by: CallerKind::Session }),
        }
    }

    /// The raw CSRF token that belongs to a session cookie's value; clients only see it masked.
    pub fn csrf_raw(&self, session: &str) -> [u8; crate::csrf::TOKEN_BYTES] {
        self.sign(&format!("csrf:{session}"))
    }

    /// True when `masked` is a CSRF token of the session in `cookie_header`.
    pub fn csrf_matches(&self, cookie_header: Option<&str>, masked: &str) -> bool {
        cookie_header
            .and_then(session_cookie)
            .is_some_and(|session| crate::csrf::unmask_matches(masked, &self.csrf_raw(session)))
    }

    fn sign(&self, text: &str) -> [u8; 32] {
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&self.key.into());
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Passport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Passport").finish_non_exhaustive()
    }
}

/// The session in a `Cookie` header (`a=1; _mothership_session=..`), not yet verified; the first one counts.
pub fn session_cookie(cookie_header: &str) -> Option<&str> {
    cookie_header
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == SESSION_COOKIE).then_some(value))
}

fn oauth_token(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("oauth").then_some(token.trim())
}

fn same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn office() -> Passport {
        Passport::new(DEFAULT_SECRET)
    }

    #[test]
    fn signature_is_plain_hmac_sha256_of_the_secret() {
        // RFC 4231, test case 2, and test case 6 with a key longer than a block.
        assert_eq!(
            hex(&Passport::new("Jefe").sign("what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let mut reference = <Hmac<Sha256> as Mac>::new_from_slice(&[b'k'; 131]).unwrap();
        reference.update(b"text");
        let expected: [u8; 32] = reference.finalize().into_bytes().into();
        assert_eq!(Passport::new(&"k".repeat(131)).sign("text"), expected);
    }

    #[test]
    fn credentials_of_one_user_are_stable_and_verify() {
        let token = office().token(3);
        assert_eq!(token, office().token(3));
        assert_eq!(office().verify_token(&token), Some(3));
        let session = office().session(3, 1_402_567_200);
        assert_eq!(session, office().session(3, 1_402_567_200));
        assert_eq!(office().verify_session(&session), Some(3));
    }

    #[test]
    fn forged_credentials_are_refused() {
        let session = office().session(3, 7);
        assert_eq!(office().verify_session(&session.replacen('3', "4", 1)), None);
        assert_eq!(office().verify_session(&format!("0{session}")), None);
        assert_eq!(office().verify_session(&Passport::new("other").session(3, 7)), None);
        assert_eq!(office().verify_token(&office().token(3).to_uppercase()), None);
        assert_eq!(office().verify_token("3-"), None);
        for garbage in ["", ".", "..", "-", "3", "3.4", "3.4.5", "é.ü.ß"] {
            assert_eq!(office().verify_session(garbage), None, "{garbage}");
            assert_eq!(office().verify_token(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn authorization_decides_before_the_cookie() {
        let cookie = format!("theme=dark; {SESSION_COOKIE}={}", office().session(3, 7));
        let by_session = Some(Caller { user_id: 3, by: CallerKind::Session });
        assert_eq!(office().caller(None, Some(&cookie)), by_session);
        let oauth = format!("OAuth {}", office().token(4));
        let by_token = Some(Caller { user_id: 4, by: CallerKind::Token });
        assert_eq!(office().caller(Some(&oauth), Some(&cookie)), by_token);
        assert_eq!(office().caller(Some("OAuth 4-bad"), Some(&cookie)), None);
        assert_eq!(office().caller(None, Some("theme=dark")), None);
        assert_eq!(office().caller(None, None), None);
    }

    #[test]
    fn csrf_token_belongs_to_one_session() {
        let session = office().session(3, 7);
        let masked = crate::csrf::mask(&office().csrf_raw(&session), &[9; 32]);
        let cookie = format!("{SESSION_COOKIE}={session}");
        assert!(office().csrf_matches(Some(&cookie), &masked));
        let other = format!("{SESSION_COOKIE}={}", office().session(3, 8));
        assert!(!office().csrf_matches(Some(&other), &masked));
        assert!(!office().csrf_matches(None, &masked));
    }
}
