//! A made-up exchange for the tests of this crate.

use crate::{Exchange, Served};
use banyan_domain::{EndpointName, Generation, Side};
use bytes::Bytes;

pub(crate) fn exchange(endpoint: &str, path_and_query: &str) -> Exchange {
    let endpoint = EndpointName::new(endpoint).unwrap();
    Exchange {
        context: endpoint.context(),
        endpoint,
        served_by: Side::Legacy,
        mirror_to: Side::New,
        generation: Generation(1),
        method: "GET".into(),
        path_and_query: path_and_query.into(),
        request_headers: vec![],
        served: Served { status: 200, headers: vec![], body: Bytes::new(), elapsed_ms: 1 },
        at_ms: 1,
    }
}
