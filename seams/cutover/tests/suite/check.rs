//! The model check: every scope holds, and without any one rule the checker finds what breaks.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::invariant::NAMES;
use crate::model::Protocol;
use crate::reach;
use crate::scope::{self, Scope};
use crate::world::Mutation;

fn holds(scope: Scope) {
    let name = scope.name;
    let started = Instant::now();
    let model = Protocol::new(scope, Mutation::None);
    let checker = model.clone().checker().threads(2).spawn_dfs().join();
    let states = checker.unique_state_count();
    checker.assert_properties();
    let checked = started.elapsed();
    let started = Instant::now();
    // I10: whatever has happened, everything can come to rest with one open side and equal data.
    let reached = reach::walk(&model);
    println!(
        "{name}: {states} states, {} at rest, checked in {checked:.1?}, walked back in {:.1?}",
        reached.at_rest,
        started.elapsed()
    );
    assert_eq!(reached.states, states, "both walks see the same");
    assert!(reached.at_rest > 0);
    assert!(reached.stuck.is_none(), "I10: no way to rest from {:#?}", reached.stuck);
}

/// The checker stops at the first violation, which must be the expected one.
fn breaks(scope: Scope, mutation: Mutation, expected: &str) {
    let model = Protocol::new(scope, mutation);
    let checker =
        model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found: Vec<&str> =
        NAMES.into_iter().filter(|name| checker.discovery(name).is_some()).collect();
    println!("{mutation:?}: {} states, {found:?} broken", checker.unique_state_count());
    assert!(found.contains(&expected), "{found:?} broken instead of {expected}");
}

macro_rules! holds {
    ($($name:ident: $scope:expr;)*) => {$(
        #[test]
        fn $name() {
            holds($scope);
        }
    )*};
}

holds! {
    two_coordinators_without_a_lock_are_harmless: scope::COORDINATORS;
    a_stale_proxy_and_two_coordinators_lose_no_write: scope::PROXY;
    a_coordinator_that_slept_through_two_switches_is_harmless: scope::GHOST;
    a_side_that_is_away_is_never_guessed: scope::UNREACHABLE;
    slow_workers_and_deaths_lose_no_write: scope::DATA;
    a_rollback_keeps_what_the_service_accepted: scope::THERE_AND_BACK;
    every_event_goes_public_once: scope::EVENTS;
    events_keep_their_order_over_a_switch: scope::ORDER;
    opposite_orders_at_once_end_with_one_owner: scope::OPPOSITE;
    opposite_orders_at_once_leave_no_marker_unmet: scope::OPPOSITE_MARKERS;
}

/// cargo test -p banyan-cutover --release --test suite -- --ignored --nocapture --test-threads 1 wide
#[test]
#[ignore = "millions of states: for a quiet hour"]
fn wide_scopes_hold() {
    for scope in scope::WIDE {
        holds(scope);
    }
}

macro_rules! breaks {
    ($($name:ident: $scope:expr, $mutation:ident => $broken:literal;)*) => {$(
        #[test]
        fn $name() {
            breaks($scope, Mutation::$mutation, $broken);
        }
    )*};
}

breaks! {
    without_the_share_lock_a_write_is_lost: scope::DATA, NoShareLock => "I2";
    without_the_wait_for_the_drain_a_write_is_lost: scope::DATA, NoDrainWait => "I2";
    without_compare_and_set_at_commit_both_sides_open:
        scope::COORDINATORS, NoCompareAtCommit => "I1";
    without_the_fence_at_apply_an_open_side_is_overwritten: scope::DATA, NoFenceAtApply => "I3";
    without_the_lease_at_apply_a_stale_worker_writes: scope::DATA, NoLeaseAtApply => "I4";
    without_exact_ids_a_change_row_is_deleted_too_early: scope::DATA, RangeDelete => "I5";
    without_the_outbox_before_the_seal_an_event_is_late: scope::ORDER, NoSettle => "I6";
    without_the_bar_an_aborted_switch_opens_both_sides: scope::COORDINATORS, NoBar => "I1";
}
