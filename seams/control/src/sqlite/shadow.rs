//! Shadow evidence, in SQLite.
//!
//! Owns buckets, compaction and retention. What must stay true: compaction changes no sum, only the
//! resolution in time; every table is bounded by time or by number.

use super::number::{from_db, to_db};
use super::{File, Tx, advice, noise};
use crate::error::ControlError;
use crate::shadow::{
    DifferenceTotal, EndpointShadow, Fingerprint, HiddenTotal, LagCount, Outcomes, Sample,
    ShadowBatch, ShadowSummary,
};
use banyan_domain::EndpointName;
use sqlx::SqlitePool;
use std::collections::{BTreeMap, BTreeSet};

/// Width of a young bucket, in ms.
const SECOND_MS: u64 = 1_000;
/// Width of an old bucket, in ms. Bucket numbers of the statements below must agree.
const MINUTE_MS: u64 = 60_000;

const ADD_OUTCOME: &str = "INSERT INTO shadow_outcome (endpoint, outcome, reason, bucket_ms, count) \
    VALUES (?, ?, ?, ?, ?) \
    ON CONFLICT (endpoint, outcome, reason, bucket_ms) DO UPDATE SET count = count + excluded.count";
const ADD_DIFFERENCE: &str = "INSERT INTO shadow_difference \
    (endpoint, shape, kind, severity, transition, bucket_ms, count, first_ms, last_ms) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT (endpoint, shape, kind, severity, transition, bucket_ms) DO UPDATE SET \
    count = count + excluded.count, first_ms = MIN(first_ms, excluded.first_ms), \
    last_ms = MAX(last_ms, excluded.last_ms)";
const ADD_HIDDEN: &str = "INSERT INTO shadow_hidden (endpoint, rule, bucket_ms, count, first_ms, last_ms) \
    VALUES (?, ?, ?, ?, ?, ?) \
    ON CONFLICT (endpoint, rule, bucket_ms) DO UPDATE SET count = count + excluded.count, \
    first_ms = MIN(first_ms, excluded.first_ms), last_ms = MAX(last_ms, excluded.last_ms)";
/// The table of measured lags.
pub(super) const CREATE_LAG: &str = "
CREATE TABLE shadow_lag (
    endpoint TEXT NOT NULL, bound_ms INTEGER NOT NULL, bucket_ms INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (endpoint, bound_ms, bucket_ms)
) WITHOUT ROWID;
CREATE INDEX shadow_lag_by_time ON shadow_lag (bucket_ms);
";
const ADD_LAG: &str = "INSERT INTO shadow_lag (endpoint, bound_ms, bucket_ms, count) \
    VALUES (?, ?, ?, ?) \
    ON CONFLICT (endpoint, bound_ms, bucket_ms) DO UPDATE SET count = count + excluded.count";
const ADD_SAMPLE: &str =
    "INSERT INTO shadow_sample (endpoint, shape, kind, at_ms, body) VALUES (?, ?, ?, ?, ?)";
const TRIM_SAMPLES: &str = "DELETE FROM shadow_sample WHERE id IN (SELECT id FROM shadow_sample \
    WHERE endpoint = ? AND shape = ? AND kind = ? ORDER BY at_ms DESC, id DESC LIMIT -1 OFFSET ?)";
const TRIM_ENDPOINT_SAMPLES: &str = "DELETE FROM shadow_sample WHERE id IN (SELECT id \
    FROM shadow_sample WHERE endpoint = ? ORDER BY at_ms DESC, id DESC LIMIT -1 OFFSET ?)";
const ADD_FINGERPRINT: &str = "INSERT INTO shadow_fingerprint (endpoint, fingerprint, seen_ms, mismatched_ms) \
    VALUES (?, ?, ?, ?) \
    ON CONFLICT (endpoint, fingerprint) DO UPDATE SET seen_ms = MAX(seen_ms, excluded.seen_ms), \
    mismatched_ms = COALESCE(MAX(mismatched_ms, excluded.mismatched_ms), mismatched_ms, excluded.mismatched_ms)";
const TRIM_FINGERPRINTS: &str = "DELETE FROM shadow_fingerprint WHERE endpoint = ?1 \
    AND fingerprint IN (SELECT fingerprint FROM shadow_fingerprint WHERE endpoint = ?1 \
    ORDER BY seen_ms DESC, fingerprint LIMIT -1 OFFSET ?2)";

const SELECT_OUTCOMES: &str = "SELECT endpoint, outcome, reason, SUM(count) FROM shadow_outcome \
    WHERE bucket_ms >= ? GROUP BY endpoint, outcome, reason";
const SELECT_DIFFERENCES: &str = "SELECT endpoint, shape, kind, severity, transition, \
    SUM(count), MIN(first_ms), MAX(last_ms) FROM shadow_difference WHERE bucket_ms >= ? \
    GROUP BY endpoint, shape, kind, severity, transition ORDER BY SUM(count) DESC, shape, kind";
const SELECT_HIDDEN: &str = "SELECT endpoint, rule, SUM(count), MIN(first_ms), MAX(last_ms) \
    FROM shadow_hidden WHERE bucket_ms >= ? GROUP BY endpoint, rule ORDER BY SUM(count) DESC, rule";
const SELECT_LAGS: &str = "SELECT endpoint, bound_ms, SUM(count) FROM shadow_lag \
    WHERE bucket_ms >= ? GROUP BY endpoint, bound_ms";
const SELECT_SAMPLES: &str = "SELECT endpoint, shape, kind, at_ms, body FROM shadow_sample \
    WHERE at_ms >= ? ORDER BY at_ms DESC, id DESC";
const SELECT_DISTINCT: &str = "SELECT endpoint, COUNT(*), \
    SUM(CASE WHEN mismatched_ms >= ?1 THEN 1 ELSE 0 END) \
    FROM shadow_fingerprint WHERE seen_ms >= ?1 GROUP BY endpoint";
/// Since when an endpoint is compared, for the rate at which evidence comes in.
const SELECT_BEGINNINGS: &str = "SELECT endpoint, MIN(bucket_ms) FROM shadow_outcome \
    WHERE bucket_ms >= ? AND outcome <> 'skipped' GROUP BY endpoint";

/// The compaction of each counting table: add what lies in a minute to its first bucket, then delete it.
const COMPACT: [[&str; 2]; 5] = [
    [
        "INSERT INTO shadow_outcome (endpoint, outcome, reason, bucket_ms, count) \
        SELECT endpoint, outcome, reason, bucket_ms / 60000 * 60000, SUM(count) FROM shadow_outcome \
        WHERE bucket_ms < ? AND bucket_ms % 60000 <> 0 GROUP BY 1, 2, 3, 4 \
        ON CONFLICT (endpoint, outcome, reason, bucket_ms) DO UPDATE SET count = count + excluded.count",
        "DELETE FROM shadow_outcome WHERE bucket_ms < ? AND bucket_ms % 60000 <> 0",
    ],
    [
        "INSERT INTO shadow_difference \
        (endpoint, shape, kind, severity, transition, bucket_ms, count, first_ms, last_ms) \
        SELECT endpoint, shape, kind, severity, transition, bucket_ms / 60000 * 60000, SUM(count), \
        MIN(first_ms), MAX(last_ms) FROM shadow_difference \
        WHERE bucket_ms < ? AND bucket_ms % 60000 <> 0 GROUP BY 1, 2, 3, 4, 5, 6 \
        ON CONFLICT (endpoint, shape, kind, severity, transition, bucket_ms) DO UPDATE SET \
        count = count + excluded.count, first_ms = MIN(first_ms, excluded.first_ms), \
        last_ms = MAX(last_ms, excluded.last_ms)",
        "DELETE FROM shadow_difference WHERE bucket_ms < ? AND bucket_ms % 60000 <> 0",
    ],
    [
        "INSERT INTO shadow_hidden (endpoint, rule, bucket_ms, count, first_ms, last_ms) \
        SELECT endpoint, rule, bucket_ms / 60000 * 60000, SUM(count), MIN(first_ms), MAX(last_ms) \
        FROM shadow_hidden WHERE bucket_ms < ? AND bucket_ms % 60000 <> 0 GROUP BY 1, 2, 3 \
        ON CONFLICT (endpoint, rule, bucket_ms) DO UPDATE SET count = count + excluded.count, \
        first_ms = MIN(first_ms, excluded.first_ms), last_ms = MAX(last_ms, excluded.last_ms)",
        "DELETE FROM shadow_hidden WHERE bucket_ms < ? AND bucket_ms % 60000 <> 0",
    ],
    noise::COMPACT,
    [
        "INSERT INTO shadow_lag (endpoint, bound_ms, bucket_ms, count) \
        SELECT endpoint, bound_ms, bucket_ms / 60000 * 60000, SUM(count) FROM shadow_lag \
        WHERE bucket_ms < ? AND bucket_ms % 60000 <> 0 GROUP BY 1, 2, 3 \
        ON CONFLICT (endpoint, bound_ms, bucket_ms) DO UPDATE SET count = count + excluded.count",
        "DELETE FROM shadow_lag WHERE bucket_ms < ? AND bucket_ms % 60000 <> 0",
    ],
];

const DELETE_OLD: [&str; 7] = [
    "DELETE FROM shadow_outcome WHERE bucket_ms < ?",
    "DELETE FROM shadow_difference WHERE bucket_ms < ?",
    "DELETE FROM shadow_hidden WHERE bucket_ms < ?",
    noise::DELETE_OLD,
    "DELETE FROM shadow_lag WHERE bucket_ms < ?",
    "DELETE FROM shadow_sample WHERE at_ms < ?",
    "DELETE FROM shadow_fingerprint WHERE seen_ms < ?",
];

const FORGET: [&str; 7] = [
    "DELETE FROM shadow_outcome WHERE endpoint = ?",
    "DELETE FROM shadow_difference WHERE endpoint = ?",
    "DELETE FROM shadow_hidden WHERE endpoint = ?",
    noise::FORGET,
    "DELETE FROM shadow_lag WHERE endpoint = ?",
    "DELETE FROM shadow_sample WHERE endpoint = ?",
    "DELETE FROM shadow_fingerprint WHERE endpoint = ?",
];

const fn bucket(at_ms: u64) -> u64 {
    at_ms - at_ms % SECOND_MS
}

/// The first whole bucket from `since_ms` on. Counts have the resolution of their buckets; requests and examples are asked for
/// from the same moment, so that all numbers of a summary are of one period, and none is of before it.
fn beginning(file: &File, since_ms: Option<u64>) -> i64 {
    let since_ms = since_ms.unwrap_or(0);
    let compacted_ms = file.now_ms().saturating_sub(file.options.shadow.fine_ms);
    let width = if since_ms < compacted_ms { MINUTE_MS } else { SECOND_MS };
    to_db(since_ms.div_ceil(width).saturating_mul(width))
}

pub(super) async fn record(file: &File, batch: &ShadowBatch) -> Result<(), ControlError> {
    let mut tx = file.begin().await?;
    let written = async {
        add_counts(&mut tx, batch).await?;
        noise::add(&mut tx, &batch.noise, bucket).await?;
        add_lags(&mut tx, &batch.lags).await?;
        add_samples(&mut tx, file, &batch.samples).await?;
        advice::add(&mut tx, &batch.advice).await?;
        add_fingerprints(&mut tx, file, &batch.fingerprints).await
    };
    written.await.map_err(|error| file.fail(error))?;
    file.end(tx).await
}

async fn add_counts(tx: &mut Tx, batch: &ShadowBatch) -> Result<(), sqlx::Error> {
    for row in &batch.outcomes {
        sqlx::query(ADD_OUTCOME)
            .bind(row.endpoint.as_str())
            .bind(&row.outcome)
            .bind(&row.reason)
            .bind(to_db(bucket(row.at_ms)))
            .bind(to_db(row.count))
            .execute(&mut **tx)
            .await?;
    }
    for row in &batch.differences {
        sqlx::query(ADD_DIFFERENCE)
            .bind(row.endpoint.as_str())
            .bind(&row.shape)
            .bind(&row.kind)
            .bind(&row.severity)
            .bind(&row.transition)
            .bind(to_db(bucket(row.at_ms)))
            .bind(to_db(row.count))
            .bind(to_db(row.at_ms))
            .bind(to_db(row.at_ms))
            .execute(&mut **tx)
            .await?;
    }
    for row in &batch.hidden {
        sqlx::query(ADD_HIDDEN)
            .bind(row.endpoint.as_str())
            .bind(&row.rule)
            .bind(to_db(bucket(row.at_ms)))
            .bind(to_db(row.count))
            .bind(to_db(row.at_ms))
            .bind(to_db(row.at_ms))
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

async fn add_lags(tx: &mut Tx, lags: &[LagCount]) -> Result<(), sqlx::Error> {
    for row in lags {
        sqlx::query(ADD_LAG)
            .bind(row.endpoint.as_str())
            .bind(to_db(row.bound_ms))
            .bind(to_db(bucket(row.at_ms)))
            .bind(to_db(row.count))
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

async fn add_samples(tx: &mut Tx, file: &File, samples: &[Sample]) -> Result<(), sqlx::Error> {
    let mut shapes = BTreeSet::new();
    for sample in samples {
        sqlx::query(ADD_SAMPLE)
            .bind(sample.endpoint.as_str())
            .bind(&sample.shape)
            .bind(&sample.kind)
            .bind(to_db(sample.at_ms))
            .bind(sample.body.to_string())
            .execute(&mut **tx)
            .await?;
        shapes.insert((sample.endpoint.as_str(), sample.shape.as_str(), sample.kind.as_str()));
    }
    let limits = file.options.shadow;
    for (endpoint, shape, kind) in &shapes {
        let trim = sqlx::query(TRIM_SAMPLES).bind(endpoint).bind(shape).bind(kind);
        trim.bind(i64::from(limits.samples_per_shape)).execute(&mut **tx).await?;
    }
    let endpoints: BTreeSet<&str> = shapes.iter().map(|(endpoint, _, _)| *endpoint).collect();
    for endpoint in endpoints {
        let trim = sqlx::query(TRIM_ENDPOINT_SAMPLES).bind(endpoint);
        trim.bind(i64::from(limits.samples_per_endpoint)).execute(&mut **tx).await?;
    }
    Ok(())
}

async fn add_fingerprints(
    tx: &mut Tx,
    file: &File,
    fingerprints: &[Fingerprint],
) -> Result<(), sqlx::Error> {
    for row in fingerprints {
        let at = to_db(row.at_ms);
        sqlx::query(ADD_FINGERPRINT)
            .bind(row.endpoint.as_str())
            // A hash, not a number: all 64 bits must survive.
            .bind(row.fingerprint.cast_signed())
            .bind(at)
            .bind(row.mismatched.then_some(at))
            .execute(&mut **tx)
            .await?;
    }
    let endpoints: BTreeSet<&str> = fingerprints.iter().map(|row| row.endpoint.as_str()).collect();
    for endpoint in endpoints {
        let trim = sqlx::query(TRIM_FINGERPRINTS).bind(endpoint);
        trim.bind(i64::from(file.options.shadow.fingerprints_per_endpoint))
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

pub(super) async fn outcomes(
    file: &File,
    since_ms: Option<u64>,
) -> Result<BTreeMap<EndpointName, Outcomes>, ControlError> {
    let mut tx = file.read().await?.begin().await.map_err(|error| file.fail(error))?;
    let rows = select_outcomes(&mut tx, beginning(file, since_ms)).await;
    let mut by_endpoint: BTreeMap<EndpointName, Outcomes> = BTreeMap::new();
    for (endpoint, outcome, reason, count) in rows.map_err(|error| file.fail(error))? {
        let outcomes = by_endpoint.entry(name(&endpoint)?).or_default();
        outcomes.add(&outcome, &reason, from_db(count));
    }
    Ok(by_endpoint)
}

type OutcomeRow = (String, String, String, i64);
type DifferenceRow = (String, String, String, String, String, i64, i64, i64);
type HiddenRow = (String, String, i64, i64, i64);
type DistinctRow = (String, i64, i64);
type LagRow = (String, i64, i64);
type SampleRow = (String, String, String, i64, String);

/// The rows of a summary, all from one moment.
struct Rows {
    outcomes: Vec<OutcomeRow>,
    differences: Vec<DifferenceRow>,
    hidden: Vec<HiddenRow>,
    distinct: Vec<DistinctRow>,
    beginnings: Vec<(String, i64)>,
    lags: Vec<LagRow>,
    samples: Vec<SampleRow>,
    noise: Vec<noise::Row>,
}

async fn select_outcomes(tx: &mut Tx, since: i64) -> Result<Vec<OutcomeRow>, sqlx::Error> {
    sqlx::query_as(SELECT_OUTCOMES).bind(since).fetch_all(&mut **tx).await
}

async fn select(read: &SqlitePool, since: i64) -> Result<Rows, sqlx::Error> {
    let mut tx = read.begin().await?;
    Ok(Rows {
        outcomes: select_outcomes(&mut tx, since).await?,
        differences: sqlx::query_as(SELECT_DIFFERENCES).bind(since).fetch_all(&mut *tx).await?,
        hidden: sqlx::query_as(SELECT_HIDDEN).bind(since).fetch_all(&mut *tx).await?,
        distinct: sqlx::query_as(SELECT_DISTINCT).bind(since).fetch_all(&mut *tx).await?,
        beginnings: sqlx::query_as(SELECT_BEGINNINGS).bind(since).fetch_all(&mut *tx).await?,
        lags: sqlx::query_as(SELECT_LAGS).bind(since).fetch_all(&mut *tx).await?,
        samples: sqlx::query_as(SELECT_SAMPLES).bind(since).fetch_all(&mut *tx).await?,
        noise: noise::select(&mut tx, since).await?,
    })
}

pub(super) async fn summary(
    file: &File,
    since_ms: Option<u64>,
) -> Result<ShadowSummary, ControlError> {
    let read = file.read().await?;
    let rows = select(&read, beginning(file, since_ms)).await;
    assemble(rows.map_err(|error| file.fail(error))?)
}

fn assemble(rows: Rows) -> Result<ShadowSummary, ControlError> {
    let mut endpoints: BTreeMap<EndpointName, EndpointShadow> = BTreeMap::new();
    for (endpoint, outcome, reason, count) in rows.outcomes {
        let shadow = endpoints.entry(name(&endpoint)?).or_default();
        shadow.outcomes.add(&outcome, &reason, from_db(count));
    }
    for (endpoint, shape, kind, severity, transition, count, first_ms, last_ms) in rows.differences
    {
        let (count, first_ms, last_ms) = (from_db(count), from_db(first_ms), from_db(last_ms));
        let total = DifferenceTotal { shape, kind, severity, transition, count, first_ms, last_ms };
        endpoints.entry(name(&endpoint)?).or_default().differences.push(total);
    }
    for (endpoint, rule, count, first_ms, last_ms) in rows.hidden {
        let (count, first_ms, last_ms) = (from_db(count), from_db(first_ms), from_db(last_ms));
        let total = HiddenTotal { rule, count, first_ms, last_ms };
        endpoints.entry(name(&endpoint)?).or_default().hidden.push(total);
    }
    for (endpoint, distinct, mismatched) in rows.distinct {
        let shadow = endpoints.entry(name(&endpoint)?).or_default();
        shadow.distinct = from_db(distinct);
        shadow.distinct_mismatched = from_db(mismatched);
    }
    for row in rows.noise {
        endpoints.entry(name(&row.endpoint)?).or_default().noise.push(row.total());
    }
    for (endpoint, first_ms) in rows.beginnings {
        endpoints.entry(name(&endpoint)?).or_default().first_ms = Some(from_db(first_ms));
    }
    for (endpoint, bound_ms, count) in rows.lags {
        let shadow = endpoints.entry(name(&endpoint)?).or_default();
        shadow.lags.insert(from_db(bound_ms), from_db(count));
    }
    for row in rows.samples {
        let sample = sample(row)?;
        endpoints.entry(sample.endpoint.clone()).or_default().samples.push(sample);
    }
    Ok(ShadowSummary { endpoints })
}

fn name(endpoint: &str) -> Result<EndpointName, ControlError> {
    EndpointName::new(endpoint).map_err(|error| ControlError::Unreadable {
        what: "the shadow evidence".to_owned(),
        source: Box::new(error),
    })
}

fn sample(row: SampleRow) -> Result<Sample, ControlError> {
    let (endpoint, shape, kind, at_ms, body) = row;
    let body = serde_json::from_str(&body).map_err(|error| ControlError::Unreadable {
        what: format!("a shadow sample of `{endpoint}`"),
        source: Box::new(error),
    })?;
    Ok(Sample { at_ms: from_db(at_ms), endpoint: name(&endpoint)?, shape, kind, body })
}

pub(super) async fn forget(file: &File, endpoint: &EndpointName) -> Result<u64, ControlError> {
    let mut tx = file.begin().await?;
    let mut gone = 0;
    for statement in FORGET.into_iter().chain([advice::FORGET]) {
        let result = sqlx::query(statement).bind(endpoint.as_str()).execute(&mut *tx).await;
        gone += result.map_err(|error| file.fail(error))?.rows_affected();
    }
    file.end(tx).await?;
    Ok(gone)
}

/// Forgets the evidence of noise at a place of an endpoint, or at all of its places.
pub(super) async fn forget_noise(
    file: &File,
    endpoint: &EndpointName,
    shape: Option<&str>,
) -> Result<u64, ControlError> {
    let mut tx = file.begin().await?;
    let statement = if shape.is_some() { noise::FORGET_SHAPE } else { noise::FORGET };
    let query = sqlx::query(statement).bind(endpoint.as_str());
    let query = if let Some(shape) = shape { query.bind(shape.to_owned()) } else { query };
    let result = query.execute(&mut *tx).await.map_err(|error| file.fail(error))?;
    file.end(tx).await?;
    Ok(result.rows_affected())
}

/// Makes minutes of old seconds and deletes what is over its time.
pub(super) async fn maintain(file: &File) -> Result<(), ControlError> {
    let limits = file.options.shadow;
    let now = file.now_ms();
    let fine = now.saturating_sub(limits.fine_ms);
    let whole_minutes = to_db(fine - fine % MINUTE_MS);
    let kept = to_db(now.saturating_sub(limits.retention_ms));
    let mut tx = file.begin().await?;
    let fail = |error| file.fail(error);
    for [add, delete] in COMPACT {
        sqlx::query(add).bind(whole_minutes).execute(&mut *tx).await.map_err(fail)?;
        sqlx::query(delete).bind(whole_minutes).execute(&mut *tx).await.map_err(fail)?;
    }
    for statement in DELETE_OLD.into_iter().chain(advice::DELETE_OLD) {
        sqlx::query(statement).bind(kept).execute(&mut *tx).await.map_err(fail)?;
    }
    for statement in advice::TRIM {
        sqlx::query(statement).execute(&mut *tx).await.map_err(fail)?;
    }
    file.end(tx).await
}
