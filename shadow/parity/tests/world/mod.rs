//! What the tests share: a period, a judge, plain events.
use banyan_diff::{Fragment, Location, RuleSet};
use banyan_domain::Side;
use banyan_parity::{Event, EventKey, Judge, Limits, Outcome, Parity, Period, Show};

pub(crate) const PERIOD: Period = Period {
    from_ms: 0,
    known_from_ms: -10_000,
    watermark_ms: 90_000,
    window_ms: 5_000,
    late_max_ms: 3_000,
};

pub(crate) struct Plain;

impl Show for Plain {
    fn value(&self, _: &Location, fragment: &Fragment) -> String {
        fragment.text.clone()
    }

    fn shape(&self, shape: &str) -> String {
        shape.to_owned()
    }

    fn kind(&self, text: &str) -> String {
        text.to_owned()
    }

    fn part(&self, text: &str) -> String {
        text.to_owned()
    }
}

pub(crate) fn judge() -> Judge {
    Judge::new("messages", RuleSet::empty(), [7; 32])
}

pub(crate) fn key(kind: &str, subject: &str) -> EventKey {
    EventKey {
        text: format!("{kind}:{subject}"),
        subject: subject.to_owned(),
        parts: vec![
            ("type".to_owned(), kind.to_owned()),
            ("subject".to_owned(), subject.to_owned()),
        ],
    }
}

pub(crate) fn event(side: Side, at_ms: i64, kind: &str, subject: u64, payload: u64) -> Event {
    Event {
        row: 0,
        side,
        at_ms,
        kind: kind.to_owned(),
        key: Some(key(kind, &subject.to_string())),
        content_type: Some("application/json".to_owned()),
        body: Some(format!("{{\"payload\":{payload}}}").into_bytes()),
    }
}

pub(crate) fn compare_with(
    period: Period,
    limits: Limits,
    judge: Judge,
    events: Vec<Event>,
) -> Outcome {
    let mut parity = Parity::new(period, limits, judge, &Plain);
    for event in events {
        parity.push(event);
    }
    parity.finish()
}
