//! Opens the control store for a command and says its errors in the command's words.

use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use banyan_control::{CommitError, ControlError, ControlStore};
use banyan_domain::{Actor, Refusal};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The store of the configuration.
///
/// # Errors
/// Exit 6 when it cannot be reached, with the store's own hint.
pub(crate) async fn open(config: &Config) -> Result<Arc<dyn ControlStore>, Failure> {
    banyan_control::open(&config.control.store).await.map_err(|error| store_failure(&error))
}

/// The store of the configuration, for commands that only look: they never make one.
///
/// # Errors
/// Exit 6 when there is none yet or it cannot be reached, with the store's own hint.
pub(crate) async fn look(config: &Config) -> Result<Arc<dyn ControlStore>, Failure> {
    let store = banyan_control::open_existing(&config.control.store).await;
    store.map_err(|error| store_failure(&error))
}

/// A store error as a failure.
pub(crate) fn store_failure(error: &ControlError) -> Failure {
    let is_config = matches!(error, ControlError::Unsupported { .. });
    let exit = if is_config { Exit::Config } else { Exit::Unreachable };
    Failure::of(error.code(), exit, "cannot use the control store", error).hint(error.hint())
}

/// A refused or failed change as a failure; `doing` names the act, such as "cannot flip `messages.list`".
pub(crate) fn commit_failure(doing: &str, error: CommitError) -> Failure {
    match error {
        CommitError::Store(error) => store_failure(&error),
        CommitError::Refused(refusal) => refused(doing, &refusal),
        stale @ CommitError::Stale { .. } => {
            Failure::new("banyan::flip::stale", Exit::Refused, format!("{doing}: {stale}"))
                .hint("look at the newer state first: banyan status; then try again")
        }
    }
}

fn refused(doing: &str, refusal: &Refusal) -> Failure {
    let is_name =
        matches!(refusal, Refusal::UnknownEndpoint { .. } | Refusal::UnknownContext { .. });
    let exit = if is_name { Exit::Usage } else { Exit::Refused };
    Failure::new(refusal.code(), exit, format!("{doing}: {refusal}")).hint(refusal.hint())
}

/// Now, in Unix ms.
pub(crate) fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Who acts: the name given, else the login name.
pub(crate) fn actor(who: &crate::args::Who) -> Actor {
    let login =
        || ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    Actor {
        name: who.name.clone().or_else(login).unwrap_or_else(|| "unknown".to_owned()),
        reason: who.reason.clone(),
        at_ms: now_ms(),
    }
}
