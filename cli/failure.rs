//! A command that could not do its work: the one form in which errors reach people and programs.
//!
//! Owns code, message, cause chain, hint and exit code. It exists so that every error is printed once, the same
//! way, with a remedy. What must stay true: no secret and no row data in a message.

use crate::config::problem::{self, Problem};
use crate::exit::Exit;
use crate::output::{Output, Paint};
use serde_json::json;
use std::error::Error;
use std::path::Path;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Stable code, key of `banyan explain`.
    pub(crate) code: &'static str,
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) because: Vec<String>,
    pub(crate) hint: Option<String>,
    /// Problems of the configuration: location, message, snippet and hint.
    details: Vec<Detail>,
}

#[derive(Debug)]
struct Detail {
    location: String,
    message: String,
    snippet: Option<String>,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: &'static str, exit: Exit, message: impl Into<String>) -> Self {
        Self {
            code,
            exit,
            message: message.into(),
            because: Vec::new(),
            hint: None,
            details: Vec::new(),
        }
    }

    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.because.push(cause.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Takes over an error and its chain of sources.
    pub(crate) fn of(code: &'static str, exit: Exit, doing: &str, error: &dyn Error) -> Self {
        let mut failure = Self::new(code, exit, doing.to_owned()).because(error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some errors already end with the words of their cause.
            if !failure.because.last().is_some_and(|last| last.ends_with(&text)) {
                failure.because.push(text);
            }
            source = cause.source();
        }
        failure
    }

    /// All problems of a configuration file.
    pub(crate) fn config(file: &Path, text: &str, problems: Vec<Problem>) -> Self {
        let file = file.display().to_string();
        let count = problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        let mut failure = Self::new(
            "banyan::config::invalid",
            Exit::Config,
            format!("`{file}` has {count} {noun}"),
        );
        failure.details = problems
            .into_iter()
            .map(|found| Detail {
                location: problem::location(&file, text, &found),
                snippet: problem::snippet(text, &found),
                message: found.message,
                hint: found.hint,
            })
            .collect();
        failure
    }

    /// Prints the failure on stderr, for people or as one JSON object.
    pub(crate) fn print(&self, output: &Output) {
        if output.is_json() {
            output.error_line(&self.to_json().to_string());
            return;
        }
        output.error_line(&format!(
            "{}: {}",
            output.paint(Paint::Bad, &format!("error[{}]", self.code)),
            self.message
        ));
        for detail in &self.details {
            output.error_line("");
            output.error_line(&format!(
                "{}: {}",
                output.paint(Paint::Strong, &detail.location),
                detail.message
            ));
            if let Some(snippet) = &detail.snippet {
                output.error_line(snippet);
            }
            if let Some(hint) = &detail.hint {
                output.error_line(&format!("  hint: {hint}"));
            }
        }
        for cause in &self.because {
            output.error_line(&format!("because: {cause}"));
        }
        if let Some(hint) = &self.hint {
            output.error_line("");
            output.error_line(&format!("hint: {hint}"));
        }
    }

    /// Location and message of each detail, for tests.
    #[cfg(test)]
    pub(crate) fn detail_lines(&self) -> Vec<String> {
        let line = |d: &Detail| {
            let hint = d.hint.as_ref().map_or(String::new(), |hint| format!(" (hint: {hint})"));
            format!("{}: {}{hint}", d.location, d.message)
        };
        self.details.iter().map(line).collect()
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "error": {
                "code": self.code,
                "exit": self.exit.number(),
                "message": self.message,
                "because": self.because,
                "hint": self.hint,
                "retryable": self.exit == Exit::Unreachable,
                "problems": self.details.iter().map(|detail| json!({
                    "location": detail.location,
                    "message": detail.message,
                    "hint": detail.hint,
                })).collect::<Vec<_>>(),
            }
        })
    }
}
