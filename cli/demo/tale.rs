//! What the demo tells: headings, remarks, commands with their output. With `--json` it tells nothing.

use super::process::Answer;
use super::world::{World, token};
use crate::output::{Output, Paint};

/// The voice of the demo.
pub(crate) struct Tale {
    output: Output,
}

impl Tale {
    pub(crate) fn new(output: Output) -> Self {
        Self { output }
    }

    /// Whether a person listens.
    fn is_told(&self) -> bool {
        !self.output.is_json()
    }

    pub(crate) fn heading(&self, text: &str) {
        if self.is_told() {
            self.output.line("");
            self.output.line(&self.output.paint(Paint::Strong, &format!("== {text}")));
        }
    }

    /// A remark of the narrator.
    pub(crate) fn say(&self, text: &str) {
        if self.is_told() {
            self.output.line(&format!("   {text}"));
        } else {
            self.output.note(text);
        }
    }

    /// A command that was run, with what it said; at most `most` lines of it.
    pub(crate) fn command(&self, answer: &Answer, most: usize) {
        if !self.is_told() {
            return;
        }
        self.output.line(&self.output.paint(Paint::Good, &format!("$ banyan {}", answer.typed)));
        let lines: Vec<&str> = answer.stdout.lines().chain(answer.stderr.lines()).collect();
        for line in lines.iter().take(most) {
            self.output.line(&format!("  {line}"));
        }
        if lines.len() > most {
            self.output.line(&format!("  .. {} more lines", lines.len() - most));
        }
        if answer.exit != 0 {
            self.output.line(&format!("  exit {}", answer.exit));
        }
    }

    /// What to try next.
    pub(crate) fn next_commands(&self) {
        self.heading("Next");
        for line in [
            "cargo demo -- --stay             keeps this world and its traffic up, and tells how to play with it".to_owned(),
            "banyan config reference          every key of banyan.toml, for your own monolith".to_owned(),
            "banyan check                     checks it, all problems at once".to_owned(),
        ] {
            self.output.line(&format!("   {line}"));
        }
    }

    /// How to reach a world that stays up.
    pub(crate) fn stay(&self, world: &World) {
        self.heading("The world stays up; Ctrl-C ends it");
        let folder = world.folder().display();
        self.output.line(&format!("   cd {folder}"));
        for line in [
            format!(
                "curl -i -H 'Authorization: OAuth {}' {}/users/3/messages",
                token(3),
                world.proxy_url()
            ),
            format!(
                "curl -H 'Authorization: OAuth {}' {}/users/3/messages/unread_count",
                token(3),
                world.proxy_url()
            ),
            format!("curl {}/metrics", world.admin_url()),
            "banyan status --watch".to_owned(),
            "banyan route why GET /users/3/messages".to_owned(),
            "banyan rollback messages --reason 'just trying'".to_owned(),
        ] {
            self.output.line(&format!("   {line}"));
        }
        self.output.line(&format!("   (banyan is {})", world.program().display()));
    }
}
