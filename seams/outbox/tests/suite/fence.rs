//! Changes of the fence row mean what the pure protocol says.

use banyan_cutover::{Fence, FenceState, Move};
use banyan_domain::Epoch;
use banyan_outbox::fence::{self, Order};
use banyan_outbox::{Engine, OutboxError};

use crate::world::{World, begin_write, context, on_every_engine};

on_every_engine!(every_change_has_the_meaning_of_the_pure_function);

async fn every_change_has_the_meaning_of_the_pure_function<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    let name = context("messages");
    let mut refused = 0;
    for (state, epoch) in
        FenceState::ALL.into_iter().flat_map(|state| [1, 2, 3].map(|e| (state, e)))
    {
        for wanted in moves() {
            let before = Fence::new(state, Epoch(epoch));
            let sql =
                format!("UPDATE banyan_owner SET state = '{}', epoch = {epoch}", state.as_str());
            world.run(&sql).await;
            let mut tx = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
            let changed = fence::change(&mut tx, &name, wanted).await;
            tx.commit().await.unwrap();
            let after = {
                let mut connection = world.pool.acquire().await.unwrap();
                fence::read::<DB>(&mut connection, &name).await.unwrap().fence
            };
            match (before.moved(wanted), changed) {
                (Ok(meant), Ok(changed)) => assert_eq!((changed, after), (meant, meant)),
                (Err(meant), Err(OutboxError::Fence { source, .. })) => {
                    assert_eq!((source, after), (meant, before));
                    refused += 1;
                }
                (meant, changed) => panic!("{before:?} {wanted:?}: {meant:?}, but {changed:?}"),
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

fn moves() -> Vec<Move> {
    let mut moves = Vec::new();
    for epoch in 1..=3 {
        moves.extend([
            Move::Drain(Epoch(epoch)),
            Move::Open(Epoch(epoch)),
            Move::Bar(Epoch(epoch)),
        ]);
        moves.extend(
            (1..=3).map(|back| Move::Reopen { given_up: Epoch(epoch), back_to: Epoch(back) }),
        );
    }
    moves
}
