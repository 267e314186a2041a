//! Reading rules, their precedence, protection and state.

use super::*;

fn error(at: &str) -> (usize, usize, RuleErrorKind) {
    let error = Rule::ignore(at, "because").unwrap_err();
    assert!(!error.hint().is_empty());
    (error.at, error.len, error.kind)
}

#[test]
fn mistakes_are_named_with_their_position() {
    assert_eq!(error("messages"), (0, 8, RuleErrorKind::UnknownStart));
    assert_eq!(error("$."), (2, 0, RuleErrorKind::ExpectedName));
    assert_eq!(error("$.a.."), (5, 0, RuleErrorKind::ExpectedName));
    assert_eq!(error("$.a b"), (3, 1, RuleErrorKind::ExpectedSegment));
    assert_eq!(error("$x"), (1, 1, RuleErrorKind::ExpectedSegment));
    assert_eq!(error("$[0"), (3, 0, RuleErrorKind::ExpectedBracket));
    assert_eq!(error("$[-1]"), (2, 2, RuleErrorKind::BadIndex));
    assert_eq!(error("$[?@.id>4]"), (7, 1, RuleErrorKind::Filter));
    assert_eq!(error("$[?@.id==x]"), (9, 1, RuleErrorKind::Filter));
    assert_eq!(error("$[?@==1]"), (4, 1, RuleErrorKind::Filter));
    assert_eq!(error("$['a]"), (2, 3, RuleErrorKind::UnclosedQuote));
    assert_eq!(error("header:x-*-y"), (7, 5, RuleErrorKind::BadHeaderName));
    assert_eq!(error("header:"), (7, 0, RuleErrorKind::BadHeaderName));
    assert_eq!(error("status"), (0, 6, RuleErrorKind::Protected));
    let kind = Rule::ignore("$.a", " ").unwrap_err().kind;
    assert_eq!(kind, RuleErrorKind::NoReason);
}

fn rule(at: &str) -> Rule {
    Rule::ignore(at, "test").unwrap()
}

fn first_at_header(rules: &RuleSet, name: &str) -> Option<String> {
    rules.at_header(name).next().map(Rule::id)
}

#[test]
fn headers_match_whole_names_or_prefixes() {
    let rules =
        RuleSet::empty().with([rule("header:X-Foo-*"), rule("header:etag").named("no-etag")]);
    assert_eq!(first_at_header(&rules, "x-foo-bar").as_deref(), Some("header:X-Foo-*"));
    assert_eq!(first_at_header(&rules, "etag").as_deref(), Some("no-etag"));
    assert_eq!(first_at_header(&rules, "x-foo"), None);
    assert_eq!(first_at_header(&rules, "x-etag"), None);
    assert_eq!(rules.builtin_header("date"), None);
    assert!(RuleSet::builtin().builtin_header("date").is_some());
    let off = RuleSet::builtin().without(["builtin/date"]).unwrap();
    assert!(off.builtin_header("date").is_none() && off.builtin_header("via").is_some());
    assert!(RuleSet::builtin().without(["builtin/dates"]).is_err());
}

#[test]
fn limited_rules_apply_only_where_their_limits_are_known_to_hold() {
    let scope = |endpoint: Option<&str>, context: Option<&str>, method: Option<&str>| Scope {
        endpoint: endpoint.map(str::to_owned),
        context: context.map(str::to_owned),
        method: method.map(str::to_owned),
        status: None,
    };
    let applies = |scope: Scope, rules: fn(&RuleSet) -> RuleSet| {
        let set = RuleSet::empty().with([rule("header:a").within(scope)]);
        first_at_header(&rules(&set), "a").is_some()
    };
    let list = |set: &RuleSet| set.for_endpoint("messages.list");
    assert!(applies(scope(Some("messages.list"), None, None), list));
    assert!(!applies(scope(Some("messages.show"), None, None), list));
    assert!(!applies(scope(Some("messages.list"), None, None), RuleSet::clone));
    assert!(applies(scope(None, Some("messages"), None), list));
    assert!(!applies(scope(None, Some("tracks"), None), list));
    let get = |set: &RuleSet| set.for_endpoint("messages.list").for_method("GET");
    assert!(applies(scope(Some("messages.list"), None, Some("GET")), get));
    assert!(!applies(scope(None, None, Some("HEAD")), get));
    assert!(!applies(scope(None, None, Some("GET")), list));
    let limited = rule("header:a").within(Scope { status: "2xx".parse().ok(), ..Scope::default() });
    let set = RuleSet::empty().with([limited]);
    assert!(first_at_header(&set.for_statuses(200, 204), "a").is_some());
    assert!(first_at_header(&set.for_statuses(200, 404), "a").is_none());
    assert!(first_at_header(&set, "a").is_none());
}

#[test]
fn people_then_scope_then_selector_then_order_decide_who_is_asked_first() {
    let learned = |rule: Rule| rule.from_source(RuleSource::Learned);
    for (first, second) in [
        (rule("header:a-*"), learned(rule("header:a-b").for_endpoint("m.list"))),
        (rule("header:a-*").for_endpoint("m.list"), rule("header:a-b")),
        (rule("header:a-b"), rule("header:a-*")),
        (rule("header:a-b").named("1"), rule("header:a-b").named("2")),
    ] {
        let (x, y) = (first.id(), second.id());
        let set = RuleSet::empty().with([second.clone(), first.clone()]).for_endpoint("m.list");
        let asked: Vec<String> = set.at_header("a-b").map(Rule::id).collect();
        if x == "1" {
            assert_eq!(asked, [y, x], "the one written first");
        } else {
            assert_eq!(asked, [x, y]);
        }
    }
    let order = ["$.a[0].b", "$.a[*].b", "$.*.*.b", "$.a..b", "$..b", "$..*"];
    let set = RuleSet::empty().with(order.iter().rev().map(|at| rule(at)));
    let asked: Vec<&str> = set.rules().map(Rule::at).collect();
    assert_eq!(asked, order);
}

#[test]
fn a_rule_that_covers_a_protected_place_is_refused_with_both_named() {
    let protect = Protect::new(["$..id", "$.order.total", "header:x-price", "status"]).unwrap();
    let refused = |at: &str, action: Action| {
        let rule = Rule::new(at, action, "test").unwrap();
        let result = RuleSet::empty().try_with([rule], &protect);
        result.err().map(|refused| refused[0].to_string())
    };
    assert_eq!(
        refused("$.messages[*].id", Action::IgnoreValue).unwrap(),
        "rule `$.messages[*].id` (ignore_value) covers the protected `$..id`"
    );
    assert!(refused("$..*", Action::Ignore).is_some());
    assert!(refused("$.order", Action::Ignore).is_some());
    assert!(refused("$.order", Action::Case).is_none());
    assert!(refused("header:x-*", Action::Ignore).is_some());
    assert!(refused("header:x-*", Action::Set).is_none());
    assert!(refused("$.order.totals", Action::Ignore).is_none());
    let exact = Action::NumberEqString { decimals: None };
    assert!(refused("$.order.total", exact).is_none());
    assert!(refused("$.order.total", Action::NumberEqString { decimals: Some(2) }).is_some());
    let bijection = BijectionRule { domain: "id".to_owned(), types: Types::Same };
    assert!(refused("$..id", Action::Bijection(bijection)).is_none());
    assert_eq!(Protect::default().refuses(&rule("$.a.uuid")).unwrap().protected, "$..uuid");
}

#[test]
fn actions_stand_only_where_they_mean_something() {
    for (at, action) in [
        ("header:a", Action::NullEqMissing),
        ("$.a", Action::CookieAttrsOnly),
        ("body", Action::Case),
        ("body:text", Action::IgnoreValue),
        ("cookie:a", Action::Set),
    ] {
        let error = Rule::new(at, action.clone(), "test").unwrap_err();
        assert!(matches!(error.kind, RuleErrorKind::Misplaced(_, _)), "{at} {action}");
    }
    assert!(Rule::new("html:time.ago", Action::IgnoreValue, "test").is_ok());
    assert_eq!(error("html: "), (5, 1, RuleErrorKind::BadHtml));
}

#[test]
fn dead_and_expired_rules_are_told_apart_from_idle_ones() {
    let (today, last): (Day, Day) = ("2026-06-02".parse().unwrap(), "2026-06-01".parse().unwrap());
    let rules = RuleSet::builtin().with([
        rule("$.used"),
        rule("$.dead").owned_by("ada"),
        rule("$.old").until(last),
        rule("$.last-day").until(today),
    ]);
    let hits = [("$.used".to_owned(), 3), ("builtin/date".to_owned(), 7)].into();
    let state = |id: &str, compared: u64| {
        let run = Run { hits: &hits, compared, today };
        let states = rules.audit(&run);
        states.into_iter().find(|state| state.id == id).unwrap()
    };
    assert_eq!((state("$.used", 9).hits, state("$.used", 9).health), (3, RuleHealth::Used));
    assert_eq!(state("$.dead", 9).health, RuleHealth::Dead);
    assert_eq!(state("$.dead", 9).owner.as_deref(), Some("ada"));
    assert_eq!(state("$.dead", 0).health, RuleHealth::Idle);
    assert_eq!(state("$.old", 9).health, RuleHealth::Expired);
    assert_eq!(state("$.last-day", 9).health, RuleHealth::Dead);
    assert_eq!(state("builtin/date", 9).health, RuleHealth::Used);
    assert_eq!(state("builtin/via", 9).health, RuleHealth::Idle);
    let text = serde_json::to_string(&state("$.old", 9)).unwrap();
    assert!(text.contains(r#""expires":"2026-06-01""#) && text.contains(r#""health":"expired""#));
}

#[test]
fn an_expired_rule_is_not_in_force() {
    let rules = RuleSet::empty().with([rule("header:a").until("2026-06-01".parse().unwrap())]);
    let at = |day: &str| first_at_header(&rules.on(day.parse().unwrap()), "a");
    assert!(at("2026-06-01").is_some() && at("2026-06-02").is_none());
    let later = rules.on("2026-06-02".parse().unwrap()).on("2026-06-03".parse().unwrap());
    assert_eq!(first_at_header(&later, "a"), None);
    let back = later.on("2026-06-01".parse().unwrap());
    assert!(first_at_header(&back, "a").is_some());
    assert!(first_at_header(&rules, "a").is_some());
}
