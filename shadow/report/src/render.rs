//! Renderings of a report; one file per form.
//!
//! Owns the choice of form. JSON is the model itself by serde. What must stay true: renderers only read the model, never
//! recompute a verdict; what they leave out for length they say.

mod html;
mod junit;
mod line;
mod markdown;
mod terminal;

pub use html::{HtmlFile, render_html, render_html_inline};
pub use junit::render_junit;
pub use markdown::{MARKDOWN_BYTES_MAX, render_markdown};
pub use terminal::{render_gate, render_terminal};

/// How a terminal report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Colour the verdict words; the words carry the meaning, colour is only a help.
    pub colour: bool,
    /// Examples shown per group.
    pub examples: usize,
    /// Groups shown per endpoint, the worst first.
    pub groups: usize,
}

impl Style {
    /// For pipes and files.
    pub fn plain() -> Self {
        Self { colour: false, examples: 3, groups: 200 }
    }

    /// For a terminal.
    pub fn coloured() -> Self {
        Self { colour: true, ..Self::plain() }
    }
}
