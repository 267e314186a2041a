//! The pages' HTML: one layout, and escaping.
//!
//! What must stay true: every text from the database or the request goes through [`escape`]; every form carries the
//! token of its page, and every page shows it in `<meta name="csrf-token">`.

use std::fmt::Write;

/// A page under construction: the frame and its token.
pub(crate) struct Html {
    token: String,
    title: String,
    body: String,
}

/// Where a form goes.
pub(crate) struct Form<'a> {
    /// The path.
    pub(crate) action: &'a str,
    /// The method that Rails shall see: `_method` for all but `post`.
    pub(crate) method: &'a str,
    /// Path to go to afterwards.
    pub(crate) return_to: &'a str,
    /// Text on the button.
    pub(crate) button: &'a str,
}

impl Html {
    /// An empty page with this title (plain text) and this CSRF token.
    pub(crate) fn new(title: impl Into<String>, token: String) -> Self {
        Self { token, title: title.into(), body: String::new() }
    }

    /// Adds markup; its texts must be escaped.
    pub(crate) fn add(&mut self, markup: impl AsRef<str>) {
        self.body.push_str(markup.as_ref());
        self.body.push('\n');
    }

    /// Adds a form around `fields` (markup).
    pub(crate) fn form(&mut self, form: &Form<'_>, fields: &str) {
        let method = match form.method {
            "post" => String::new(),
            other => hidden("_method", other),
        };
        let token = hidden("authenticity_token", &self.token);
        let return_to = hidden("return_to", form.return_to);
        let (action, button) = (escape(form.action), escape(form.button));
        self.add(format!(
            "<form action=\"{action}\" method=\"post\">{method}{token}{return_to}{fields}\
             <button>{button}</button></form>"
        ));
    }

    /// The whole document.
    pub(crate) fn finish(self) -> String {
        let (title, token, body) = (escape(&self.title), escape(&self.token), self.body);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <title>{title} - Mothership</title>\n\
             <meta name=\"csrf-param\" content=\"authenticity_token\">\n\
             <meta name=\"csrf-token\" content=\"{token}\">\n</head>\n<body>\n\
             <h1>{title}</h1>\n{body}</body>\n</html>\n"
        )
    }
}

/// Text that is safe between tags and inside quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, character| {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
        safe
    })
}

/// An input that is not shown.
pub(crate) fn hidden(name: &str, value: &str) -> String {
    let mut input = String::new();
    // Writing to a String cannot fail.
    write!(input, "<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value))
        .ok();
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_leave_their_place() {
        let mut page = Html::new("<script>", "a\"b".to_owned());
        let form = Form { action: "/x", method: "patch", return_to: "/'", button: "&" };
        page.form(&form, "");
        let html = page.finish();
        assert!(!html.contains("<script>") && html.contains("content=\"a&quot;b\""), "{html}");
        assert!(html.contains("name=\"_method\" value=\"patch\""), "{html}");
        assert!(html.contains("value=\"/&#39;\"") && html.contains("<button>&amp;</button>"));
    }
}
