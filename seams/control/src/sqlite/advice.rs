//! Advice of the shadow reads, in SQLite.
//!
//! Owns its tables. What must stay true: sums only grow until a row is over its time; every table is bounded.

use super::number::{from_db, to_db};
use super::{File, Tx};
use crate::advice::{Advice, LostCount, SuggestionCount, TemplateCount};
use crate::error::ControlError;
use banyan_domain::EndpointName;

/// The tables, created by the migration.
pub(super) const CREATE: &str = "
CREATE TABLE shadow_template (
    method TEXT NOT NULL, path TEXT NOT NULL, query TEXT NOT NULL, status TEXT NOT NULL,
    media TEXT NOT NULL,
    count INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    PRIMARY KEY (method, path, query, status, media)
) WITHOUT ROWID;
CREATE INDEX shadow_template_by_time ON shadow_template (last_ms);
CREATE TABLE shadow_template_lost (
    reason TEXT PRIMARY KEY, count INTEGER NOT NULL, last_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE shadow_suggestion (
    endpoint TEXT NOT NULL, shape TEXT NOT NULL, kind TEXT NOT NULL, transition TEXT NOT NULL,
    rule TEXT NOT NULL,
    explained INTEGER NOT NULL, seen INTEGER NOT NULL, hides_breaking INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (endpoint, shape, kind, transition, rule)
) WITHOUT ROWID;
CREATE INDEX shadow_suggestion_by_time ON shadow_suggestion (last_ms);
";

/// Deletes what is over its time.
pub(super) const DELETE_OLD: [&str; 3] = [
    "DELETE FROM shadow_template WHERE last_ms < ?",
    "DELETE FROM shadow_template_lost WHERE last_ms < ?",
    "DELETE FROM shadow_suggestion WHERE last_ms < ?",
];

/// Keeps the newest 20,000 templates and 10,000 suggestions.
pub(super) const TRIM: [&str; 2] = [
    "DELETE FROM shadow_template WHERE last_ms < \
    (SELECT last_ms FROM shadow_template ORDER BY last_ms DESC LIMIT 1 OFFSET 20000)",
    "DELETE FROM shadow_suggestion WHERE last_ms < \
    (SELECT last_ms FROM shadow_suggestion ORDER BY last_ms DESC LIMIT 1 OFFSET 10000)",
];

/// Forgets what belongs to an endpoint.
pub(super) const FORGET: &str = "DELETE FROM shadow_suggestion WHERE endpoint = ?";

const ADD_TEMPLATE: &str = "INSERT INTO shadow_template (method, path, query, status, media, count, last_ms) \
    VALUES (?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT (method, path, query, status, media) DO UPDATE SET count = count + excluded.count, \
    last_ms = MAX(last_ms, excluded.last_ms)";
const ADD_LOST: &str = "INSERT INTO shadow_template_lost (reason, count, last_ms) VALUES (?, ?, ?) \
    ON CONFLICT (reason) DO UPDATE SET count = count + excluded.count, \
    last_ms = MAX(last_ms, excluded.last_ms)";
const ADD_SUGGESTION: &str = "INSERT INTO shadow_suggestion \
    (endpoint, shape, kind, transition, rule, explained, seen, hides_breaking, last_ms) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT (endpoint, shape, kind, transition, rule) DO UPDATE SET \
    explained = explained + excluded.explained, seen = seen + excluded.seen, \
    hides_breaking = hides_breaking + excluded.hides_breaking, \
    last_ms = MAX(last_ms, excluded.last_ms)";

const SELECT_TEMPLATES: &str = "SELECT method, path, query, status, media, count, last_ms \
    FROM shadow_template WHERE last_ms >= ? ORDER BY path, method, query, status, media";
const SELECT_LOST: &str =
    "SELECT reason, count, last_ms FROM shadow_template_lost WHERE last_ms >= ? ORDER BY reason";
const SELECT_SUGGESTIONS: &str = "SELECT endpoint, shape, kind, transition, rule, explained, seen, hides_breaking, \
    last_ms FROM shadow_suggestion WHERE last_ms >= ? \
    ORDER BY endpoint, shape, kind, transition, rule";

pub(super) async fn add(tx: &mut Tx, advice: &Advice) -> Result<(), sqlx::Error> {
    for row in &advice.templates {
        sqlx::query(ADD_TEMPLATE)
            .bind(&row.method)
            .bind(&row.path)
            .bind(&row.query)
            .bind(&row.status)
            .bind(&row.media)
            .bind(to_db(row.count))
            .bind(to_db(row.at_ms))
            .execute(&mut **tx)
            .await?;
    }
    for row in &advice.lost {
        let add = sqlx::query(ADD_LOST).bind(&row.reason).bind(to_db(row.count));
        add.bind(to_db(row.at_ms)).execute(&mut **tx).await?;
    }
    for row in &advice.suggestions {
        sqlx::query(ADD_SUGGESTION)
            .bind(row.endpoint.as_str())
            .bind(&row.shape)
            .bind(&row.kind)
            .bind(&row.transition)
            .bind(&row.rule)
            .bind(to_db(row.explained))
            .bind(to_db(row.seen))
            .bind(to_db(row.hides_breaking))
            .bind(to_db(row.at_ms))
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

type TemplateRow = (String, String, String, String, String, i64, i64);
type LostRow = (String, i64, i64);
type SuggestionRow = (String, String, String, String, String, i64, i64, i64, i64);

/// What was last seen at or after a moment; the counts are over all time that is kept.
pub(super) async fn all(file: &File, since_ms: u64) -> Result<Advice, ControlError> {
    let mut tx = file.read().await?.begin().await.map_err(|error| file.fail(error))?;
    let since = to_db(since_ms);
    let fail = |error| file.fail(error);
    let templates: Vec<TemplateRow> =
        sqlx::query_as(SELECT_TEMPLATES).bind(since).fetch_all(&mut *tx).await.map_err(fail)?;
    let lost: Vec<LostRow> =
        sqlx::query_as(SELECT_LOST).bind(since).fetch_all(&mut *tx).await.map_err(fail)?;
    let suggestions: Vec<SuggestionRow> =
        sqlx::query_as(SELECT_SUGGESTIONS).bind(since).fetch_all(&mut *tx).await.map_err(fail)?;
    Ok(Advice {
        templates: templates.into_iter().map(template).collect(),
        lost: lost
            .into_iter()
            .map(|(reason, count, at_ms)| LostCount {
                at_ms: from_db(at_ms),
                reason,
                count: from_db(count),
            })
            .collect(),
        suggestions: suggestions.into_iter().map(suggestion).collect::<Result<_, _>>()?,
    })
}

fn template(row: TemplateRow) -> TemplateCount {
    let (method, path, query, status, media, count, at_ms) = row;
    let (count, at_ms) = (from_db(count), from_db(at_ms));
    TemplateCount { at_ms, method, path, query, status, media, count }
}

fn suggestion(row: SuggestionRow) -> Result<SuggestionCount, ControlError> {
    let (endpoint, shape, kind, transition, rule, explained, seen, hides_breaking, at_ms) = row;
    let endpoint = EndpointName::new(&endpoint).map_err(|error| ControlError::Unreadable {
        what: "the shadow suggestions".to_owned(),
        source: Box::new(error),
    })?;
    Ok(SuggestionCount {
        at_ms: from_db(at_ms),
        endpoint,
        shape,
        kind,
        transition,
        rule,
        explained: from_db(explained),
        seen: from_db(seen),
        hides_breaking: from_db(hides_breaking),
    })
}
