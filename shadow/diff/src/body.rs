//! Two bodies: what form they have, and the comparison for that form.
//!
//! Owns the choice between JSON, sequences of it, forms, pages, text and binary. The declared type is a claim: a body
//! that says JSON and does not parse is text. Must stay true: equal bytes never get here; what could not be read within
//! the limits is an error of the comparison, never an empty difference.

use std::borrow::Cow;

use crate::budget::Meter;
use crate::difference::{Difference, Kind, Part, ValueChange};
use crate::findings::Findings;
use crate::header::media_type;
use crate::html::{self, Dom, Scope};
use crate::json::{self, Doc, Limits};
use crate::media::{self, Claim};
use crate::pairs::Pairs;
use crate::rule::{BODY_ENCODING, HTML_TEXT, JSON_TEXT};
use crate::{
    Budget, Fragment, Obs, RuleSet, Sides, Why, binary, charset, path, record, text, tree,
};

/// One side's answer with its decoded body.
pub(crate) struct Decoded<'a> {
    pub(crate) obs: &'a Obs<'a>,
    pub(crate) body: &'a [u8],
}

/// A body on its way to a form: what it seems to be, and the bytes that are parsed.
struct Source<'a> {
    guess: Claim,
    bytes: Cow<'a, [u8]>,
    /// Bytes of a page that its charset does not allow.
    malformed: Vec<u8>,
}

/// A body in the form that it is compared in.
enum Form<'a> {
    Empty,
    Json(Doc<'a>),
    Html(Dom),
    Text,
    Binary,
}

/// Compares two different bodies.
pub(crate) fn compare(
    legacy: &Decoded<'_>,
    new: &Decoded<'_>,
    rules: &RuleSet,
    budget: &Budget,
    findings: &mut Findings,
) -> Result<(), Why> {
    let mut meter = Meter::new(budget);
    meter.charge((legacy.body.len() + new.body.len()) / 64)?;
    let (mut a, mut b) = (legacy.source(budget)?, new.source(budget)?);
    // Both at once: reading one body is in vain when the other cannot be afforded.
    let parsed = |source: &&Source<'_>| {
        matches!(source.guess, Claim::Json | Claim::Ndjson | Claim::Events | Claim::Pairs)
    };
    meter.charge([&a, &b].into_iter().filter(parsed).map(|source| source.bytes.len()).sum())?;
    let moved = pairs(&mut a, &mut b)?;
    let page = [&a, &b].iter().any(|source| media::looks_like_page(&source.bytes));
    let scope = if page { Scope::Page } else { Scope::Fragment };
    let form_a = legacy.form(&a, scope, None, budget, &mut meter)?;
    let beside = if let Form::Json(doc) = &form_a { Some(doc) } else { None };
    let form_b = new.form(&b, scope, beside, budget, &mut meter)?;
    findings
        .content_type_lies(Sides { legacy: legacy.lies(&a, &form_a), new: new.lies(&b, &form_b) });
    match (form_a, form_b) {
        (Form::Json(x), Form::Json(y)) => {
            let before = findings.seen();
            if moved > 0 {
                reordered(&x, &y, moved, findings);
            }
            tree::compare(&x, &y, rules, findings, &mut meter)?;
            if findings.seen() == before {
                let form = a.guess == Claim::Pairs;
                findings.hide(if form { BODY_ENCODING } else { JSON_TEXT }, "body");
            }
        }
        (Form::Html(x), Form::Html(y)) => {
            let before = findings.seen();
            html::compare(&x, &y, rules, findings, &mut meter)?;
            if findings.seen() == before {
                if a.malformed == b.malformed {
                    findings.hide(HTML_TEXT, "body");
                } else {
                    malformed(&a.malformed, &b.malformed, findings);
                }
            }
        }
        (Form::Text, Form::Text) => {
            lines_fit(legacy.body, budget)?;
            lines_fit(new.body, budget)?;
            texts(legacy, new, rules, findings, &mut meter)?;
        }
        (x, y) => {
            // The only action that a whole body can have is `ignore`.
            if let Some(rule) = rules.at_body().next() {
                findings.hide(&rule.id(), "body");
            } else if matches!((&x, &y), (Form::Binary | Form::Text, Form::Binary | Form::Text)) {
                binary::report(legacy.body, new.body, findings);
            } else {
                other_form((legacy.body, &x), (new.body, &y), findings);
            }
        }
    }
    Ok(())
}

/// Turns forms into objects; a name that one side repeats is a list on both. Returns how many names moved.
fn pairs(a: &mut Source<'_>, b: &mut Source<'_>) -> Result<usize, Why> {
    let read = |source: &Source<'_>| {
        let form = source.guess == Claim::Pairs;
        Pairs::of(if form { &source.bytes } else { b"" })
    };
    if a.guess != Claim::Pairs && b.guess != Claim::Pairs {
        return Ok(0);
    }
    let (object_a, object_b, moved) = Pairs::join(&read(a)?, &read(b)?);
    if a.guess == Claim::Pairs {
        a.bytes = Cow::Owned(object_a);
    }
    if b.guess == Claim::Pairs {
        b.bytes = Cow::Owned(object_b);
    }
    Ok(moved)
}

fn reordered(legacy: &Doc<'_>, new: &Doc<'_>, moved: usize, findings: &mut Findings) {
    let kind = Kind::ArrayReordered { moved: u32::try_from(moved).unwrap_or(u32::MAX) };
    let mut location = path::plain(Part::Body);
    "$".clone_into(&mut location.path);
    "$".clone_into(&mut location.shape);
    findings.push(Difference {
        location,
        kind,
        legacy: Some(Fragment::of_json(legacy, Doc::ROOT)),
        new: Some(Fragment::of_json(new, Doc::ROOT)),
        severity: kind.severity(),
        hint: None,
    });
}

/// Two pages that show the same but for bytes that their charset does not allow.
fn malformed(legacy: &[u8], new: &[u8], findings: &mut Findings) {
    let kind = Kind::ValueChanged { sub: ValueChange::Encoding };
    findings.push(Difference {
        location: path::plain(Part::Body),
        kind,
        legacy: Some(binary::describe(legacy)),
        new: Some(binary::describe(new)),
        severity: kind.severity(),
        hint: None,
    });
}

/// A line costs as much memory as a node of JSON.
fn lines_fit(text: &[u8], budget: &Budget) -> Result<(), Why> {
    let lines = text.split(|byte| *byte == b'\n').count();
    let fits = u32::try_from(lines).is_ok_and(|lines| lines <= budget.nodes_of(text.len()));
    if fits { Ok(()) } else { Err(Why::OverBudget) }
}

/// Texts in two charsets are compared as what they show; in one charset as the bytes they are.
fn texts(
    legacy: &Decoded<'_>,
    new: &Decoded<'_>,
    rules: &RuleSet,
    findings: &mut Findings,
    meter: &mut Meter,
) -> Result<(), Why> {
    let charsets = (charset::of_text(legacy.obs, legacy.body), charset::of_text(new.obs, new.body));
    if charsets.0 == charsets.1 {
        return text::compare(legacy.body, new.body, rules, findings, meter);
    }
    let a = charset::decode(charsets.0, legacy.body)?;
    let b = charset::decode(charsets.1, new.body)?;
    if a.malformed != b.malformed {
        return text::compare(legacy.body, new.body, rules, findings, meter);
    }
    if a.text == b.text {
        findings.hide(BODY_ENCODING, "body");
        return Ok(());
    }
    text::compare(a.text.as_bytes(), b.text.as_bytes(), rules, findings, meter)
}

fn other_form(legacy: (&[u8], &Form<'_>), new: (&[u8], &Form<'_>), findings: &mut Findings) {
    let kind = Kind::TypeChanged;
    findings.push(Difference {
        location: path::plain(Part::Body),
        kind,
        legacy: Some(fragment(legacy.0, legacy.1)),
        new: Some(fragment(new.0, new.1)),
        severity: kind.severity(),
        hint: None,
    });
}

fn fragment(body: &[u8], form: &Form<'_>) -> Fragment {
    match form {
        Form::Empty | Form::Text | Form::Html(_) => Fragment::of_text(body),
        Form::Json(doc) => Fragment::of_json(doc, Doc::ROOT),
        Form::Binary => binary::describe(body),
    }
}

/// Whether bytes are JSON, or would be but for a limit, which the parse will then report.
fn may_be_json(bytes: &[u8]) -> bool {
    json::check_json(bytes).map_or_else(|error| error.kind.is_limit(), |()| true)
}

impl<'a> Source<'a> {
    fn of(guess: Claim, bytes: Cow<'a, [u8]>) -> Self {
        Self { guess, bytes, malformed: Vec::new() }
    }
}

impl<'a> Decoded<'a> {
    fn media(&self) -> String {
        self.obs.header("content-type").map(media_type).unwrap_or_default()
    }

    /// What the body seems to be, as bytes ready to be parsed.
    fn source(&self, budget: &Budget) -> Result<Source<'a>, Why> {
        let media = self.media();
        let claim = Claim::of(&media);
        let bytes = Cow::Borrowed(media::without_mark(self.body));
        let lies = claim.may_lie(&media);
        match claim {
            Claim::Ndjson | Claim::Events => {
                lines_fit(&bytes, budget)?;
                let ndjson = claim == Claim::Ndjson;
                let array = if ndjson { record::ndjson(&bytes) } else { record::events(&bytes) };
                Ok(self.sequence(claim, array))
            }
            _ if (lies || claim == Claim::Json) && media::looks_like_page(self.body) => self.page(),
            Claim::Json => Ok(Source::of(claim, self.json_bytes()?)),
            _ if lies && media::looks_like_json(self.body) && may_be_json(&bytes) => {
                Ok(Source::of(Claim::Json, bytes))
            }
            Claim::Html => self.page(),
            Claim::Nothing | Claim::Pairs | Claim::Text | Claim::Binary => {
                Ok(Source::of(claim, bytes))
            }
        }
    }

    fn sequence(&self, claim: Claim, array: Option<Vec<u8>>) -> Source<'a> {
        match array {
            Some(array) => Source::of(claim, Cow::Owned(array)),
            None => Source::of(Claim::Text, Cow::Borrowed(self.body)),
        }
    }

    fn page(&self) -> Result<Source<'a>, Why> {
        let decoded = charset::decode(charset::of_page(self.obs, self.body), self.body)?;
        let bytes = match decoded.text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Ok(Source { guess: Claim::Html, bytes, malformed: decoded.malformed })
    }

    /// JSON is UTF-8; another charset counts only where the header names it and UTF-8 does not fit.
    fn json_bytes(&self) -> Result<Cow<'a, [u8]>, Why> {
        let bytes = media::without_mark(self.body);
        match charset::declared(self.obs) {
            Some(encoding) if std::str::from_utf8(bytes).is_err() => {
                let decoded = charset::decode(encoding, self.body)?;
                let whole = decoded.malformed.is_empty();
                Ok(if whole {
                    Cow::Owned(decoded.text.into_owned().into_bytes())
                } else {
                    bytes.into()
                })
            }
            Some(_) | None => Ok(Cow::Borrowed(bytes)),
        }
    }

    /// Reads a body; `beside` is the document that it is probably much like.
    fn form<'s>(
        &self,
        source: &'s Source<'_>,
        scope: Scope,
        beside: Option<&Doc<'_>>,
        budget: &Budget,
        meter: &mut Meter,
    ) -> Result<Form<'s>, Why> {
        if self.body.is_empty() {
            return Ok(Form::Empty);
        }
        match source.guess {
            Claim::Json | Claim::Ndjson | Claim::Events | Claim::Pairs => {
                let limits = Limits { nodes: budget.nodes_of(source.bytes.len()) };
                let read = match beside {
                    Some(other) => json::parse_beside(&source.bytes, limits, other),
                    None => json::parse(&source.bytes, limits),
                };
                match read {
                    Ok(doc) => return Ok(Form::Json(doc)),
                    Err(error) if error.kind == json::JsonErrorKind::TooDeep => {
                        return Err(Why::TooDeep);
                    }
                    Err(error) if error.kind.is_limit() => return Err(Why::OverBudget),
                    Err(_) => {}
                }
            }
            Claim::Html => {
                let text = std::str::from_utf8(&source.bytes).map_err(|_| Why::Undecodable)?;
                return html::parse(text, scope, meter).map(Form::Html);
            }
            Claim::Nothing | Claim::Text | Claim::Binary => {}
        }
        Ok(match Claim::of(&self.media()) {
            Claim::Text | Claim::Html | Claim::Pairs => Form::Text,
            Claim::Binary => Form::Binary,
            Claim::Nothing | Claim::Json | Claim::Ndjson | Claim::Events => {
                let plain = !self.body.contains(&0) && std::str::from_utf8(self.body).is_ok();
                if plain { Form::Text } else { Form::Binary }
            }
        })
    }

    /// Whether the header claims another form than the one found.
    fn lies(&self, source: &Source<'_>, form: &Form<'_>) -> bool {
        let found = match form {
            Form::Empty => return false,
            Form::Json(_) | Form::Html(_) => source.guess,
            Form::Text => Claim::Text,
            Form::Binary => Claim::Binary,
        };
        let claim = Claim::of(&self.media());
        claim != Claim::Nothing && claim != found
    }
}
