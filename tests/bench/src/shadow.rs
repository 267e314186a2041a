//! Shadow reads for the benchmark: real queue, workers and comparison, with a tally in memory.
//!
//! Owns the counting of outcomes. It exists so that "100 % shadow" comes with how much was really compared: on a
//! saturated machine the bounded queue skips, and the table must say so.

use crate::{BenchError, failed};
use banyan_domain::{ContextName, EndpointName, Generation, Side};
use banyan_shadow::{
    HttpConfig, NumericIds, Ports, Redaction, RedactionKey, Shadow, ShadowConfig, ShadowHandle,
    SystemClock, TallyBatch, TallyError, TallyStore,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Running shadow reads with their tally.
pub(crate) struct Counted {
    shadow: Shadow,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Tally(Mutex<BTreeMap<String, u64>>);

#[async_trait::async_trait]
impl TallyStore for Tally {
    async fn save(&self, batch: TallyBatch) -> Result<(), TallyError> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for row in batch.outcomes {
            *counts.entry(row.outcome).or_insert(0) += row.count;
        }
        Ok(())
    }
}

/// Starts shadow reads with the defaults of the product.
pub(crate) fn start(
    legacy: &str,
    new: &str,
    context: &ContextName,
) -> Result<(ShadowHandle, Counted), BenchError> {
    let http = HttpConfig {
        legacy_url: format!("http://{legacy}"),
        new_urls: BTreeMap::from([(context.clone(), format!("http://{new}"))]),
        connect_timeout_ms: 1_000,
        timeout_ms: 5_000,
        body_bytes_max: 256 << 10,
    };
    let redaction = Redaction::new(RedactionKey::derive(b"bench"), NumericIds::Shown);
    let config = ShadowConfig::new(http, BTreeMap::new(), redaction);
    let tally = Arc::new(Tally::default());
    let always = |_: &EndpointName, _: Side, _: Generation| true;
    let ports = Ports {
        store: tally.clone(),
        plan: Arc::new(always),
        lag: None,
        observer: None,
        clock: Arc::new(SystemClock),
        seed: 1,
    };
    let (handle, shadow) = Shadow::start(config, &ports, CancellationToken::new())
        .map_err(failed("start shadow reads"))?;
    Ok((handle, Counted { shadow, tally }))
}

impl Counted {
    /// Stops and prints the tally as one JSON line.
    pub(crate) async fn report(self) -> Result<(), BenchError> {
        self.shadow.stop().await;
        let counts = self.tally.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = serde_json::to_string(&counts).map_err(failed("write the tally"))?;
        writeln!(std::io::stdout(), "{text}").map_err(failed("write the tally"))
    }
}
