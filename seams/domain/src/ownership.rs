//! Steps of an ownership: arm, hold, move, disarm.
//!
//! Owns the rules by which a cutover changes the route table. It exists apart from the flips of reads because these
//! steps carry an epoch, and whoever carries an older one must come to nothing. What must stay true: only one
//! cutover of a context is armed at a time; writes are held only for the armed epoch; the same step again changes
//! nothing; a freeze stops the way forward before it can no longer be stopped, and never the way back.

use crate::change::Refusal;
use crate::name::ContextName;
use crate::side::Side;
use crate::spec::Catalogue;
use crate::table::{ContextState, RouteTable, Stamp};
use crate::version::Epoch;

/// An ownership that is to begin.
pub(crate) struct Wanted<'a> {
    pub(crate) context: &'a ContextName,
    pub(crate) to: Side,
    pub(crate) epoch: Epoch,
}

/// Arms a cutover away from the present owner.
pub(crate) fn arm(
    table: &mut RouteTable,
    catalogue: &Catalogue,
    context: &ContextName,
    epoch: Epoch,
    at_ms: u64,
) -> Result<bool, Refusal> {
    let frozen = freeze_of_a_step_forward(table, context);
    let state = state_of(table, catalogue, context)?;
    if epoch <= state.epoch {
        return Err(stale(context, state, epoch));
    }
    match state.armed {
        Some(armed) if armed == epoch => return Ok(false),
        Some(armed) => {
            return Err(Refusal::AlreadyArmed { context: context.clone(), armed, wanted: epoch });
        }
        None => {}
    }
    frozen?;
    state.armed = Some(epoch);
    state.holding = false;
    state.under_way_ms = at_ms;
    Ok(true)
}

/// Holds the writes of an armed cutover.
pub(crate) fn hold(
    table: &mut RouteTable,
    catalogue: &Catalogue,
    context: &ContextName,
    epoch: Epoch,
    at_ms: u64,
) -> Result<bool, Refusal> {
    let frozen = freeze_of_a_step_forward(table, context);
    let state = state_of(table, catalogue, context)?;
    if state.armed != Some(epoch) {
        return Err(Refusal::NotArmed { context: context.clone(), wanted: epoch });
    }
    if state.holding {
        return Ok(false);
    }
    // Nothing has moved yet, so a freeze can still stop it; the coordinator then disarms.
    frozen?;
    state.holding = true;
    state.under_way_ms = at_ms;
    Ok(true)
}

/// Gives an armed cutover up. Another epoch, or none, is left alone: the same word twice, or from one who was
/// overtaken, must do no harm.
pub(crate) fn disarm(
    table: &mut RouteTable,
    catalogue: &Catalogue,
    context: &ContextName,
    epoch: Epoch,
) -> Result<bool, Refusal> {
    let state = state_of(table, catalogue, context)?;
    if state.armed != Some(epoch) {
        return Ok(false);
    }
    state.armed = None;
    state.holding = false;
    state.under_way_ms = 0;
    Ok(true)
}

/// The same ownership again changes nothing; an older one, or another owner of the same one, is refused. A freeze does
/// not stop it: the switch is decided and a fence may be open, so to refuse now would leave the writes without a side
/// that takes them. The way forward is stopped at [`arm`] and [`hold`].
pub(crate) fn move_owner(
    table: &mut RouteTable,
    catalogue: &Catalogue,
    wanted: &Wanted<'_>,
    stamp: &Stamp,
) -> Result<bool, Refusal> {
    let Wanted { context, to, epoch } = *wanted;
    let state = state_of(table, catalogue, context)?;
    if (state.owner, state.epoch) == (to, epoch) {
        return Ok(false);
    }
    if epoch <= state.epoch {
        return Err(stale(context, state, epoch));
    }
    *state = ContextState::settled(to, epoch, stamp.clone());
    Ok(true)
}

/// The refusal of a step away from legacy during a freeze. Where a step leads is told by the present owner.
fn freeze_of_a_step_forward(table: &RouteTable, context: &ContextName) -> Result<(), Refusal> {
    let forward = table.contexts.get(context).is_some_and(|state| state.owner == Side::Legacy);
    table.frozen.as_ref().filter(|_| forward).map(Refusal::frozen).map_or(Ok(()), Err)
}

fn state_of<'a>(
    table: &'a mut RouteTable,
    catalogue: &Catalogue,
    context: &ContextName,
) -> Result<&'a mut ContextState, Refusal> {
    let unknown = || Refusal::UnknownContext { name: context.clone() };
    catalogue.context(context).ok_or_else(unknown)?;
    table.contexts.get_mut(context).ok_or_else(unknown)
}

fn stale(context: &ContextName, state: &ContextState, wanted: Epoch) -> Refusal {
    Refusal::StaleEpoch { context: context.clone(), current: state.epoch, wanted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Actor, Change, Effect, apply};
    use crate::spec::ContextSpec;
    use crate::version::Generation;

    fn messages() -> ContextName {
        ContextName::new("messages").unwrap()
    }

    fn catalogue() -> Catalogue {
        let spec = ContextSpec {
            name: messages(),
            sticky: Vec::new(),
            read_your_writes_max_ms: 5_000,
            endpoints: Vec::new(),
        };
        Catalogue { contexts: vec![spec] }
    }

    fn go(table: &RouteTable, change: &Change) -> Result<(RouteTable, Effect), Refusal> {
        let actor = Actor { name: "ann".to_owned(), reason: String::new(), at_ms: 9 };
        apply(table, &catalogue(), change, &actor)
    }

    /// After these changes, each of which must be taken.
    fn after(table: &RouteTable, changes: &[Change]) -> RouteTable {
        changes.iter().fold(table.clone(), |table, change| go(&table, change).unwrap().0)
    }

    fn start() -> RouteTable {
        after(&RouteTable::default(), &[Change::Adopt])
    }

    fn arm(epoch: u64) -> Change {
        Change::Arm { context: messages(), epoch: Epoch(epoch) }
    }

    fn hold(epoch: u64) -> Change {
        Change::Hold { context: messages(), epoch: Epoch(epoch) }
    }

    fn disarm(epoch: u64) -> Change {
        Change::Disarm { context: messages(), epoch: Epoch(epoch) }
    }

    fn to(to: Side, epoch: u64) -> Change {
        Change::MoveOwner { context: messages(), to, epoch: Epoch(epoch) }
    }

    fn way(table: &RouteTable) -> (Side, u64, Option<String>) {
        let state = &table.contexts[&messages()];
        (state.owner, state.epoch.0, state.under_way())
    }

    #[test]
    fn a_cutover_is_armed_then_holds_then_moves_and_each_step_twice_is_one_step() {
        let mut table = start();
        let steps = [
            (arm(2), (Side::Legacy, 1, Some("armed(2)".to_owned()))),
            (hold(2), (Side::Legacy, 1, Some("holding(2)".to_owned()))),
            (to(Side::New, 2), (Side::New, 2, None)),
        ];
        for (change, expected) in steps {
            let (next, effect) = go(&table, &change).unwrap();
            assert!(effect.changed && effect.moved.is_empty());
            assert_eq!(next.generation, table.generation.next());
            assert_eq!(way(&next), expected);
            let (again, effect) = go(&next, &change).unwrap();
            assert!(!effect.changed && again == next, "{change:?} again");
            table = next;
        }
    }

    #[test]
    fn a_disarm_clears_both_leaves_the_owner_and_touches_no_other_epoch() {
        let held = after(&start(), &[arm(2), hold(2)]);
        for other in [1, 3] {
            assert!(!go(&held, &disarm(other)).unwrap().1.changed);
        }
        let free = after(&held, &[disarm(2)]);
        assert_eq!(way(&free), (Side::Legacy, 1, None));
        assert_eq!(free.contexts[&messages()].stamp, held.contexts[&messages()].stamp);
        assert!(!go(&free, &disarm(2)).unwrap().1.changed);
    }

    #[test]
    fn whoever_carries_another_epoch_comes_to_nothing() {
        let armed = after(&start(), &[arm(3)]);
        let code = |table: &RouteTable, change: &Change| go(table, change).unwrap_err().code();
        assert_eq!(code(&armed, &arm(1)), "banyan::owner::stale_epoch");
        assert_eq!(code(&armed, &arm(2)), "banyan::owner::already_armed");
        assert_eq!(code(&armed, &arm(4)), "banyan::owner::already_armed");
        assert_eq!(code(&armed, &hold(4)), "banyan::owner::not_armed");
        assert_eq!(code(&start(), &hold(2)), "banyan::owner::not_armed");
        let moved = after(&armed, &[to(Side::New, 3)]);
        assert_eq!(code(&moved, &arm(3)), "banyan::owner::stale_epoch");
        assert_eq!(code(&moved, &hold(3)), "banyan::owner::not_armed");
        // The next run has armed already: the word of the one before it changes nothing of that.
        let next = after(&moved, &[arm(4)]);
        assert!(!go(&next, &to(Side::New, 3)).unwrap().1.changed);
        assert!(!go(&next, &disarm(3)).unwrap().1.changed);
        assert_eq!(way(&next).2.unwrap(), "armed(4)");
        let unknown = Change::Arm { context: ContextName::new("tracks").unwrap(), epoch: Epoch(2) };
        assert_eq!(code(&start(), &unknown), "banyan::flip::unknown_context");
    }

    #[test]
    fn a_freeze_stops_the_way_forward_and_never_the_way_back() {
        let frozen = after(&start(), &[Change::Freeze]);
        assert!(matches!(go(&frozen, &arm(2)), Err(Refusal::Frozen { .. })));
        let moved = after(&start(), &[arm(2), to(Side::New, 2), Change::Freeze]);
        let back = after(&moved, &[arm(3), hold(3), to(Side::Legacy, 3)]);
        assert_eq!(way(&back), (Side::Legacy, 3, None));
    }

    #[test]
    fn a_freeze_within_a_cutover_stops_it_before_the_hold_and_not_after_the_fence_opened() {
        let armed = after(&start(), &[arm(2), Change::Freeze]);
        assert!(matches!(go(&armed, &hold(2)), Err(Refusal::Frozen { .. })));
        assert!(!go(&armed, &arm(2)).unwrap().1.changed, "what is so already is no step");
        assert!(go(&armed, &disarm(2)).unwrap().1.changed);
        let held = after(&start(), &[arm(2), hold(2), Change::Freeze]);
        assert!(!go(&held, &hold(2)).unwrap().1.changed);
        assert_eq!(way(&after(&held, &[to(Side::New, 2)])), (Side::New, 2, None));
    }

    #[test]
    fn a_decided_switch_moves_the_owner_although_it_was_disarmed_and_frozen() {
        let disarmed = after(&start(), &[arm(2), hold(2), disarm(2), Change::Freeze]);
        assert!(matches!(go(&disarmed, &arm(3)), Err(Refusal::Frozen { .. })));
        assert_eq!(way(&after(&disarmed, &[to(Side::New, 2)])), (Side::New, 2, None));
    }

    #[test]
    fn a_table_stored_before_holding_existed_still_loads() {
        let text = r#"{"generation":7,"frozen":null,"endpoints":{},"contexts":{"messages":
            {"owner":"new","epoch":4,"armed":5,"stamp":{"since_ms":1,"by":"ann","reason":""}}}}"#;
        let table: RouteTable = serde_json::from_str(text).unwrap();
        assert_eq!(table.generation, Generation(7));
        assert_eq!(way(&table), (Side::New, 4, Some("armed(5)".to_owned())));
        let held = after(&table, &[hold(5)]);
        let stored = serde_json::to_string(&held).unwrap();
        assert_eq!(serde_json::from_str::<RouteTable>(&stored).unwrap(), held);
    }
}
