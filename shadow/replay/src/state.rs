//! How far a replay is, and what it found so far.
//!
//! Owns the state file. It exists so that a replay of hours survives a kill. What must stay true: an exchange is in `done`
//! exactly when its whole account is in the totals; the file is replaced atomically; a state of another replay is refused.

use banyan_domain::EndpointName;
use banyan_shadow::{DifferenceTotal, EndpointSummary, HiddenTotal, Sample, Summary, TallyBatch};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::Path;

/// Name and version of the file's form.
const SCHEMA: &str = "banyan.shadow.replay-state/1";
/// Samples that are kept per place and kind: those of the first exchanges, whatever the order of their ends.
const SAMPLES_MAX: usize = 3;
/// Distinct requests that are told apart per endpoint; further ones still count as compared.
const REQUESTS_MAX: usize = 1_000_000;

/// The state of a replay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    schema: String,
    /// What is replayed against what; another replay must not go on from here.
    identity: BTreeMap<String, String>,
    done: Done,
    endpoints: BTreeMap<EndpointName, Totals>,
}

/// Numbers of exchanges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    /// All below.
    below: u64,
    /// Further ones.
    beyond: BTreeSet<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Totals {
    outcomes: BTreeMap<String, BTreeMap<String, u64>>,
    differences: Vec<Difference>,
    hidden: BTreeMap<String, Hidden>,
    samples: Vec<Kept>,
    /// Distinct requests that agreed, and those with a mismatch.
    agreed: BTreeSet<u64>,
    mismatched: BTreeSet<u64>,
    /// How late new was: upper bounds of buckets in ms, and how many reads.
    #[serde(default)]
    lags: BTreeMap<u64, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Difference {
    shape: String,
    kind: String,
    severity: String,
    transition: String,
    count: u64,
    first_ms: u64,
    last_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hidden {
    count: u64,
    first_ms: u64,
    last_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    number: u64,
    at_ms: u64,
    shape: String,
    kind: String,
    body: Value,
}

/// Why a state cannot be gone on from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// There is none, or it cannot be read.
    #[error("read the state of a replay")]
    Io(#[from] io::Error),
    /// It is damaged, or of another version.
    #[error("read the state of a replay: it is not of the form {SCHEMA}")]
    Form,
    /// It is of another replay.
    #[error("go on with another replay: its {what} was `{then}`, now it is `{now}`")]
    Other {
        /// What differs.
        what: String,
        /// What it was.
        then: String,
        /// What it is.
        now: String,
    },
}

impl State {
    /// Nothing done yet.
    pub(crate) fn new(identity: BTreeMap<String, String>) -> Self {
        let (done, endpoints) = (Done::default(), BTreeMap::new());
        Self { schema: SCHEMA.to_owned(), identity, done, endpoints }
    }

    /// The state that a replay of this identity left behind.
    pub(crate) fn load(
        path: &Path,
        identity: &BTreeMap<String, String>,
    ) -> Result<Self, StateError> {
        let bytes = std::fs::read(path)?;
        let state: Self = serde_json::from_slice(&bytes).map_err(|_| StateError::Form)?;
        if state.schema != SCHEMA {
            return Err(StateError::Form);
        }
        for (what, now) in identity {
            let then = state.identity.get(what).cloned().unwrap_or_default();
            if then != *now {
                return Err(StateError::Other { what: what.clone(), then, now: now.clone() });
            }
        }
        Ok(state)
    }

    /// Its form on disk.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // A state has no keys or numbers that JSON refuses.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Puts a form on disk in the place of the one before, all of it or nothing.
    pub(crate) fn store(path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        std::fs::rename(&beside, path)
    }

    /// Whether an exchange is done.
    pub(crate) fn is_done(&self, number: u64) -> bool {
        number < self.done.below || self.done.beyond.contains(&number)
    }

    /// How many are done.
    pub(crate) fn done(&self) -> u64 {
        self.done.below + self.done.beyond.len() as u64
    }

    /// Reads with an outcome.
    pub(crate) fn count(&self, outcome: banyan_shadow::Outcome) -> u64 {
        let endpoints = self.endpoints.values();
        endpoints.filter_map(|e| e.outcomes.get(outcome.as_str())).flat_map(BTreeMap::values).sum()
    }

    /// Adds what was counted since the last batch. `name` gives an exchange's name in its recording.
    pub(crate) fn fold(&mut self, batch: TallyBatch, name: impl Fn(u64) -> Option<String>) {
        for row in batch.outcomes {
            let reasons = self.of(&row.endpoint).outcomes.entry(row.outcome).or_default();
            *reasons.entry(row.reason).or_insert(0) += row.count;
        }
        for row in batch.differences {
            let at_ms = row.at_ms;
            let differences = &mut self.of(&row.endpoint).differences;
            let same = |d: &&mut Difference| {
                (&d.shape, &d.kind, &d.severity, &d.transition)
                    == (&row.shape, &row.kind, &row.severity, &row.transition)
            };
            if let Some(known) = differences.iter_mut().find(same) {
                known.count += row.count;
                known.first_ms = known.first_ms.min(at_ms);
                known.last_ms = known.last_ms.max(at_ms);
            } else {
                let (shape, kind, severity) = (row.shape, row.kind, row.severity);
                let (transition, count) = (row.transition, row.count);
                let (first_ms, last_ms) = (at_ms, at_ms);
                let new =
                    Difference { shape, kind, severity, transition, count, first_ms, last_ms };
                differences.push(new);
            }
        }
        for row in batch.hidden {
            let (first_ms, last_ms) = (row.at_ms, row.at_ms);
            let none = Hidden { count: 0, first_ms, last_ms };
            let hidden = self.of(&row.endpoint).hidden.entry(row.rule).or_insert(none);
            hidden.count += row.count;
            hidden.first_ms = hidden.first_ms.min(first_ms);
            hidden.last_ms = hidden.last_ms.max(last_ms);
        }
        for sample in batch.samples {
            self.sample(sample, &name);
        }
        for row in batch.fingerprints {
            self.of(&row.endpoint).request(row.fingerprint, row.mismatched);
        }
        for row in batch.lags {
            *self.of(&row.endpoint).lags.entry(row.bound_ms).or_insert(0) += row.count;
        }
        for number in batch.done {
            self.done.add(number);
        }
    }

    fn sample(&mut self, sample: Sample, name: &impl Fn(u64) -> Option<String>) {
        let Sample { at_ms, endpoint, shape, kind, mut body } = sample;
        let number = body.get("recorded").and_then(Value::as_u64).unwrap_or(u64::MAX);
        if let (Some(name), Some(body)) = (name(number), body.as_object_mut()) {
            body.insert("recorded".to_owned(), name.into());
        }
        let samples = &mut self.of(&endpoint).samples;
        samples.push(Kept { number, at_ms, shape, kind, body });
        samples.sort_by_key(|kept| kept.number);
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        samples.retain(|kept| {
            let seen = seen.entry((kept.shape.clone(), kept.kind.clone())).or_insert(0);
            *seen += 1;
            *seen <= SAMPLES_MAX
        });
    }

    fn of(&mut self, endpoint: &EndpointName) -> &mut Totals {
        self.endpoints.entry(endpoint.clone()).or_default()
    }

    /// Everything found, for the report.
    pub(crate) fn summary(&self) -> Summary {
        let endpoints = self.endpoints.iter();
        let endpoints = endpoints.map(|(name, totals)| (name.clone(), totals.summary(name)));
        Summary { endpoints: endpoints.collect(), ..Summary::default() }
    }
}

impl Done {
    fn add(&mut self, number: u64) {
        if number >= self.below {
            self.beyond.insert(number);
        }
        while self.beyond.remove(&self.below) {
            self.below += 1;
        }
    }
}

impl Totals {
    fn request(&mut self, fingerprint: u64, mismatched: bool) {
        if mismatched {
            self.agreed.remove(&fingerprint);
            self.mismatched.insert(fingerprint);
        } else if !self.mismatched.contains(&fingerprint) && self.agreed.len() < REQUESTS_MAX {
            self.agreed.insert(fingerprint);
        }
    }

    fn summary(&self, endpoint: &EndpointName) -> EndpointSummary {
        let mut differences: Vec<DifferenceTotal> = self
            .differences
            .iter()
            .map(|d| DifferenceTotal {
                shape: d.shape.clone(),
                kind: d.kind.clone(),
                severity: d.severity.clone(),
                transition: d.transition.clone(),
                count: d.count,
                first_ms: d.first_ms,
                last_ms: d.last_ms,
            })
            .collect();
        differences.sort_by(|a, b| {
            (&a.shape, &a.kind, &a.transition).cmp(&(&b.shape, &b.kind, &b.transition))
        });
        let samples = self.samples.iter().map(|kept| Sample {
            at_ms: kept.at_ms,
            endpoint: endpoint.clone(),
            shape: kept.shape.clone(),
            kind: kept.kind.clone(),
            body: kept.body.clone(),
        });
        let hidden = self.hidden.iter().map(|(rule, hidden)| HiddenTotal {
            rule: rule.clone(),
            count: hidden.count,
            first_ms: hidden.first_ms,
            last_ms: hidden.last_ms,
        });
        EndpointSummary {
            outcomes: self.outcomes.clone(),
            differences,
            hidden: hidden.collect(),
            samples: samples.collect(),
            distinct: (self.agreed.len() + self.mismatched.len()) as u64,
            distinct_mismatched: self.mismatched.len() as u64,
            lags: self.lags.clone(),
            ..EndpointSummary::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_shadow::{DifferenceCount, Fingerprint, HiddenCount, LagCount, OutcomeCount};

    fn endpoint() -> EndpointName {
        EndpointName::new("messages.list").unwrap()
    }

    /// What one exchange leaves: a mismatch with an example.
    fn batch(number: u64) -> TallyBatch {
        let (at_ms, endpoint, count) = (number * 1_000, endpoint(), 1);
        let sample = Sample {
            at_ms,
            endpoint: endpoint.clone(),
            shape: "$.a".into(),
            kind: "value_changed".into(),
            body: serde_json::json!({ "recorded": number }),
        };
        TallyBatch {
            lags: vec![LagCount {
                at_ms,
                endpoint: endpoint.clone(),
                bound_ms: 110 + number % 2,
                count,
            }],
            outcomes: vec![OutcomeCount {
                at_ms,
                endpoint: endpoint.clone(),
                outcome: "mismatch".into(),
                reason: "value".into(),
                count,
            }],
            differences: vec![DifferenceCount {
                at_ms,
                endpoint: endpoint.clone(),
                shape: "$.a".into(),
                kind: "value_changed".into(),
                severity: "value".into(),
                transition: "int -> int".into(),
                count,
            }],
            hidden: vec![HiddenCount {
                at_ms,
                endpoint: endpoint.clone(),
                rule: "r".into(),
                count,
            }],
            samples: vec![sample],
            fingerprints: vec![Fingerprint {
                endpoint,
                fingerprint: number / 2,
                at_ms,
                mismatched: true,
            }],
            done: vec![number],
            ..TallyBatch::default()
        }
    }

    #[test]
    fn the_order_in_which_exchanges_end_does_not_change_the_state() {
        let orders = [[0, 1, 2, 3, 4, 5], [5, 3, 1, 4, 0, 2]];
        let states = orders.map(|order| {
            let mut state = State::new(BTreeMap::new());
            for number in order {
                state.fold(batch(number), |number| Some(format!("line {number}")));
            }
            state
        });
        assert_eq!(states[0], states[1]);
        let found = &states[0].summary().endpoints[&endpoint()];
        assert_eq!((found.distinct, found.distinct_mismatched), (3, 3));
        let names: Vec<&str> =
            found.samples.iter().map(|s| s.body["recorded"].as_str().unwrap()).collect();
        assert_eq!(names, ["line 0", "line 1", "line 2"]);
        assert_eq!((found.differences[0].count, found.differences[0].last_ms), (6, 5_000));
        assert_eq!(found.lags, BTreeMap::from([(110, 3), (111, 3)]));
        assert_eq!((states[0].done(), states[0].done.beyond.len()), (6, 0));
    }

    #[test]
    fn a_state_comes_back_as_it_was_and_only_to_the_same_replay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let identity = |against: &str| BTreeMap::from([("against".to_owned(), against.to_owned())]);
        let mut state = State::new(identity("http://a"));
        state.fold(batch(0), |_| None);
        state.fold(batch(7), |_| None);
        State::store(&path, &state.bytes()).unwrap();
        let loaded = State::load(&path, &identity("http://a")).unwrap();
        assert_eq!(loaded, state);
        assert!(loaded.is_done(0) && loaded.is_done(7) && !loaded.is_done(1));
        let error = State::load(&path, &identity("http://b")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "go on with another replay: its against was `http://a`, now it is `http://b`"
        );
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(State::load(&path, &identity("http://a")), Err(StateError::Form)));
    }
}
