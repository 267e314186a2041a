//! Behaviour of the pure routing core: matching, deciding and changing the table.
#![expect(clippy::unwrap_used, clippy::string_slice, reason = "test helpers fail by panicking")]

use banyan_domain::compiled::CompileError;
use banyan_domain::decide::{Refused, RequestKind};
use banyan_domain::sticky::KeySource;
use banyan_domain::{
    Actor, Catalogue, Change, Compiled, ContextName, ContextSpec, Decision, EndpointName,
    EndpointSpec, Epoch, Mirror, Outcome, PathTemplate, Percent, Phase, Reason, Refusal,
    RequestHead, RouteTable, Side, apply, decide,
};
use proptest::prelude::*;

fn endpoint(name: &str, methods: &[&str], path: &str) -> EndpointSpec {
    EndpointSpec {
        name: EndpointName::new(name).unwrap(),
        methods: methods.iter().map(|m| (*m).to_owned()).collect(),
        path: PathTemplate::new(path).unwrap(),
        start: Phase::Legacy,
        mirror_percent: Percent::HUNDRED,
        mirror_back: true,
        fallback: true,
        sticky: Vec::new(),
    }
}

fn catalogue() -> Catalogue {
    Catalogue {
        contexts: vec![ContextSpec {
            name: ContextName::new("messages").unwrap(),
            sticky: vec![KeySource::Header("authorization".into()), KeySource::Address],
            read_your_writes_max_ms: 5_000,
            endpoints: vec![
                endpoint("messages.list", &["GET"], "/users/{user_id}/messages"),
                endpoint("messages.show", &["GET"], "/messages/{id}"),
                endpoint("messages.create", &["POST"], "/messages"),
                endpoint("messages.update", &["PATCH"], "/messages/{id}"),
                endpoint("messages.delete", &["DELETE"], "/messages/{id}"),
            ],
        }],
    }
}

fn actor() -> Actor {
    Actor { name: "oncall".to_owned(), reason: "test".to_owned(), at_ms: 7 }
}

/// A table in which every read endpoint is in `phase`.
fn table_in(phase: Phase) -> RouteTable {
    let (mut table, _) =
        apply(&RouteTable::default(), &catalogue(), &Change::Adopt, &actor()).unwrap();
    table.endpoints.values_mut().for_each(|state| state.phase = phase);
    table
}

fn compiled_in(phase: Phase) -> Compiled {
    Compiled::new(&catalogue(), &table_in(phase)).unwrap()
}

fn canary(percent: u8) -> Phase {
    Phase::Canary(Percent::new(percent).unwrap())
}

struct Ask<'a> {
    method: &'a str,
    path: &'a str,
    headers: Vec<(String, String)>,
    pinned: bool,
    upgrade: bool,
}

fn ask<'a>(method: &'a str, path: &'a str) -> Ask<'a> {
    Ask { method, path, headers: Vec::new(), pinned: false, upgrade: false }
}

impl Ask<'_> {
    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn outcome(&self, table: &Compiled) -> Outcome {
        let head = RequestHead {
            method: self.method,
            path: self.path.as_bytes(),
            headers: &self.headers,
            address: "10.0.0.9",
            upgrade: self.upgrade,
            forced: None,
            sample: 0,
        };
        decide(table, &head, &|_, _| self.pinned)
    }

    fn route(&self, table: &Compiled) -> Decision {
        match self.outcome(table) {
            Outcome::Route(decision) => decision,
            Outcome::Refuse(refused) => panic!("{} {} refused: {refused}", self.method, self.path),
        }
    }
}

#[test]
fn each_phase_answers_and_mirrors_as_the_truth_table_says() {
    let rows = [
        (Phase::Legacy, Side::Legacy, Mirror::Off, false),
        (Phase::Shadow, Side::Legacy, Mirror::To(Side::New), false),
        (canary(0), Side::Legacy, Mirror::To(Side::New), false),
        (canary(100), Side::New, Mirror::To(Side::Legacy), true),
        (Phase::New, Side::New, Mirror::To(Side::Legacy), true),
        (Phase::Retired, Side::New, Mirror::Off, false),
    ];
    for (phase, side, mirror, fallback) in rows {
        let read = ask("GET", "/users/3/messages").route(&compiled_in(phase));
        assert_eq!((read.side, read.mirror, read.fallback), (side, mirror, fallback), "{phase}");
        let write = ask("POST", "/messages").route(&compiled_in(phase));
        assert_eq!((write.side, write.mirror, write.fallback), (Side::Legacy, Mirror::Off, false));
    }
}

#[test]
fn writes_follow_the_owner_and_nothing_else() {
    let mut table = table_in(Phase::Retired);
    table.contexts.values_mut().for_each(|state| state.owner = Side::New);
    let compiled = Compiled::new(&catalogue(), &table).unwrap();
    for (method, path) in [
        ("POST", "/messages"),
        ("PATCH", "/messages/3"),
        ("DELETE", "/messages/3"),
        ("PUT", "/messages/3"),
    ] {
        let decision = ask(method, path).route(&compiled);
        assert_eq!(
            (decision.kind, decision.side),
            (RequestKind::Write, Side::New),
            "{method} {path}"
        );
    }
}

#[test]
fn a_method_override_is_read_as_the_application_reads_it() {
    let table = compiled_in(Phase::New);
    let named = |ask: Ask<'_>| ask.route(&table).endpoint.map(|name| name.to_string());
    let put = ask("POST", "/messages/3").header("X-HTTP-Method-Override", "delete");
    assert_eq!(named(put).as_deref(), Some("messages.delete"));
    let form =
        ask("POST", "/messages/3").header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(form.route(&table).kind, RequestKind::Write);
    let form_on_read =
        ask("POST", "/users/3/messages").header("content-type", "multipart/form-data; boundary=x");
    let decision = form_on_read.route(&table);
    assert_eq!((decision.kind, decision.side), (RequestKind::Write, Side::Legacy));
    let get = ask("POST", "/users/3/messages").header("x-http-method-override", "GET");
    assert_eq!(get.outcome(&table), Outcome::Refuse(Refused::MethodOverride));
    let elsewhere = ask("POST", "/tracks").header("x-http-method-override", "GET");
    assert_eq!(
        elsewhere.route(&table).reason,
        Reason::Default,
        "other traffic is not our business"
    );
}

#[test]
fn a_pinned_caller_reads_from_the_owner_and_is_not_compared() {
    let pinned = Ask { pinned: true, ..ask("GET", "/messages/3") };
    let decision = pinned.route(&compiled_in(Phase::New));
    assert_eq!((decision.side, decision.reason), (Side::Legacy, Reason::ReadYourWrites));
    assert_eq!(decision.mirror, Mirror::Pinned);
    assert_eq!(pinned.route(&compiled_in(Phase::Shadow)).mirror, Mirror::Pinned);
    assert_eq!(pinned.route(&compiled_in(Phase::Retired)).side, Side::New);
}

#[test]
fn an_upgrade_goes_to_the_owner_unmirrored() {
    let upgrade = Ask { upgrade: true, ..ask("GET", "/users/3/messages") };
    let decision = upgrade.route(&compiled_in(canary(100)));
    assert_eq!(
        (decision.kind, decision.side, decision.mirror),
        (RequestKind::Upgrade, Side::Legacy, Mirror::Off)
    );
}

#[test]
fn rails_spellings_of_a_path_are_the_same_endpoint() {
    let table = compiled_in(Phase::New);
    for path in ["/users/3/messages/", "/users/3/messages.json", "/users/%33/m%65ssages"] {
        let decision = ask("GET", path).route(&table);
        assert_eq!(decision.endpoint.unwrap().as_str(), "messages.list", "{path}");
    }
    let head = ask("HEAD", "/messages/3").route(&table);
    assert_eq!((head.side, head.mirror), (Side::New, Mirror::Off), "a HEAD has no body to compare");
}

#[test]
fn everything_undeclared_passes_untouched_however_odd() {
    let table = compiled_in(Phase::New);
    for path in [
        "/",
        "/tracks/3",
        "//tracks",
        "/a/../b",
        "/x%2Fy",
        "/tracks;v=1",
        "/%ff",
        "/messages/3/likes",
    ] {
        assert_eq!(ask("GET", path).route(&table).reason, Reason::Default, "{path}");
    }
}

#[test]
fn two_endpoints_cannot_answer_the_same_request() {
    let mut twice = catalogue();
    twice.contexts[0].endpoints.push(endpoint("messages.again", &["GET"], "/messages/{other}"));
    let errors = Compiled::new(&twice, &RouteTable::default()).unwrap_err();
    assert!(matches!(errors[..], [CompileError::Twice { .. }]), "{errors:?}");
    let mut shared = catalogue();
    shared.contexts.push(ContextSpec {
        name: ContextName::new("other").unwrap(),
        endpoints: vec![endpoint("other.put", &["PUT"], "/messages/{id}")],
        ..shared.contexts[0].clone()
    });
    let errors = Compiled::new(&shared, &RouteTable::default()).unwrap_err();
    assert!(matches!(errors[0], CompileError::SharedPath { .. }), "{errors:?}");
}

#[test]
fn flips_are_refused_with_the_legal_phases_and_a_freeze_never_stops_a_step_back() {
    let list = EndpointName::new("messages.list").unwrap();
    let flip = |to| Change::Flip { endpoint: list.clone(), to };
    let go = |table: &RouteTable, change| apply(table, &catalogue(), &change, &actor());
    let legacy = table_in(Phase::Legacy);
    let Err(Refusal::IllegalTransition { next, .. }) = go(&legacy, flip(Phase::New)) else {
        panic!()
    };
    assert_eq!(next, ["shadow"]);
    let (frozen, _) = go(&table_in(canary(10)), Change::Freeze).unwrap();
    assert!(matches!(go(&frozen, flip(canary(20))), Err(Refusal::Frozen { .. })));
    assert!(go(&frozen, flip(canary(5))).unwrap().1.changed);
    assert!(go(&frozen, Change::RollbackEndpoint { endpoint: list.clone() }).unwrap().1.changed);
    let write = EndpointName::new("messages.create").unwrap();
    let refused = go(&legacy, Change::Flip { endpoint: write, to: Phase::Shadow }).unwrap_err();
    assert_eq!(refused.code(), "banyan::flip::write_endpoint");
    let (same, effect) = go(&legacy, flip(Phase::Legacy)).unwrap();
    assert!(!effect.changed && same.generation == legacy.generation);
}

#[test]
fn an_owner_moves_once_per_epoch_and_a_freeze_stops_no_decided_move() {
    let context = ContextName::new("messages").unwrap();
    let to = |to, epoch| Change::MoveOwner { context: context.clone(), to, epoch: Epoch(epoch) };
    let go = |table: &RouteTable, change| apply(table, &catalogue(), &change, &actor());
    let start = table_in(Phase::Shadow);
    let (moved, effect) = go(&start, to(Side::New, 2)).unwrap();
    assert!(effect.changed && moved.generation > start.generation);
    assert_eq!(
        (moved.contexts[&context].owner, moved.contexts[&context].epoch),
        (Side::New, Epoch(2))
    );
    assert!(!go(&moved, to(Side::New, 2)).unwrap().1.changed, "again is harmless");
    for stale in [to(Side::Legacy, 2), to(Side::Legacy, 1)] {
        let refused = go(&moved, stale).unwrap_err();
        assert!(matches!(refused, Refusal::StaleEpoch { .. }), "{refused}");
    }
    let (frozen, _) = go(&start, Change::Freeze).unwrap();
    assert!(go(&frozen, to(Side::New, 2)).unwrap().1.changed, "a freeze stops it when it is armed");
    let (frozen, _) = go(&moved, Change::Freeze).unwrap();
    assert!(go(&frozen, to(Side::Legacy, 3)).unwrap().1.changed, "back is never frozen");
    assert!(!go(&frozen, to(Side::New, 2)).unwrap().1.changed, "what is so already is no step");
    let other = Change::MoveOwner {
        context: ContextName::new("tracks").unwrap(),
        to: Side::New,
        epoch: Epoch(9),
    };
    assert!(matches!(go(&start, other), Err(Refusal::UnknownContext { .. })));
}

#[test]
fn a_context_rolls_back_together_and_in_two_steps() {
    let context = ContextName::new("messages").unwrap();
    let back = Change::RollbackContext { context };
    let mut table = table_in(Phase::New);
    let show = EndpointName::new("messages.show").unwrap();
    table.endpoints.get_mut(&show).unwrap().phase = Phase::Shadow;
    let (table, effect) = apply(&table, &catalogue(), &back, &actor()).unwrap();
    assert_eq!(effect.moved.len(), 1, "what legacy answers already stays in shadow");
    let (table, effect) = apply(&table, &catalogue(), &back, &actor()).unwrap();
    assert_eq!(effect.moved.len(), 2);
    let refused = apply(&table, &catalogue(), &back, &actor()).unwrap_err();
    assert!(matches!(refused, Refusal::NothingToRollBack { .. }));
}

/// Ways to write a path so that some server reads `/users/3/messages` or `/messages/3`.
fn disguise() -> impl Strategy<Value = String> {
    let base = prop_oneof![Just("/users/3/messages"), Just("/messages/3")];
    (base, prop::collection::vec((0usize..40, 0usize..10), 1..5)).prop_map(|(base, edits)| {
        let mut path = base.to_owned();
        for (at, edit) in edits {
            let slashes: Vec<usize> = path.match_indices('/').map(|(i, _)| i).collect();
            let slash = slashes[at % slashes.len()];
            let letters: Vec<usize> = path
                .char_indices()
                .filter(|(i, c)| {
                    c.is_ascii_lowercase()
                        && !path[..*i].ends_with('%')
                        && !path[..i.saturating_sub(1)].ends_with('%')
                })
                .map(|(i, _)| i)
                .collect();
            let letter = letters.get(at % letters.len().max(1)).copied();
            match (edit, letter) {
                (0, _) => path.insert(slash, '/'),
                (1, _) => path.insert_str(slash, "/."),
                (2, _) => path.insert_str(slash, "/x/.."),
                (3, _) if slash > 0 => path.replace_range(slash..=slash, "%2F"),
                (4, _) if slash > 0 => path.replace_range(slash..=slash, "%5c"),
                (5, Some(i)) => path.replace_range(i..=i, &format!("%{:02x}", path.as_bytes()[i])),
                (6, Some(i)) => path[i..=i].make_ascii_uppercase(),
                (7, _) => path.push('/'),
                (8, _) => path.push_str(";v=1"),
                (9, _) => path.push_str("#x"),
                _ => {}
            }
        }
        path
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_disguise_of_a_path_reaches_the_default_route(path in disguise()) {
        let table = compiled_in(Phase::Retired);
        match ask("GET", &path).outcome(&table) {
            Outcome::Refuse(_) => {}
            Outcome::Route(decision) => {
                prop_assert_eq!(decision.side, Side::New, "{}", path);
                prop_assert!(decision.endpoint.is_some(), "{}", path);
            }
        }
    }

    #[test]
    fn the_same_key_stays_on_its_side_while_the_ramp_rises(token in "[!-~]{1,40}", a in 0u8..=100, b in 0u8..=100) {
        let side = |percent| {
            let table = compiled_in(canary(percent));
            ask("GET", "/messages/3").header("authorization", &token).route(&table).side
        };
        if side(a.min(b)) == Side::New {
            prop_assert_eq!(side(a.max(b)), Side::New);
        }
        prop_assert_eq!(side(a), side(a));
    }

    #[test]
    fn deciding_is_total(method in "[A-Z]{0,7}", path in ".{0,40}", name in "[a-zA-Z-]{1,30}", value in ".{0,20}") {
        let _any = ask(&method, &path).header(&name, &value).outcome(&compiled_in(canary(50)));
    }

    #[test]
    fn every_sequence_of_changes_keeps_the_table_legal(steps in prop::collection::vec((0usize..5, 0usize..3, 0u8..=100), 0..30)) {
        let mut table = table_in(Phase::Legacy);
        for (kind, which, percent) in steps {
            let endpoint = EndpointName::new(["messages.list", "messages.show", "messages.create"][which]).unwrap();
            let phases = [Phase::Legacy, Phase::Shadow, canary(percent), Phase::New, Phase::Retired];
            let change = match kind {
                0 => Change::RollbackEndpoint { endpoint },
                1 => Change::RollbackContext { context: endpoint.context() },
                2 => if percent < 50 { Change::Freeze } else { Change::Unfreeze },
                _ => Change::Flip { endpoint, to: phases[usize::from(percent) % 5] },
            };
            let before = table.clone();
            if let Ok((after, effect)) = apply(&table, &catalogue(), &change, &actor()) {
                prop_assert_eq!(after.generation.0 - before.generation.0, u64::from(effect.changed));
                for moved in &effect.moved {
                    prop_assert!(moved.from.transition(moved.to).is_ok());
                    let forward = moved.from.transition(moved.to) == Ok(banyan_domain::Direction::Forward);
                    prop_assert!(!(forward && before.frozen.is_some()));
                }
                table = after;
            }
            prop_assert_eq!(table.contexts[&ContextName::new("messages").unwrap()].owner, Side::Legacy);
        }
    }
}
