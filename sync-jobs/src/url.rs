//! The addresses of the two sides' databases.
//!
//! What must stay true: an address never shows up in a message or a log, since it holds a password.

use std::fmt;

use banyan_domain::Side;

use crate::dialect::Engine;
use crate::error::SyncError;

/// The addresses of both databases: `sqlite:path`, `postgres://..`, `mysql://..` or `mariadb://..`.
#[derive(Clone, PartialEq, Eq)]
pub struct SideUrls {
    /// The monolith's database.
    pub legacy: String,
    /// The service's database.
    pub new: String,
}

impl SideUrls {
    /// The address of one side.
    pub fn of(&self, side: Side) -> &str {
        match side {
            Side::Legacy => &self.legacy,
            Side::New => &self.new,
        }
    }

    /// The engine of one side, by the address's scheme.
    ///
    /// # Errors
    /// [`SyncError::Scheme`] for a scheme that is none of the three engines'.
    pub fn engine(&self, side: Side) -> Result<Engine, SyncError> {
        let scheme = self.of(side).split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            "sqlite" => Ok(Engine::Sqlite),
            "postgres" | "postgresql" => Ok(Engine::Postgres),
            "mysql" | "mariadb" => Ok(Engine::MySql),
            other => Err(SyncError::Scheme { side, scheme: other.to_owned() }),
        }
    }
}

impl fmt::Debug for SideUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SideUrls").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_says_the_engine_and_debug_hides_the_password() {
        let urls = SideUrls {
            legacy: "mariadb://root:hush@localhost/m".to_owned(),
            new: "oracle:x".to_owned(),
        };
        assert!(matches!(urls.engine(Side::Legacy), Ok(Engine::MySql)));
        assert!(matches!(urls.engine(Side::New), Err(SyncError::Scheme { .. })));
        assert!(!format!("{urls:?}").contains("hush"));
    }
}
