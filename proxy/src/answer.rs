//! Answers that the proxy gives itself.
//!
//! Owns their form: a small JSON object in the manner of the monolith, with whose fault it is and whether a retry is
//! safe. What must stay true: nothing of a request and no internal detail is ever in an answer.

use banyan_domain::Side;
use bytes::Bytes;
use http::{StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

/// An answer of the proxy's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// What happened, as a sentence fragment.
    pub(crate) detail: String,
    /// Whose fault it is.
    pub(crate) fault: Fault,
    /// Whether sending the same request again can do no harm.
    pub(crate) retry_safe: bool,
    /// How long the client is asked to wait before, in s.
    pub(crate) retry_after_s: Option<u8>,
}

/// Whose fault an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Client,
    Side(Side),
    Proxy,
}

impl Answer {
    /// A refusal because of the request itself.
    pub(crate) fn refusal(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            fault: Fault::Client,
            retry_safe: true,
            retry_after_s: None,
        }
    }

    fn body(&self) -> Bytes {
        let fault = match self.fault {
            Fault::Client => "client",
            Fault::Side(side) => side.as_str(),
            Fault::Proxy => "proxy",
        };
        let reason = self.status.canonical_reason().unwrap_or("Error");
        Bytes::from(format!(
            "{{\"status\":\"{}\",\"error\":\"{reason}\",\"detail\":\"{}\",\"fault\":\"{fault}\",\"retry_safe\":{}}}\n",
            self.status.as_u16(),
            self.detail,
            self.retry_safe
        ))
    }

    /// Sends it and closes the connection afterwards: a body that nobody reads must not be taken for the next request.
    pub(crate) async fn send(&self, session: &mut Session) -> pingora::Result<()> {
        let body = self.body();
        let mut head = ResponseHeader::build(self.status, Some(5))?;
        head.insert_header(header::CONTENT_TYPE, "application/json; charset=utf-8")?;
        head.insert_header(header::CONTENT_LENGTH, body.len())?;
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        if let Some(seconds) = self.retry_after_s {
            head.insert_header(header::RETRY_AFTER, seconds.to_string())?;
        }
        let is_head = session.req_header().method == http::Method::HEAD;
        let body = if is_head { Bytes::new() } else { body };
        session.write_error_response(head, body).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whose_fault_it_is_in_json() {
        let answer = Answer::refusal(StatusCode::BAD_REQUEST, "the path has two readings");
        let text = String::from_utf8(answer.body().to_vec()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["status"], "400");
        assert_eq!(json["error"], "Bad Request");
        assert_eq!(json["fault"], "client");
        assert_eq!(json["retry_safe"], true);
    }
}
