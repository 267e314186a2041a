//! Sessions in order, different ones side by side.
//!
//! Owns which exchange may go next. What must stay true: pure; of one session at most one exchange is on its way, and they
//! go in the order in which they came; what has no session waits for nobody.

use crate::session::Session;
use std::collections::{HashMap, VecDeque};

/// Waiting exchanges by session.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    /// Sessions with an exchange that is ready or on its way, and what waits behind it.
    busy: HashMap<Session, VecDeque<T>>,
    ready: VecDeque<(Option<Session>, T)>,
    waiting: usize,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { busy: HashMap::new(), ready: VecDeque::new(), waiting: 0 }
    }
}

impl<T> Lanes<T> {
    /// Takes an exchange in.
    pub(crate) fn push(&mut self, session: Option<Session>, item: T) {
        self.waiting += 1;
        if let Some(session) = session {
            if let Some(behind) = self.busy.get_mut(&session) {
                behind.push_back(item);
                return;
            }
            self.busy.insert(session, VecDeque::new());
        }
        self.ready.push_back((session, item));
    }

    /// The next exchange whose session is free; [`Lanes::finished`] must be told its end.
    pub(crate) fn take(&mut self) -> Option<(Option<Session>, T)> {
        let next = self.ready.pop_front()?;
        self.waiting -= 1;
        Some(next)
    }

    /// An exchange of this session has ended.
    pub(crate) fn finished(&mut self, session: Option<Session>) {
        let Some(session) = session else { return };
        let Some(behind) = self.busy.get_mut(&session) else { return };
        match behind.pop_front() {
            Some(item) => self.ready.push_back((Some(session), item)),
            None => {
                self.busy.remove(&session);
            }
        }
    }

    /// How many wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Recorded, SessionKey};
    use proptest::prelude::*;

    fn session(of: u8) -> Option<Session> {
        let recorded = Recorded { session: Some(of.to_string()), ..Recorded::default() };
        (of > 0).then(|| SessionKey::Auto.of(&recorded)).flatten()
    }

    proptest! {
        #[test]
        fn each_session_stays_in_order_one_at_a_time_and_all_come_out(
            sessions in proptest::collection::vec(0..6_u8, 0..80),
            choices in proptest::collection::vec(any::<(bool, prop::sample::Index)>(), 400),
        ) {
            let mut lanes = Lanes::default();
            let mut coming = sessions.iter().enumerate().map(|(at, of)| (at, *of));
            let mut running: Vec<(Option<Session>, (usize, u8))> = Vec::new();
            let mut last: HashMap<u8, usize> = HashMap::new();
            let mut out = 0;
            for (push, index) in choices {
                if push {
                    if let Some(item) = coming.next() {
                        lanes.push(session(item.1), item);
                    }
                } else if !running.is_empty() && index.index(2) == 0 {
                    let (of, _) = running.swap_remove(index.index(running.len()));
                    lanes.finished(of);
                } else if let Some((of, item)) = lanes.take() {
                    prop_assert!(of.is_none() || running.iter().all(|(other, _)| *other != of));
                    if item.1 > 0 {
                        let before = last.insert(item.1, item.0);
                        prop_assert!(before.is_none_or(|before| before < item.0));
                    }
                    running.push((of, item));
                    out += 1;
                }
            }
            for item in coming {
                lanes.push(session(item.1), item);
            }
            loop {
                while let Some(next) = lanes.take() {
                    running.push(next);
                    out += 1;
                }
                let Some((of, _)) = running.pop() else { break };
                lanes.finished(of);
            }
            prop_assert_eq!((out, lanes.waiting()), (sessions.len(), 0));
        }
    }
}
