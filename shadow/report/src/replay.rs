//! The command that repeats an example.
//!
//! Owns its form: `banyan shadow diff 'LEGACY_URL/path' 'NEW_URL/path'`. It exists so that a reader of a report can look at
//! the difference with their own eyes. What must stay true: a printed command can be run as it stands. A request that was
//! stored redacted cannot be repeated, and the report says so instead.

use serde::{Deserialize, Serialize};

/// What redaction leaves instead of a value.
const TOKEN: &str = "tok:";

/// Where both sides can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrls {
    /// Of legacy, e.g. `http://127.0.0.1:3000`.
    pub legacy: String,
    /// Of new.
    pub new: String,
}

/// The credentials with which an example was asked; their values are never stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// None.
    #[default]
    None,
    /// `Cookie`.
    Cookie,
    /// `Authorization`.
    Token,
    /// Both.
    CookieAndToken,
}

impl Credentials {
    /// From the word of a sample; an unknown one asks for both.
    pub fn from_word(word: &str) -> Self {
        match word {
            "none" => Self::None,
            "cookie" => Self::Cookie,
            "token" => Self::Token,
            _ => Self::CookieAndToken,
        }
    }

    /// Read from the shell's environment, so that no secret gets into its history.
    fn options(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Cookie => " -H \"Cookie: $COOKIE\"",
            Self::Token => " -H \"Authorization: $AUTHORIZATION\"",
            Self::CookieAndToken => " -H \"Cookie: $COOKIE\" -H \"Authorization: $AUTHORIZATION\"",
        }
    }
}

/// The command for a request line such as `GET /messages/91`, or why there is none.
pub(crate) fn command(
    request: &str,
    credentials: Credentials,
    urls: &BaseUrls,
) -> Result<String, &'static str> {
    let (method, target) = request.split_once(' ').ok_or("the request line is not known")?;
    if method != "GET" {
        return Err("only GET requests can be repeated");
    }
    if target.contains(TOKEN) || !target.starts_with('/') {
        return Err("it held values that are not stored, so it cannot be repeated");
    }
    let at = |base: &str| quoted(&format!("{}{target}", base.trim_end_matches('/')));
    let options = credentials.options();
    Ok(format!("banyan shadow diff {} {}{options}", at(&urls.legacy), at(&urls.new)))
}

/// One word for a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls() -> BaseUrls {
        BaseUrls { legacy: "http://legacy:3000/".into(), new: "http://new:4000".into() }
    }

    #[test]
    fn a_stored_request_becomes_a_command_that_runs() {
        let text = command("GET /users/3/messages?page=2", Credentials::Token, &urls()).unwrap();
        assert_eq!(
            text,
            "banyan shadow diff 'http://legacy:3000/users/3/messages?page=2' \
             'http://new:4000/users/3/messages?page=2' -H \"Authorization: $AUTHORIZATION\""
        );
        let text = command("GET /a'b;rm", Credentials::None, &urls()).unwrap();
        assert!(text.contains(r"'http://new:4000/a'\''b;rm'"), "{text}");
    }

    #[test]
    fn a_redacted_request_says_that_it_cannot_be_repeated() {
        for request in ["GET /users/tok:string:9f", "HEAD /users/3", "GET", "GET http://x/"] {
            assert!(command(request, Credentials::None, &urls()).is_err(), "{request}");
        }
    }
}
