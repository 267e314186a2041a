//! From facts to findings. Pure.

use super::{Facts, Finding, Level};
use crate::forwarder::{ForwarderConfig, Insertion};
use crate::management::ManagementError;

fn finding(
    check: &'static str,
    level: Level,
    found: impl Into<String>,
    hint: impl Into<String>,
) -> Finding {
    Finding { check, level, found: found.into(), hint: hint.into() }
}

/// The embedded broker is ours: nobody can bind round the forwarder without the file.
pub(super) fn embedded(place: &str) -> Finding {
    finding("broker", Level::Ok, format!("{place}: the embedded broker"), "")
}

pub(super) fn no_management(place: &str) -> Finding {
    finding(
        "broker",
        Level::Unknown,
        format!("{place}: bindings, queues and permissions were not looked at"),
        "set `events.management` to the URL of RabbitMQ's management API",
    )
}

pub(super) fn unreachable(place: &str, error: &ManagementError) -> Finding {
    finding(
        "broker",
        Level::Unknown,
        format!("{place}: {error}"),
        "is the plugin rabbitmq_management enabled, and may the user see the virtual host?",
    )
}

/// The API does not tell it; the forwarder does not depend on it, other consumers may.
pub(super) fn consumer_timeout() -> Finding {
    finding(
        "consumer-timeout",
        Level::Ok,
        "the forwarder holds no event unacknowledged while it waits, so no time-out can end it",
        "",
    )
}

/// `CC` copies survive a re-publish and route again, `BCC` copies are lost.
pub(super) fn copies(events: u64) -> Finding {
    if events == 0 {
        return finding("copies", Level::Ok, "no logged event has a CC header", "");
    }
    finding(
        "copies",
        Level::Warn,
        format!("{events} logged events have a CC header"),
        "its routing keys count again on the public exchange; an emitter that also sets BCC loses \
         those copies: bind a queue instead",
    )
}

pub(super) fn judge(config: &ForwarderConfig, facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![version(facts)];
    findings.push(exchange(facts));
    if facts.queue.is_some() {
        findings.push(queue(facts));
    }
    findings.extend(bypass(config, facts));
    findings.extend(permissions(config, facts));
    findings
}

fn version(facts: &Facts) -> Finding {
    let place = &facts.place;
    let Some(text) = &facts.version else {
        return finding("version", Level::Unknown, format!("{place}: version not told"), "");
    };
    let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let quorum = argument(facts, "x-queue-type").as_deref() == Some("quorum");
    let found = format!("{place}: RabbitMQ {text}, {} node(s)", facts.nodes);
    if version < (3, 8) {
        let hint = "quorum queues and single active consumers need 3.8; upgrade the broker";
        return finding("version", Level::Fail, found, hint);
    }
    if quorum && facts.nodes == 1 && version < (3, 12) {
        let hint = "a killed single node can leave a quorum queue without a leader; \
                    set queue-type = \"classic\" or run a cluster";
        return finding("version", Level::Warn, found, hint);
    }
    if quorum && version >= (4, 0) && argument(facts, "x-delivery-limit").is_none() {
        let hint = "from 4.0 a quorum queue drops a message after 20 deliveries; set the policy \
                    delivery-limit = -1 on the raw queue";
        return finding("version", Level::Fail, found, hint);
    }
    finding("version", Level::Ok, found, "")
}

fn exchange(facts: &Facts) -> Finding {
    let name = format!("{}: exchange `{}`", facts.place, facts.exchange);
    match &facts.exchange_row {
        None => finding(
            "exchange",
            Level::Fail,
            format!("{name} does not exist"),
            "the forwarder declares it when it starts, unless it is the application's own",
        ),
        Some(row) if !row.durable => finding(
            "exchange",
            Level::Fail,
            format!("{name} does not survive a restart of the broker"),
            "declare it durable",
        ),
        Some(row) => finding("exchange", Level::Ok, format!("{name} ({})", row.kind), ""),
    }
}

fn argument(facts: &Facts, name: &str) -> Option<String> {
    let value = facts.queue_row.as_ref()?.arguments.get(name)?;
    Some(value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))
}

fn queue(facts: &Facts) -> Finding {
    let queue = facts.queue.as_deref().unwrap_or_default();
    let name = format!("{}: queue `{queue}`", facts.place);
    let Some(row) = &facts.queue_row else {
        let hint = "start the forwarder once; it declares its queues";
        return finding("queue", Level::Fail, format!("{name} does not exist"), hint);
    };
    let remake =
        "stop the forwarder at lag 0, delete the queue, start the forwarder: it is made anew";
    if !row.durable {
        return finding("queue", Level::Fail, format!("{name} is not durable"), remake);
    }
    if argument(facts, "x-single-active-consumer").as_deref() != Some("true") {
        let found = format!("{name} has no single active consumer");
        return finding("queue", Level::Fail, found, remake);
    }
    for lossy in ["x-message-ttl", "x-expires"] {
        if argument(facts, lossy).is_some() {
            return finding(
                "queue",
                Level::Fail,
                format!("{name} has {lossy}: events get lost"),
                remake,
            );
        }
    }
    let kind = argument(facts, "x-queue-type").unwrap_or_else(|| "classic".to_owned());
    finding("queue", Level::Ok, format!("{name} ({kind}, single active consumer)"), "")
}

/// Whatever hangs on a raw exchange besides the forwarder hears both sides, or the wrong one.
fn bypass(config: &ForwarderConfig, facts: &Facts) -> Vec<Finding> {
    let Some(own) = &facts.queue else { return Vec::new() };
    if config.insertion == Insertion::Tap {
        let found =
            format!("{}: a tap stands beside the consumers, nothing to go round", facts.place);
        return vec![finding("bypass", Level::Ok, found, "")];
    }
    let own_queues: Vec<&String> = config.raw.values().map(|raw| &raw.queue).collect();
    let others: Vec<Finding> = facts
        .bindings
        .iter()
        .filter(|row| !(row.destination_type == "queue" && own_queues.contains(&&row.destination)))
        .map(|row| {
            let found = format!(
                "{}: {} `{}` hangs on `{}` with key `{}`, round the forwarder",
                facts.place, row.destination_type, row.destination, row.source, row.routing_key
            );
            let hint = format!(
                "bind it to `{}` and unbind it here; withdraw its user's read permission on `{}`",
                config.public.exchange, facts.exchange
            );
            finding("bypass", Level::Fail, found, hint)
        })
        .collect();
    if !others.is_empty() {
        return others;
    }
    let bound = facts.bindings.iter().any(|row| row.destination == *own);
    if bound {
        let found = format!("{}: only the forwarder hangs on `{}`", facts.place, facts.exchange);
        return vec![finding("bypass", Level::Ok, found, "")];
    }
    let found = format!("{}: queue `{own}` does not hang on `{}`", facts.place, facts.exchange);
    vec![finding("bypass", Level::Fail, found, "start the forwarder; it binds its queues")]
}

fn permissions(config: &ForwarderConfig, facts: &Facts) -> Vec<Finding> {
    let public = facts.queue.is_none();
    if !public && config.insertion == Insertion::Tap {
        return Vec::new();
    }
    let may: Vec<&str> = facts
        .permissions
        .iter()
        .filter(|row| row.user != facts.user)
        .filter(|row| may_touch(if public { &row.write } else { &row.read }, &facts.exchange))
        .map(|row| row.user.as_str())
        .collect();
    let verb = if public { "publish to" } else { "bind to" };
    let name = format!("{}: `{}`", facts.place, facts.exchange);
    if may.is_empty() {
        let found = format!("{name}: nobody but the forwarder's user may {verb} it");
        return vec![finding("permission", Level::Ok, found, "")];
    }
    let hint = if public {
        "only the forwarder may write there: narrow the write pattern of these users"
    } else {
        "a consumer that binds there at its start goes round the forwarder: narrow its read pattern"
    };
    let found = format!("{name}: {} may {verb} it too", may.join(", "));
    vec![finding("permission", Level::Warn, found, hint)]
}

/// RabbitMQ's patterns are regular expressions. Of them we read those that people write: everything, nothing, and
/// alternatives of plain names; another one counts as allowing, which at worst warns too much.
fn may_touch(pattern: &str, name: &str) -> bool {
    let inner = pattern.trim_start_matches('^').trim_end_matches('$');
    let inner = inner.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(inner);
    if inner.is_empty() {
        // `^$` allows nothing; a pattern without any anchor matches anywhere.
        return !pattern.contains('$') && !pattern.is_empty();
    }
    inner.split('|').any(|one| {
        let plain = one.replace("\\.", ".");
        let is_name = plain.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        !is_name || plain == name
    })
}

#[cfg(test)]
mod tests {
    use banyan_domain::Side;
    use serde_json::{Value, json};

    use super::*;
    use crate::forwarder::{PublicPlace, RawPlace};
    use crate::management::{BindingRow, ExchangeRow, PermissionRow, QueueRow};

    fn config() -> ForwarderConfig {
        let public = PublicPlace::new("amqp://f:f@h/v", "public");
        ForwarderConfig::new("f", "/tmp/f.db", public)
            .raw(Side::Legacy, RawPlace::new("amqp://f:f@h/v", "raw", "f.legacy"))
    }

    fn healthy() -> Facts {
        let arguments = json!({ "x-queue-type": "classic", "x-single-active-consumer": true });
        Facts {
            place: "raw legacy".to_owned(),
            exchange: "raw".to_owned(),
            queue: Some("f.legacy".to_owned()),
            version: Some("3.10.8".to_owned()),
            nodes: 1,
            exchange_row: Some(ExchangeRow {
                name: "raw".to_owned(),
                kind: "topic".to_owned(),
                durable: true,
            }),
            queue_row: Some(QueueRow {
                name: "f.legacy".to_owned(),
                durable: true,
                arguments: arguments.as_object().unwrap().clone(),
            }),
            bindings: vec![binding("f.legacy")],
            permissions: vec![permission("f", ".*")],
            user: "f".to_owned(),
        }
    }

    fn binding(queue: &str) -> BindingRow {
        BindingRow {
            source: "raw".to_owned(),
            destination: queue.to_owned(),
            destination_type: "queue".to_owned(),
            routing_key: "#".to_owned(),
            arguments: serde_json::Map::new(),
        }
    }

    fn permission(user: &str, pattern: &str) -> PermissionRow {
        PermissionRow { user: user.to_owned(), write: pattern.to_owned(), read: pattern.to_owned() }
    }

    fn worst(change: impl Fn(&mut Facts)) -> Vec<(&'static str, Level)> {
        let mut facts = healthy();
        change(&mut facts);
        let findings = judge(&config(), &facts);
        assert!(
            findings.iter().all(|f| f.level == Level::Ok || !f.hint.is_empty()),
            "{findings:?}"
        );
        let bad = findings.iter().filter(|f| f.level != Level::Ok);
        bad.map(|f| (f.check, f.level)).collect()
    }

    #[test]
    fn a_healthy_place_has_only_ok_findings() {
        assert_eq!(worst(|_| {}), []);
    }

    #[test]
    fn each_planted_fault_is_found_and_nothing_else() {
        let fail = |check| vec![(check, Level::Fail)];
        let warn = |check| vec![(check, Level::Warn)];
        assert_eq!(worst(|f| f.bindings.push(binding("push"))), fail("bypass"));
        assert_eq!(worst(|f| f.bindings.clear()), fail("bypass"));
        assert_eq!(worst(|f| f.queue_row = None), fail("queue"));
        assert_eq!(worst(|f| f.exchange_row = None), fail("exchange"));
        assert_eq!(worst(|f| f.version = Some("3.7.28".to_owned())), fail("version"));
        let argument = |f: &mut Facts, name: &str, value: Value| {
            f.queue_row.as_mut().unwrap().arguments.insert(name.to_owned(), value);
        };
        assert_eq!(worst(|f| argument(f, "x-message-ttl", json!(5))), fail("queue"));
        assert_eq!(worst(|f| argument(f, "x-single-active-consumer", json!(false))), fail("queue"));
        assert_eq!(worst(|f| argument(f, "x-queue-type", json!("quorum"))), warn("version"));
        let other =
            |pattern: &'static str| worst(move |f| f.permissions.push(permission("push", pattern)));
        assert_eq!(other(".*"), warn("permission"));
        assert_eq!(other("^(raw|other)$"), warn("permission"));
        assert_eq!(other("^other$"), []);
        assert_eq!(other("^$"), []);
    }

    #[test]
    fn a_new_quorum_queue_without_a_delivery_limit_fails_on_4_0() {
        let found = worst(|f| {
            f.version = Some("4.0.3".to_owned());
            f.nodes = 3;
            let arguments = &mut f.queue_row.as_mut().unwrap().arguments;
            arguments.insert("x-queue-type".to_owned(), json!("quorum"));
        });
        assert_eq!(found, [("version", Level::Fail)]);
    }
}
