//! What the benchmark says: the result on standard output, everything else on standard error.

use crate::{BenchError, failed};
use std::io::Write;

/// Prints the result.
pub(crate) fn answer(text: &str) -> Result<(), BenchError> {
    std::io::stdout().write_all(text.as_bytes()).map_err(failed("print"))
}

/// Says what runs now.
pub(crate) fn progress(round: u64, rounds: u64, title: &str) {
    // A closed standard error loses nothing that counts.
    writeln!(std::io::stderr(), "round {round}/{rounds}: {title}").unwrap_or_default();
}

/// Says why the benchmark cannot run.
pub(crate) fn complain(text: &str) {
    writeln!(std::io::stderr(), "error: {text}").unwrap_or_default();
}
