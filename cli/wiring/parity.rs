//! Parity of event streams wired to the forwarder's log, the rules of the file and its redaction.
//!
//! Owns the way from rows of the log to a judged report. What must stay true: the period that is judged is one that both sides'
//! queues were read in and that the log covers; what is not, is pending or inconclusive; no value leaves unredacted.

use super::{control, events, shadow};
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use banyan_diff::{Day, Fragment, Location};
use banyan_domain::{ContextName, Side};
use banyan_events::broker::{HeaderValue, Message};
use banyan_events::forwarder::{Coverage, ForwarderConfig, LogReader, LoggedEvent};
use banyan_parity::{
    Asked, Counts, Event, Facts, Judge, KeySpec, Limits, Outcome, Parity, Period, Show,
};
use banyan_report::{Evidence, Gate, GateVerdict, OpenReason, Report};
use banyan_shadow::Redaction;
use serde::Serialize;

/// Rows of all contexts that a handover looks at, the newest.
const STANDING_ROWS_MAX: i64 = 20_000;
/// How far back a handover looks.
const STANDING_MS: i64 = 24 * 3_600_000;
/// Longest name of a type that is shown, and of a part of it.
const KIND_MAX: usize = 100;

/// What is asked.
pub(crate) struct Wish {
    pub(crate) context: ContextName,
    pub(crate) from_ms: i64,
    pub(crate) window_ms: u64,
    pub(crate) late_max_ms: u64,
    pub(crate) gate: Gate,
    /// Look at the newest rows only; what is older is left out.
    pub(crate) rows_max: Option<i64>,
}

/// What was found.
pub(crate) struct Look {
    pub(crate) outcome: Outcome,
    pub(crate) report: Report,
    pub(crate) span: Span,
}

/// The period, as `--json` shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Span {
    /// Events from here on count.
    pub(crate) from_ms: i64,
    /// The log is complete from here on; absent when it is empty.
    pub(crate) log_from_ms: Option<i64>,
    /// Whether the log was trimmed inside the period.
    pub(crate) trimmed: bool,
    /// Both raw queues were seen empty at this time; absent when one never was.
    pub(crate) read_until_ms: Option<i64>,
    pub(crate) window_ms: u64,
    pub(crate) late_max_ms: u64,
}

/// Reads the log and judges it.
///
/// # Errors
/// Exit 3 when new publishes nowhere, exit 6 when the log cannot be read.
pub(crate) async fn look(
    config: &Config,
    settings: &ForwarderConfig,
    wish: &Wish,
) -> Result<Look, Failure> {
    if !settings.raw.contains_key(&Side::New) {
        return Err(Failure::new(
            "banyan::events::parity_side",
            Exit::Config,
            "cannot compare events: the file does not say where new publishes",
        )
        .hint("add [events.new] with its broker and exchange; insertion = \"tap\" only looks"));
    }
    if !settings.database.exists() {
        let what = "cannot compare events: no forwarder has recorded any";
        return Err(Failure::new("banyan::events::failed", Exit::Unreachable, what)
            .hint("start `banyan serve`; with insertion = \"tap\" the forwarder only looks"));
    }
    let failed = |error| events::failure(&error);
    let redaction = shadow::redaction(config)?;
    let shown = Redacted(&redaction);
    let rules = config.shadow.rules.on(Day::of_unix_ms(control::now_ms()));
    let judge = Judge::new(wish.context.as_str(), rules, redaction.key_for(b"parity"));
    let mut reader = LogReader::open(settings, &wish.context).await.map_err(failed)?;
    let before = reader.coverage().await.map_err(failed)?;
    let window_ms = i64::try_from(wish.window_ms).unwrap_or(i64::MAX);
    // Events before the period are only read as partners of later ones.
    let read_from_ms = wish.from_ms.saturating_sub(window_ms.saturating_mul(2));
    reader.seek(read_from_ms).await.map_err(failed)?;
    let cut_at_ms = match wish.rows_max {
        Some(rows) => reader.at_most_rows(rows).await.map_err(failed)?,
        None => None,
    };
    let period = Period {
        from_ms: wish.from_ms,
        known_from_ms: known_from(&before, read_from_ms, cut_at_ms),
        watermark_ms: before.read_until_ms.unwrap_or(i64::MIN),
        window_ms,
        late_max_ms: wish.late_max_ms,
    };
    let default = KeySpec::default();
    let key = config.contexts.get(&wish.context).map(|places| &places.events.parity.key);
    let key = key.unwrap_or(&default);
    let mut parity = Parity::new(period, Limits::default(), judge, &shown);
    while let Some(page) = reader.page().await.map_err(failed)? {
        for logged in page {
            parity.push(event(logged, key));
        }
    }
    let outcome = parity.finish();
    let after = reader.coverage().await.map_err(failed)?;
    let trimmed = after.trimmed && after.from_ms.is_some_and(|from_ms| from_ms > wish.from_ms);
    let asked = Asked {
        context: wish.context.to_string(),
        generated_ms: control::now_ms(),
        gate: wish.gate,
        trimmed,
    };
    let report = outcome.report(&asked);
    tell(&wish.context, &outcome.counts, &report);
    let span = Span {
        from_ms: wish.from_ms,
        log_from_ms: after.from_ms,
        trimmed,
        read_until_ms: before.read_until_ms,
        window_ms: wish.window_ms,
        late_max_ms: wish.late_max_ms,
    };
    Ok(Look { outcome, report, span })
}

/// Whether a context's events agree, in one verdict over all types.
pub(crate) struct Standing {
    pub(crate) verdict: GateVerdict,
    pub(crate) text: String,
}

/// Judges the newest events of a context for a handover: bounded in rows, all types together.
///
/// # Errors
/// As [`look`]; a log that is not there yet is too little evidence.
pub(crate) async fn standing(
    config: &Config,
    settings: &ForwarderConfig,
    context: &ContextName,
) -> Result<Standing, Failure> {
    let unknown = |text: String, why| Standing {
        verdict: GateVerdict::Inconclusive { needed: 0, why },
        text: format!("unknown: {text}"),
    };
    if !settings.raw.contains_key(&Side::New) || !settings.database.exists() {
        return Ok(unknown("nothing was recorded of new".to_owned(), OpenReason::OneSided));
    }
    let own = config.contexts.get(context).map(|places| &places.events.parity);
    let default = crate::config::events::Parity::default();
    let own = own.unwrap_or(&default);
    let gate = Gate::from_target(
        100.0 - config.shadow.max_mismatch_percent,
        config.shadow.confidence_percent / 100.0,
    )
    .unwrap_or_default();
    let now_ms = i64::try_from(control::now_ms()).unwrap_or(i64::MAX);
    let wish = Wish {
        context: context.clone(),
        from_ms: now_ms.saturating_sub(STANDING_MS),
        window_ms: own.window_ms,
        late_max_ms: own.late_max_ms,
        gate,
        rows_max: Some(STANDING_ROWS_MAX),
    };
    let counts = look(config, settings, &wish).await?.outcome.counts;
    let decided = counts.decided;
    let text = format!(
        "{} pairs, {} of {decided} mismatch, {} undecided, in the last 24 h",
        counts.pairs, counts.mismatched, counts.unknown
    );
    if counts.new == 0 || counts.legacy == 0 {
        return Ok(unknown(
            "only one side published in the last 24 h".to_owned(),
            OpenReason::OneSided,
        ));
    }
    let verdict = gate.decide(Evidence {
        distinct: decided,
        mismatched: counts.mismatched,
        breaking: counts.breaking,
        tried: decided + counts.unknown,
        undecided: counts.unknown,
        ..Evidence::default()
    });
    Ok(match verdict {
        GateVerdict::Inconclusive { why, .. } => unknown(text, why),
        GateVerdict::Pass | GateVerdict::Fail { .. } => Standing { verdict, text },
    })
}

/// From when on everything that both sides published is known.
fn known_from(coverage: &Coverage, read_from_ms: i64, cut_at_ms: Option<i64>) -> i64 {
    read_from_ms.max(coverage.from_ms.unwrap_or(i64::MIN)).max(cut_at_ms.unwrap_or(i64::MIN))
}

fn tell(context: &ContextName, counts: &Counts, report: &Report) {
    tracing::info!(
        %context,
        verdict = report.verdict().word(),
        pairs = counts.pairs,
        mismatched = counts.mismatched,
        pending = counts.pending,
        unknown = counts.unknown,
        "the event streams were compared"
    );
}

/// A row as an event of the comparison.
fn event(logged: LoggedEvent, key: &KeySpec) -> Event {
    let headers = text_headers(&logged.message);
    let body = logged.has_body.then_some(logged.message.body.as_slice());
    let facts = Facts {
        kind: &logged.kind,
        subject: logged.subject.as_deref(),
        routing_key: &logged.message.routing_key,
        message_id: logged.message.properties.message_id.as_deref(),
        headers: &headers,
        body,
    };
    let key = key.key(&facts).ok();
    let (content_type, body) = match logged.payload {
        Some(payload) => (payload.content_type, Some(payload.data)),
        None => (None, None),
    };
    Event {
        row: logged.row,
        side: logged.side,
        at_ms: logged.decided_ms,
        kind: logged.kind,
        key,
        content_type,
        body,
    }
}

fn text_headers(message: &Message) -> Vec<(String, String)> {
    let headers = message.properties.headers.iter().flatten();
    let text = |value: &HeaderValue| {
        if let HeaderValue::Text(bytes) = value {
            return std::str::from_utf8(bytes).ok().map(str::to_owned);
        }
        number(&serde_json::to_value(value).ok()?)
    };
    headers.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

/// A number in the stored form of a header, `{"i64": 7}`.
fn number(value: &serde_json::Value) -> Option<String> {
    let (_, value) = value.as_object()?.iter().next()?;
    (value.is_number() || value.is_boolean()).then(|| value.to_string())
}

struct Redacted<'r>(&'r Redaction);

impl Show for Redacted<'_> {
    fn value(&self, location: &Location, fragment: &Fragment) -> String {
        self.0.fragment(location, fragment)
    }

    fn shape(&self, shape: &str) -> String {
        Redaction::shape(shape)
    }

    fn kind(&self, text: &str) -> String {
        let is_name =
            text.len() <= KIND_MAX && text.split(['.', '/', ':']).all(Redaction::is_field);
        if is_name { text.to_owned() } else { self.0.id(text) }
    }

    fn part(&self, text: &str) -> String {
        self.0.id(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_shadow::{NumericIds, RedactionKey};

    #[test]
    fn names_are_shown_and_what_may_be_data_is_not() {
        let redaction = Redaction::new(RedactionKey::derive(b"k"), NumericIds::Shown);
        let shown = Redacted(&redaction);
        assert_eq!(shown.kind("messages.message.sent"), "messages.message.sent");
        assert!(shown.kind("ada@example.com").starts_with("tok:"));
        assert_eq!(shown.part("91"), "91");
        assert!(shown.part("ada").starts_with("tok:"));
    }

    #[test]
    fn headers_of_any_kind_can_be_part_of_a_key() {
        let message = Message::new("x", "k", Vec::new())
            .header("tenant", HeaderValue::I64(7))
            .header("request", HeaderValue::Text(b"r-1".to_vec()));
        let mut headers = text_headers(&message);
        headers.sort();
        let expected = [("request", "r-1"), ("tenant", "7")];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
