//! Key placeholders of a mapping's select.
//!
//! A computed root key cannot use an index, so a select may ask for the keys' parts: `{keys}` is the
//! list of keys as text literals, `{keys.2}` the list of their second parts, `{key_rows}` a derived
//! table `(k, k1, k2, ..)` to join with.
//!
//! What must stay true: keys reach SQL only through the dialect's literals; a placeholder that is not
//! known is refused at check time, never sent to a database.

use banyan_engine::{KeyShape, RootKey, Value};

use crate::dialect::{Dialect, KeyRow, part_value};
use crate::error::SyncError;

const ROWS: &str = "{key_rows}";
const LIST: &str = "{keys}";

/// What is wrong with the placeholders of a select.
pub(crate) fn problems(select: &str, shape: &KeyShape) -> Vec<String> {
    let mut found = Vec::new();
    let mut any = false;
    for name in placeholders(select) {
        let known = name == "keys" || name == "key_rows";
        let part = name.strip_prefix("keys.").and_then(|n| n.parse::<usize>().ok());
        any |= known || part.is_some();
        match part {
            Some(n) if n == 0 || n > shape.parts().len() => found.push(format!(
                "`{{{name}}}` needs part {n} of the key, `parts` declares {}",
                shape.parts().len()
            )),
            None if !known => found.push(format!(
                "unknown placeholder `{{{name}}}`; known are {LIST}, {{keys.N}} and {ROWS}"
            )),
            Some(_) | None => {}
        }
    }
    if !any {
        found.push(format!("must be limited to the given roots by {LIST}, {{keys.N}} or {ROWS}"));
    }
    found
}

/// The select for these keys.
///
/// # Errors
/// A key that does not have the declared parts, or that the engine cannot hold.
pub(crate) fn expand(
    select: &str,
    dialect: &dyn Dialect,
    shape: &KeyShape,
    keys: &[RootKey],
) -> Result<String, SyncError> {
    let mut rows = Vec::with_capacity(keys.len());
    for key in keys {
        let parts = shape.split(key).map_err(|source| SyncError::Key { source })?;
        rows.push(KeyRow { key: key.clone(), parts });
    }
    let mut sql = select.trim().trim_end_matches(';').to_owned();
    if sql.contains(LIST) {
        let list = literals(dialect, keys.iter().map(text_of))?;
        sql = sql.replace(LIST, &list);
    }
    for n in 0..shape.parts().len() {
        let mark = format!("{{keys.{}}}", n + 1);
        if sql.contains(&mark) {
            let parts = rows.iter().filter_map(|row| row.parts.get(n)).map(part_value);
            sql = sql.replace(&mark, &literals(dialect, parts)?);
        }
    }
    if sql.contains(ROWS) {
        let rows = dialect.key_rows(&rows, shape.parts());
        sql = sql.replace(ROWS, &rows.map_err(|source| SyncError::KeyValue { source })?);
    }
    Ok(sql)
}

/// A comma-separated list of literals.
pub(crate) fn literals(
    dialect: &dyn Dialect,
    values: impl Iterator<Item = Value>,
) -> Result<String, SyncError> {
    let mut list = String::new();
    for value in values {
        if !list.is_empty() {
            list.push(',');
        }
        dialect.push_literal(&value, &mut list).map_err(|source| SyncError::KeyValue { source })?;
    }
    Ok(list)
}

fn text_of(key: &RootKey) -> Value {
    Value::Text(key.as_str().to_owned())
}

/// The names between `{` and `}`.
fn placeholders(select: &str) -> impl Iterator<Item = &str> {
    select.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Engine;
    use banyan_engine::PartKind;

    fn pair() -> KeyShape {
        KeyShape::new(":", vec![PartKind::Integer, PartKind::Integer])
    }

    #[test]
    fn keys_become_literals_of_the_engine() {
        let keys = [RootKey::new("3:17"), RootKey::new("5:5")];
        let sqlite = Engine::Sqlite.dialect();
        let sql = expand("x IN ({keys}) y IN ({keys.2})", sqlite, &pair(), &keys).unwrap();
        assert_eq!(sql, "x IN ('3:17','5:5') y IN (17,5)");
        let rows = expand("FROM {key_rows} AS root", sqlite, &pair(), &keys).unwrap();
        assert!(rows.contains("VALUES ('3:17',3,17),('5:5',5,5)"), "{rows}");
    }

    #[test]
    fn a_key_with_a_quote_stays_data() {
        let opaque = KeyShape::new(":", vec![]);
        for engine in Engine::ALL {
            let keys = [RootKey::new("'); DROP TABLE users; --\\")];
            let sql = expand("{keys}", engine.dialect(), &opaque, &keys).unwrap();
            let quoted = "'''); DROP TABLE users; --\\'";
            assert!(sql == quoted || sql.starts_with("_utf8mb4 X'2729"), "{sql}");
        }
    }

    #[test]
    fn unknown_placeholders_and_missing_ones_are_named() {
        assert_eq!(problems("SELECT {kyes}", &pair()).len(), 2);
        assert_eq!(problems("SELECT {keys.3}", &pair()).len(), 1);
        assert!(problems("{key_rows} {keys} {keys.1}", &pair()).is_empty());
    }
}
