//! Renderings of a report; one file per form.
//!
//! Owns the choice of form. HTML, Markdown and JUnit join as files of their own; JSON is the model itself by serde. What
//! must stay true: renderers only read the model, never recompute a verdict.

mod terminal;

pub use terminal::{render_gate, render_terminal};

/// How a terminal report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Colour the verdict words; the words carry the meaning, colour is only a help.
    pub colour: bool,
    /// Examples shown per group.
    pub examples: usize,
}

impl Style {
    /// For pipes and files.
    pub fn plain() -> Self {
        Self { colour: false, examples: 3 }
    }

    /// For a terminal.
    pub fn coloured() -> Self {
        Self { colour: true, ..Self::plain() }
    }
}
