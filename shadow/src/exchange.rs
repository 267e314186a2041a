//! A finished exchange: one read that a client already got its answer to.
//!
//! Owns the form in which the proxy hands a read over for comparison. It exists so that the proxy knows nothing of
//! workers, rechecks or tallies. What must stay true: an exchange is complete (the client has the last byte), its target
//! is the raw one of the request line, and nothing here is ever shown or stored unredacted.

use banyan_domain::{ContextName, EndpointName, Generation, Side};
use bytes::Bytes;
use std::fmt;

/// One answered read, with what is needed to ask the other side the same.
#[derive(Clone)]
pub struct Exchange {
    /// The context of the endpoint.
    pub context: ContextName,
    /// The endpoint the read was routed to.
    pub endpoint: EndpointName,
    /// The side that answered the client.
    pub served_by: Side,
    /// The side to ask now; the other one.
    pub mirror_to: Side,
    /// The route table it was decided from.
    pub generation: Generation,
    /// The method, upper case; only `GET` and `HEAD` are mirrored.
    pub method: String,
    /// Path and query exactly as they were in the request line.
    pub path_and_query: String,
    /// The client's headers in wire order; repeated names stay repeated.
    pub request_headers: Vec<(String, Vec<u8>)>,
    /// What the client was answered.
    pub served: Served,
    /// Unix time in ms when the answer was complete.
    pub at_ms: u64,
}

/// The answer that the client got.
#[derive(Clone)]
pub struct Served {
    /// The HTTP status code.
    pub status: u16,
    /// The headers in wire order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body as it was on the wire, content encoding not removed.
    pub body: Bytes,
    /// Time from the request to the end of the answer, in ms.
    pub elapsed_ms: u64,
}

impl Exchange {
    /// Bytes that this exchange keeps in memory, for the limit of the queue.
    pub fn bytes(&self) -> usize {
        let headers = |list: &[(String, Vec<u8>)]| -> usize {
            list.iter().map(|(name, value)| name.len() + value.len() + 48).sum()
        };
        size_of::<Self>()
            + self.path_and_query.len()
            + headers(&self.request_headers)
            + headers(&self.served.headers)
            + self.served.body.len()
    }
}

/// Shows no header, path or body: an exchange holds credentials and private messages.
impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("endpoint", &self.endpoint.as_str())
            .field("served_by", &self.served_by)
            .field("status", &self.served.status)
            .field("body_bytes", &self.served.body.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
