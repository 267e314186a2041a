//! A broker that fails as told, and as badly as RabbitMQ may: a refusal in the middle of a window lets the rest pass.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use banyan_events::broker::{
    Broker, BrokerError, BrokerKind, BrokerState, Consumer, GoOn, Message, Topology,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// What a message meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its queue is full.
    Full,
    /// Its exchange does not exist.
    NoExchange,
}

#[derive(Default)]
struct State {
    accepted: Vec<Message>,
    faults: HashMap<String, Fault>,
    down: bool,
    chaos: Option<StdRng>,
    window_bytes_max: usize,
}

/// The broker; a clone is the same one.
#[derive(Clone, Default)]
pub(crate) struct Rigged {
    state: Arc<Mutex<State>>,
}

impl Rigged {
    /// Fails at random, by seed.
    pub(crate) fn chaotic(seed: u64) -> Self {
        let broker = Self::default();
        broker.state.lock().unwrap().chaos = Some(StdRng::seed_from_u64(seed));
        broker
    }

    pub(crate) fn calm(&self) {
        self.state.lock().unwrap().chaos = None;
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    /// Every message whose body is `number` meets a fault from now on.
    pub(crate) fn rig(&self, number: usize, fault: Option<Fault>) {
        let mut state = self.state.lock().unwrap();
        match fault {
            Some(fault) => state.faults.insert(number.to_string(), fault),
            None => state.faults.remove(&number.to_string()),
        };
    }

    /// The most bytes that were ever published in one window.
    pub(crate) fn window_bytes_max(&self) -> usize {
        self.state.lock().unwrap().window_bytes_max
    }

    pub(crate) fn accepted(&self) -> Vec<Message> {
        self.state.lock().unwrap().accepted.clone()
    }

    /// Numbers as consumers see them that have an effect once per id.
    pub(crate) fn effects(&self) -> Vec<(String, usize)> {
        effects(&self.accepted())
    }

    /// The numbers of one subject, duplicates left out.
    pub(crate) fn of_subject(&self, subject: usize) -> Vec<usize> {
        let subject = format!("s{subject}");
        let effects = self.effects().into_iter();
        effects.filter(|(of, _)| *of == subject).map(|(_, number)| number).collect()
    }
}

/// Subject and number of each message, by the first of each id.
pub(crate) fn effects(messages: &[Message]) -> Vec<(String, usize)> {
    let mut seen = HashSet::new();
    let first = messages.iter().filter(|message| seen.insert(&message.properties.message_id));
    first.map(|message| (subject(message), number(message))).collect()
}

pub(crate) fn subject(message: &Message) -> String {
    message.text_header("cloudEvents_subject").unwrap().to_owned()
}

pub(crate) fn number(message: &Message) -> usize {
    std::str::from_utf8(&message.body).unwrap().trim().parse().unwrap()
}

impl State {
    fn fault_of(&self, message: &Message) -> Option<BrokerError> {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        self.faults.get(&body).map(|fault| match fault {
            Fault::Full => BrokerError::QueueFull { queue: "q".to_owned(), length_max: 1 },
            Fault::NoExchange => BrokerError::NoExchange { exchange: message.exchange.clone() },
        })
    }

    fn publish(&mut self, messages: Vec<Message>) -> Result<(), BrokerError> {
        let bytes = messages.iter().map(|message| message.body.len()).sum();
        self.window_bytes_max = self.window_bytes_max.max(bytes);
        let mut result = Ok(());
        for message in messages {
            if self.down {
                return Err(unreachable());
            }
            match self.whim() {
                // Lost on the way; or arrived, and the confirm is lost.
                0 => return Err(unreachable()),
                1 => {
                    self.accepted.push(message);
                    return Err(unreachable());
                }
                // A negative confirm: later messages of the window still arrive.
                2 => {
                    let reason = "negative confirm".to_owned();
                    result = Err(BrokerError::Refused { reason });
                    continue;
                }
                _ => {}
            }
            match self.fault_of(&message) {
                // The broker closes the channel: nothing after it arrives.
                Some(error @ BrokerError::NoExchange { .. }) => return Err(error),
                Some(error) => result = Err(error),
                None => self.accepted.push(message),
            }
        }
        result
    }

    fn whim(&mut self) -> u32 {
        self.chaos.as_mut().map_or(u32::MAX, |rng| rng.random_range(0..40))
    }
}

fn unreachable() -> BrokerError {
    BrokerError::Unreachable { place: "rigged".to_owned(), reason: "as told".to_owned() }
}

#[async_trait]
impl Broker for Rigged {
    fn kind(&self) -> BrokerKind {
        BrokerKind::RabbitMq
    }

    fn state(&self) -> BrokerState {
        if self.state.lock().unwrap().down {
            return BrokerState::Disconnected { reason: "as told".to_owned() };
        }
        BrokerState::Connected
    }

    async fn declare(&self, _topology: &Topology) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn publish_while(
        &self,
        messages: Vec<Message>,
        go_on: GoOn<'_>,
    ) -> Result<(), BrokerError> {
        if !go_on() {
            return Err(BrokerError::Unconfirmed { reason: "told to stop".to_owned() });
        }
        self.state.lock().unwrap().publish(messages)
    }

    async fn consume(&self, _: &str, _: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn depth(&self, _queue: &str) -> Result<u64, BrokerError> {
        Ok(0)
    }

    async fn close(&self) {}
}
