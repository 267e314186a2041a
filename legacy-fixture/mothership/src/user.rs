//! Users: rows, public JSON, passwords, followings.
//!
//! What must stay true: `USER` of the contract in its key order; `badge` is absent, not null, for free plans.

use crate::{
    MothershipError,
    database::{Arg, Cells, Reader, Tx, padded_list},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The columns of a [`User`], of the table alias `$alias`.
macro_rules! user_columns {
    ($alias:literal) => {
        concat!(
            $alias,
            ".id, ",
            $alias,
            ".permalink, ",
            $alias,
            ".username, ",
            $alias,
            ".avatar_url, ",
            $alias,
            ".plan"
        )
    };
}
pub(crate) use user_columns;

/// `USER` of the public contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) permalink: String,
    pub(crate) username: String,
    pub(crate) avatar_url: Option<String>,
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    badge: Option<&'static str>,
}

/// What a user's own page shows beside `USER`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Profile {
    #[serde(flatten)]
    pub(crate) user: User,
    pub(crate) track_count: i64,
    pub(crate) followers_count: i64,
    pub(crate) followings_count: i64,
    pub(crate) created_at: String,
}

const BY_ID: &str = concat!("SELECT ", user_columns!("u"), " FROM users u WHERE u.id = ?");

const BY_LOGIN: &str = concat!(
    "SELECT u.password_digest, ",
    user_columns!("u"),
    " FROM users u WHERE u.permalink = ? OR u.email = ?"
);

const PROFILE: &str = concat!(
    "SELECT ",
    user_columns!("u"),
    ", (SELECT COUNT(*) FROM tracks WHERE user_id = u.id AND sharing = 'public'), ",
    "(SELECT COUNT(*) FROM followings WHERE followee_id = u.id), ",
    "(SELECT COUNT(*) FROM followings WHERE follower_id = u.id), ",
    "CAST(u.created_at AS CHAR) FROM users u WHERE u.id = ?"
);

const ID_MAX: &str = "SELECT MAX(id) FROM users";

const FOLLOWING: &str = "SELECT id FROM followings WHERE follower_id = ? AND followee_id = ?";

const FOLLOW: &str =
    "INSERT INTO followings (follower_id, followee_id, created_at) VALUES (?, ?, ?)";

impl User {
    /// Reads the columns of `user_columns!`.
    pub(crate) fn read(cells: &mut Cells<'_>) -> Result<Self, MothershipError> {
        let id = cells.int()?;
        Ok(Self {
            id,
            permalink: cells.text()?,
            username: cells.text()?,
            avatar_url: cells.maybe_text()?,
            uri: format!("/users/{id}"),
            badge: (cells.text()? == "pro").then_some("pro"),
        })
    }
}

/// The user with this id.
pub(crate) async fn find(from: &mut impl Reader, id: i64) -> Result<Option<User>, MothershipError> {
    let rows = from.rows(BY_ID.into(), &[id.into()]).await?;
    rows.first().map(|row| User::read(&mut row.cells())).transpose()
}

/// The users with these ids that exist, in the order of `ids`.
pub(crate) async fn find_all(
    from: &mut impl Reader,
    ids: &[i64],
) -> Result<Vec<User>, MothershipError> {
    let (places, args) = padded_list(ids);
    let sql = concat!("SELECT ", user_columns!("u"), " FROM users u WHERE u.id IN ").to_owned();
    let rows = from.rows(format!("{sql}({places})").into(), &args).await?;
    let mut users: Vec<User> =
        rows.iter().map(|row| User::read(&mut row.cells())).collect::<Result<_, _>>()?;
    users.sort_by_key(|user| ids.iter().position(|id| *id == user.id));
    Ok(users)
}

/// The profile of the user with this id.
pub(crate) async fn profile(
    from: &mut impl Reader,
    id: i64,
) -> Result<Option<Profile>, MothershipError> {
    let rows = from.rows(PROFILE.into(), &[id.into()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let mut cells = row.cells();
    Ok(Some(Profile {
        user: User::read(&mut cells)?,
        track_count: cells.int()?,
        followers_count: cells.int()?,
        followings_count: cells.int()?,
        created_at: fixture_passport::time::rails(&cells.text()?),
    }))
}

/// The user who logs in with permalink or email and password.
pub(crate) async fn authenticate(
    from: &mut impl Reader,
    login: &str,
    password: &str,
) -> Result<Option<User>, MothershipError> {
    let rows = from.rows(BY_LOGIN.into(), &[login.into(), login.into()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let mut cells = row.cells();
    let digest = cells.text()?;
    let user = User::read(&mut cells)?;
    Ok(password_matches(&digest, password).then_some(user))
}

/// The highest user id; 0 without users.
pub(crate) async fn id_max(from: &mut impl Reader) -> Result<i64, MothershipError> {
    let rows = from.rows(ID_MAX.into(), &[]).await?;
    let id = rows.first().map(|row| row.cells().maybe_int()).transpose()?.flatten();
    Ok(id.unwrap_or_default())
}

/// The id of the following, if one follows the other.
pub(crate) async fn following(
    from: &mut impl Reader,
    follower_id: i64,
    followee_id: i64,
) -> Result<Option<i64>, MothershipError> {
    let rows = from.rows(FOLLOWING.into(), &[follower_id.into(), followee_id.into()]).await?;
    rows.first().map(|row| row.cells().int()).transpose()
}

/// Stores that one follows the other; gives the new id.
pub(crate) async fn follow(
    tx: &mut Tx,
    follower_id: i64,
    followee_id: i64,
    now: &str,
) -> Result<i64, MothershipError> {
    let args: [Arg; 3] = [follower_id.into(), followee_id.into(), now.into()];
    Ok(tx.execute(FOLLOW.into(), &args).await?.id)
}

/// `sha256$<salt>$<digest>`: fast on purpose, thousands are seeded; no password here protects anything.
pub(crate) fn password_digest(salt: &str, password: &str) -> String {
    let digest = Sha256::digest(format!("{salt}:{password}"));
    format!("sha256${salt}${}", URL_SAFE_NO_PAD.encode(digest))
}

fn password_matches(digest: &str, password: &str) -> bool {
    let salt = digest.split('$').nth(1).unwrap_or_default();
    digest == password_digest(salt, password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_matches_its_password_only() {
        let digest = password_digest("ada-3", "secret");
        assert!(password_matches(&digest, "secret"));
        assert!(!password_matches(&digest, "Secret"));
        assert!(!password_matches("", ""));
    }
}
