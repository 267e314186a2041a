//! Evidence of noise, in SQLite.
//!
//! Owns the table `shadow_noise`. It exists apart from the other shadow evidence because its rows are sums of many
//! columns. What must stay true: as there, compaction changes no sum; shape and kind are empty in the rows that count for
//! a whole endpoint.

use super::Tx;
use super::number::{from_db, to_db};
use crate::shadow::{NoiseCount, NoiseSums, NoiseTotal};

pub(super) const CREATE: &str = "
CREATE TABLE shadow_noise (
    endpoint TEXT NOT NULL, shape TEXT NOT NULL, kind TEXT NOT NULL, bucket_ms INTEGER NOT NULL,
    pairs INTEGER NOT NULL, noisy INTEGER NOT NULL,
    suspected_pairs INTEGER NOT NULL, suspected_noisy INTEGER NOT NULL, moved INTEGER NOT NULL,
    triples INTEGER NOT NULL, new_alone INTEGER NOT NULL, legacy_alone INTEGER NOT NULL,
    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, example TEXT,
    PRIMARY KEY (endpoint, shape, kind, bucket_ms)
) WITHOUT ROWID;
CREATE INDEX shadow_noise_by_time ON shadow_noise (bucket_ms);
";

const ADD: &str = "INSERT INTO shadow_noise (endpoint, shape, kind, bucket_ms, pairs, noisy, \
    suspected_pairs, suspected_noisy, moved, triples, new_alone, legacy_alone, first_ms, last_ms, \
    example) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT (endpoint, shape, kind, bucket_ms) DO UPDATE SET \
    pairs = pairs + excluded.pairs, noisy = noisy + excluded.noisy, \
    suspected_pairs = suspected_pairs + excluded.suspected_pairs, \
    suspected_noisy = suspected_noisy + excluded.suspected_noisy, moved = moved + excluded.moved, \
    triples = triples + excluded.triples, new_alone = new_alone + excluded.new_alone, \
    legacy_alone = legacy_alone + excluded.legacy_alone, \
    first_ms = MIN(first_ms, excluded.first_ms), last_ms = MAX(last_ms, excluded.last_ms), \
    example = COALESCE(excluded.example, example)";

/// What lies in a minute is added to its first bucket, then deleted.
pub(super) const COMPACT: [&str; 2] = [
    "INSERT INTO shadow_noise (endpoint, shape, kind, bucket_ms, pairs, noisy, \
    suspected_pairs, suspected_noisy, moved, triples, new_alone, legacy_alone, first_ms, last_ms, \
    example) SELECT endpoint, shape, kind, bucket_ms / 60000 * 60000, SUM(pairs), SUM(noisy), \
    SUM(suspected_pairs), SUM(suspected_noisy), SUM(moved), SUM(triples), SUM(new_alone), \
    SUM(legacy_alone), MIN(first_ms), MAX(last_ms), MAX(example) FROM shadow_noise \
    WHERE bucket_ms < ? AND bucket_ms % 60000 <> 0 GROUP BY 1, 2, 3, 4 \
    ON CONFLICT (endpoint, shape, kind, bucket_ms) DO UPDATE SET \
    pairs = pairs + excluded.pairs, noisy = noisy + excluded.noisy, \
    suspected_pairs = suspected_pairs + excluded.suspected_pairs, \
    suspected_noisy = suspected_noisy + excluded.suspected_noisy, moved = moved + excluded.moved, \
    triples = triples + excluded.triples, new_alone = new_alone + excluded.new_alone, \
    legacy_alone = legacy_alone + excluded.legacy_alone, \
    first_ms = MIN(first_ms, excluded.first_ms), last_ms = MAX(last_ms, excluded.last_ms), \
    example = COALESCE(excluded.example, example)",
    "DELETE FROM shadow_noise WHERE bucket_ms < ? AND bucket_ms % 60000 <> 0",
];

pub(super) const DELETE_OLD: &str = "DELETE FROM shadow_noise WHERE bucket_ms < ?";
pub(super) const FORGET: &str = "DELETE FROM shadow_noise WHERE endpoint = ?";
pub(super) const FORGET_SHAPE: &str = "DELETE FROM shadow_noise WHERE endpoint = ? AND shape = ?";

const SELECT: &str = "SELECT endpoint, shape, kind, SUM(pairs) AS pairs, SUM(noisy) AS noisy, \
    SUM(suspected_pairs) AS suspected_pairs, SUM(suspected_noisy) AS suspected_noisy, \
    SUM(moved) AS moved, SUM(triples) AS triples, SUM(new_alone) AS new_alone, \
    SUM(legacy_alone) AS legacy_alone, MIN(first_ms) AS first_ms, MAX(last_ms) AS last_ms, \
    MAX(example) AS example FROM shadow_noise WHERE bucket_ms >= ? \
    GROUP BY endpoint, shape, kind ORDER BY endpoint, shape, kind";

pub(super) async fn add(
    tx: &mut Tx,
    rows: &[NoiseCount],
    bucket: impl Fn(u64) -> u64,
) -> Result<(), sqlx::Error> {
    for row in rows {
        let sums = &row.sums;
        sqlx::query(ADD)
            .bind(row.endpoint.as_str())
            .bind(&row.shape)
            .bind(&row.kind)
            .bind(to_db(bucket(row.at_ms)))
            .bind(to_db(sums.pairs))
            .bind(to_db(sums.noisy))
            .bind(to_db(sums.suspected_pairs))
            .bind(to_db(sums.suspected_noisy))
            .bind(to_db(sums.moved))
            .bind(to_db(sums.triples))
            .bind(to_db(sums.new_alone))
            .bind(to_db(sums.legacy_alone))
            .bind(to_db(row.at_ms))
            .bind(to_db(row.at_ms))
            .bind(&sums.example)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// One row of [`SELECT`].
#[derive(sqlx::FromRow)]
pub(super) struct Row {
    pub(super) endpoint: String,
    #[sqlx(flatten)]
    place: Place,
    #[sqlx(flatten)]
    counts: Counts,
}

#[derive(sqlx::FromRow)]
struct Place {
    shape: String,
    kind: String,
    first_ms: i64,
    last_ms: i64,
    example: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Counts {
    pairs: i64,
    noisy: i64,
    suspected_pairs: i64,
    suspected_noisy: i64,
    moved: i64,
    triples: i64,
    new_alone: i64,
    legacy_alone: i64,
}

pub(super) async fn select(tx: &mut Tx, since: i64) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(SELECT).bind(since).fetch_all(&mut **tx).await
}

impl Row {
    pub(super) fn total(self) -> NoiseTotal {
        let (place, counts) = (self.place, self.counts);
        NoiseTotal {
            shape: place.shape,
            kind: place.kind,
            sums: NoiseSums {
                pairs: from_db(counts.pairs),
                noisy: from_db(counts.noisy),
                suspected_pairs: from_db(counts.suspected_pairs),
                suspected_noisy: from_db(counts.suspected_noisy),
                moved: from_db(counts.moved),
                triples: from_db(counts.triples),
                new_alone: from_db(counts.new_alone),
                legacy_alone: from_db(counts.legacy_alone),
                example: place.example,
            },
            first_ms: from_db(place.first_ms),
            last_ms: from_db(place.last_ms),
        }
    }
}
