//! From a recorded exchange to the request that is sent, and to the recorded answer as the engine compares it.
//!
//! What must stay true: pure; the same reads are left out as in live shadowing (ranges, upgrades, bodies, loops).

use crate::replay::{Item, ReplayConfig};
use crate::side::REPLAY_HEADER;
use crate::{Baseline, Headers, RecordedAnswer, RecordedBody};
use banyan_domain::{Generation, Side};
use banyan_shadow::{Answer, Exchange, MirrorRequest, Served, SkipReason};
use bytes::Bytes;

/// The request, and legacy's recorded answer when that is the baseline.
pub(crate) fn prepare(
    config: &ReplayConfig,
    host: Option<&str>,
    item: &Item,
) -> Result<(MirrorRequest, Option<Answer>), SkipReason> {
    let recorded = match config.baseline {
        Baseline::Url(_) => None,
        Baseline::Recorded => item.recorded.legacy.as_ref().map(answer),
    };
    // Asked anew, the answer will be whole, whatever the client's was.
    let status = recorded.as_ref().map_or(200, |answer| answer.status);
    let exchange = Exchange {
        context: item.endpoint.context(),
        endpoint: item.endpoint.clone(),
        served_by: Side::Legacy,
        mirror_to: Side::New,
        generation: Generation(0),
        method: item.recorded.method.clone(),
        path_and_query: item.recorded.target.clone(),
        request_headers: headers(config, host, item),
        served: Served { status, headers: Vec::new(), body: Bytes::new(), elapsed_ms: 0 },
        at_ms: 0,
    };
    Ok((MirrorRequest::of(&exchange)?, recorded))
}

/// The recorded headers, those of the command in their place, and the number of the exchange.
fn headers(config: &ReplayConfig, host: Option<&str>, item: &Item) -> Headers {
    let set = |name: &str| config.headers.iter().any(|(own, _)| own == name);
    // Recorded behind a proxy of Banyan, a request would be taken for one that runs in circles.
    let own = |name: &str| name.starts_with("x-banyan-");
    let recorded = item.recorded.headers.iter();
    let mut headers: Headers =
        recorded.filter(|(name, _)| !set(name) && !own(name)).cloned().collect();
    headers.extend(config.headers.iter().cloned());
    if let Some(host) = host
        && !headers.iter().any(|(name, _)| name == "host")
    {
        headers.push(("host".to_owned(), host.as_bytes().to_vec()));
    }
    headers.push((REPLAY_HEADER.to_owned(), item.number.to_string().into_bytes()));
    headers
}

fn answer(recorded: &RecordedAnswer) -> Answer {
    let body = match &recorded.body {
        RecordedBody::Whole(bytes) => bytes.clone(),
        RecordedBody::Token(token) => Bytes::from(token.clone()),
        RecordedBody::Missing => Bytes::new(),
    };
    Answer { status: recorded.status, headers: recorded.headers.clone(), body }
}
