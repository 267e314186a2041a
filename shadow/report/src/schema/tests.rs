//! The schema file against real reports.

use super::*;
use crate::{GateVerdict, OpenReason, Report, sample};
use serde_json::{Value, json};

fn schema() -> Value {
    serde_json::from_str(JSON_SCHEMA).unwrap()
}

/// The same schema, which also refuses what it does not name: every field of the model must be documented.
fn strict(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.contains_key("properties") && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".to_owned(), json!(false));
            }
            map.values_mut().for_each(strict);
        }
        Value::Array(list) => list.iter_mut().for_each(strict),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn real_reports_are_valid_and_every_field_is_documented() {
    let mut documented = schema();
    strict(&mut documented);
    let validator = jsonschema::validator_for(&documented).unwrap();
    let nothing = Report::new(1, None, crate::Gate::default(), Vec::new());
    let mut events = sample::report();
    events.source = crate::Source::Events { context: "messages".to_owned() };
    for (at, why) in [OpenReason::Trimmed, OpenReason::OneSided].into_iter().enumerate() {
        events.endpoints[at].gate = GateVerdict::Inconclusive { needed: 1, why };
    }
    for report in [nothing, sample::report(), sample::full(), sample::hostile(), events] {
        let value = serde_json::to_value(&report).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

#[test]
fn what_is_no_report_is_refused() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut report = serde_json::to_value(sample::full()).unwrap();
    assert!(validator.is_valid(&report));
    report["endpoints"][0]["gate"] = json!({ "verdict": "maybe" });
    assert!(!validator.is_valid(&report));
    assert!(!validator.is_valid(&json!({ "schema": "banyan.shadow.report/2" })));
}

#[test]
fn a_report_of_the_first_release_can_still_be_read() {
    let old = json!({
        "schema": "banyan.shadow.report/1", "generated_ms": 1, "since_ms": null,
        "gate": { "target_percent": 99.9, "confidence": 0.95, "min_compared": 1 },
        "endpoints": [{
            "endpoint": "messages.list", "compared": 1, "matched": 1, "normalised": 0, "mismatched": 0,
            "lag": 0, "inconclusive": 0, "errors": 0, "skipped": {}, "distinct_requests": 1,
            "gate": { "verdict": "inconclusive", "needed": 2995 }, "groups": [],
            "hidden": [{ "rule": "x", "count": 1 }],
        }],
    });
    assert!(jsonschema::validator_for(&schema()).unwrap().is_valid(&old));
    let report: Report = serde_json::from_value(old).unwrap();
    assert_eq!(report.verdict().word(), "INCONCLUSIVE");
}
