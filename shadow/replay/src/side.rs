//! Asking the two sides of a replay.
//!
//! Owns where answers come from (a URL, or the recording), and patience: a side that is down or says that it has too much
//! to do is waited for, not skipped. What must stay true: a request is tried a bounded number of times; a side that breaks
//! one request but answers others does not stop the replay; one that is gone for longer than allowed does.

use crate::redact::Redactor;
use crate::throttle::Throttle;
use async_trait::async_trait;
use banyan_domain::{ContextName, Side};
use banyan_shadow::{Answer, Ask, AskError, Clock, HttpAsk, MirrorRequest};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Says which exchange of a recording a request is; for the logs of the sides, and for re-reads.
pub const REPLAY_HEADER: &str = "x-banyan-replay";

/// Tries of one request that a side breaks off, when it can be reached.
const BROKEN_TRIES: u32 = 3;
/// Waits of one request on a side that says 429, or 503 with `retry-after`.
const BUSY_TRIES: u32 = 5;
/// Longest such wait, in ms.
const BUSY_MS_MAX: u64 = 30_000;
/// First and longest pause of a side that is down, in ms.
const DOWN_MS: (u64, u64) = (250, 5_000);
/// Bound on a try to connect, in ms.
const CONNECT_MS: u64 = 2_000;

/// What is kept of an exchange until its account is closed.
pub(crate) struct Open {
    /// Its name in the recording.
    pub(crate) name: String,
    /// Legacy's recorded answer, when that is the baseline.
    pub(crate) legacy: Option<Answer>,
}

/// The exchanges that are on their way or looked at again.
pub(crate) type OpenExchanges = Arc<Mutex<HashMap<u64, Open>>>;

/// The sides as the engine re-reads them.
pub(crate) struct Sides {
    pub(crate) http: HttpAsk,
    /// Whether legacy is the recording.
    pub(crate) recorded: bool,
    pub(crate) open: OpenExchanges,
    /// Makes live answers comparable with a redacted recording.
    pub(crate) redactor: Option<Redactor>,
}

#[async_trait]
impl Ask for Sides {
    async fn ask(
        &self,
        context: &ContextName,
        side: Side,
        request: &MirrorRequest,
    ) -> Result<Answer, AskError> {
        if side == Side::Legacy && self.recorded {
            let number = request.header(REPLAY_HEADER).and_then(|v| std::str::from_utf8(v).ok());
            let number = number.and_then(|text| text.parse().ok()).ok_or(AskError::NoTarget)?;
            let legacy = lock(&self.open).get(&number).and_then(|open| open.legacy.clone());
            return legacy.ok_or(AskError::NoTarget);
        }
        let answer = self.http.ask(context, side, request).await?;
        Ok(match &self.redactor {
            Some(redactor) => redactor.answer(&answer),
            None => answer,
        })
    }
}

/// A side with its state.
struct Gate {
    /// Where to try to connect: host and port.
    address: Option<(String, u16)>,
    state: Mutex<GateState>,
}

#[derive(Default)]
struct GateState {
    /// Since when it does not answer, in ms.
    down_since: Option<u64>,
    failures: u32,
    /// Not to be asked before, in ms.
    until_ms: u64,
}

/// Asks with patience.
pub(crate) struct Patient {
    sides: Arc<dyn Ask>,
    clock: Arc<dyn Clock>,
    gates: [Gate; 2],
    throttle: Mutex<Throttle>,
    give_up_ms: u64,
}

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It failed; others may not.
    Failed(AskError),
    /// The side has been gone for too long.
    Gone(Side),
}

impl Patient {
    /// `addresses` are host and port of legacy and of new; nothing for a recorded side.
    pub(crate) fn new(
        sides: Arc<dyn Ask>,
        clock: Arc<dyn Clock>,
        addresses: [Option<(String, u16)>; 2],
        give_up_ms: u64,
    ) -> Self {
        let gates = addresses.map(|address| Gate { address, state: Mutex::default() });
        Self { sides, clock, gates, throttle: Mutex::default(), give_up_ms }
    }

    /// The first side that cannot be reached at all.
    pub(crate) async fn unreachable(&self) -> Option<Side> {
        for side in [Side::Legacy, Side::New] {
            if !self.gate(side).connects().await {
                return Some(side);
            }
        }
        None
    }

    /// The share of the wanted rate that both sides bear.
    pub(crate) fn share(&self) -> f64 {
        lock(&self.throttle).share()
    }

    /// The side that is waited for at the moment, and since when.
    pub(crate) fn waits_for(&self) -> Option<(Side, u64)> {
        let mut sides = [Side::Legacy, Side::New].into_iter();
        sides.find_map(|side| Some((side, lock(&self.gate(side).state).down_since?)))
    }

    /// Asks until there is an answer or no more sense in it.
    pub(crate) async fn ask(
        &self,
        context: &ContextName,
        side: Side,
        request: &MirrorRequest,
    ) -> Result<Answer, Trouble> {
        let (mut busy, mut broken, mut late) = (0, 0, 0);
        loop {
            self.wait(side).await;
            let began_ms = self.clock.now_ms();
            let result = self.sides.ask(context, side, request).await;
            let now_ms = self.clock.now_ms();
            match result {
                Ok(answer)
                    if busy < BUSY_TRIES
                        && let Some(pause_ms) = pause_ms(&answer, busy) =>
                {
                    busy += 1;
                    self.suffers(now_ms);
                    let mut gate = lock(&self.gate(side).state);
                    gate.until_ms = gate.until_ms.max(now_ms + pause_ms);
                }
                Ok(answer) => {
                    lock(&self.throttle).answered(now_ms, now_ms.saturating_sub(began_ms));
                    *lock(&self.gate(side).state) = GateState::default();
                    return Ok(answer);
                }
                Err(AskError::Unreachable | AskError::Resting) => {
                    self.suffers(now_ms);
                    broken += 1;
                    if broken >= BROKEN_TRIES && self.gate(side).connects().await {
                        return Err(Trouble::Failed(AskError::Unreachable));
                    }
                    if self.down(side, now_ms) {
                        return Err(Trouble::Gone(side));
                    }
                }
                Err(AskError::Timeout) if late == 0 => {
                    late += 1;
                    self.suffers(now_ms);
                }
                Err(error) => return Err(Trouble::Failed(error)),
            }
        }
    }

    async fn wait(&self, side: Side) {
        let until_ms = lock(&self.gate(side).state).until_ms;
        let wait_ms = until_ms.saturating_sub(self.clock.now_ms());
        if wait_ms > 0 {
            self.clock.sleep(wait_ms).await;
        }
    }

    /// Notes a failure; true when the side has been down for longer than allowed.
    fn down(&self, side: Side, now_ms: u64) -> bool {
        let mut gate = lock(&self.gate(side).state);
        let since = *gate.down_since.get_or_insert(now_ms);
        if gate.until_ms <= now_ms {
            let pause = DOWN_MS.0.saturating_mul(1 << gate.failures.min(10)).min(DOWN_MS.1);
            gate.failures += 1;
            gate.until_ms = now_ms + pause;
        }
        now_ms.saturating_sub(since) >= self.give_up_ms
    }

    fn suffers(&self, now_ms: u64) {
        lock(&self.throttle).suffers(now_ms);
    }

    const fn gate(&self, side: Side) -> &Gate {
        let [legacy, new] = &self.gates;
        match side {
            Side::Legacy => legacy,
            Side::New => new,
        }
    }
}

impl Gate {
    async fn connects(&self) -> bool {
        let Some((host, port)) = &self.address else { return true };
        let connecting = tokio::net::TcpStream::connect((host.as_str(), *port));
        let limit = Duration::from_millis(CONNECT_MS);
        tokio::time::timeout(limit, connecting).await.is_ok_and(|connected| connected.is_ok())
    }
}

/// How long to leave a side alone that says it has too much to do.
fn pause_ms(answer: &Answer, tries: u32) -> Option<u64> {
    let header = answer.headers.iter().find(|(name, _)| name == "retry-after");
    let seconds =
        header.and_then(|(_, value)| std::str::from_utf8(value).ok()?.trim().parse().ok());
    let asked_ms = seconds.map(|seconds: u64| seconds.saturating_mul(1_000));
    match (answer.status, asked_ms) {
        (429, None) => Some(500 << tries.min(6)),
        (429 | 503, Some(ms)) => Some(ms.min(BUSY_MS_MAX)),
        _ => None,
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_shadow::Sleep;
    use bytes::Bytes;
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Time that passes only by waiting for it.
    #[derive(Default)]
    struct Waited(AtomicU64);

    impl Clock for Waited {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::SeqCst)
        }

        fn sleep(&self, ms: u64) -> Sleep {
            self.0.fetch_add(ms, Ordering::SeqCst);
            Box::pin(async {})
        }
    }

    /// Answers as it was told, then 200.
    struct Told(Mutex<VecDeque<Result<(u16, &'static str), AskError>>>);

    #[async_trait]
    impl Ask for Told {
        async fn ask(
            &self,
            _: &ContextName,
            _: Side,
            _: &MirrorRequest,
        ) -> Result<Answer, AskError> {
            let (status, after) = lock(&self.0).pop_front().unwrap_or(Ok((200, "")))?;
            let headers = vec![("retry-after".to_owned(), after.as_bytes().to_vec())];
            Ok(Answer { status, headers, body: Bytes::new() })
        }
    }

    type Script = Vec<Result<(u16, &'static str), AskError>>;

    /// What comes of a request, and after how many ms.
    async fn ask(
        script: Script,
        address: Option<(String, u16)>,
    ) -> (Result<u16, Trouble>, u64, f64) {
        let clock = Arc::new(Waited::default());
        let told = Arc::new(Told(Mutex::new(script.into())));
        let patient = Patient::new(told, clock.clone(), [None, address], 10_000);
        let context = ContextName::new("messages").unwrap();
        let (method, path_and_query) = ("GET".into(), "/".into());
        let request = MirrorRequest { method, path_and_query, headers: Vec::new() };
        let result = patient.ask(&context, Side::New, &request).await;
        (result.map(|answer| answer.status), clock.now_ms(), patient.share())
    }

    #[tokio::test]
    async fn a_busy_side_is_left_alone_for_as_long_as_it_asks() {
        let (result, waited, share) = ask(vec![Ok((429, "3")), Ok((503, "2"))], None).await;
        assert_eq!((result, waited), (Ok(200), 5_000));
        assert!(share < 1.0);
        let (result, waited, _) = ask(vec![Ok((503, ""))], None).await;
        assert_eq!((result, waited), (Ok(503), 0), "an error without a wish is an answer");
        let (result, ..) = ask(vec![Ok((429, "1")); 20], None).await;
        assert_eq!(result, Ok(429), "not for ever");
    }

    #[tokio::test]
    async fn a_side_that_comes_back_is_waited_for_and_one_that_stays_away_is_gone() {
        // Nobody listens on port 1 of the loopback.
        let nowhere = || Some(("127.0.0.1".to_owned(), 1));
        let (result, waited, _) = ask(vec![Err(AskError::Unreachable); 5], nowhere()).await;
        assert_eq!(result, Ok(200));
        assert!((3_000..10_000).contains(&waited), "{waited}");
        let (result, waited, _) = ask(vec![Err(AskError::Unreachable); 1_000], nowhere()).await;
        assert_eq!(result, Err(Trouble::Gone(Side::New)));
        assert!((10_000..20_000).contains(&waited), "{waited}");
    }

    #[tokio::test]
    async fn a_request_that_breaks_a_side_that_lives_is_given_up_alone() {
        let (result, waited, _) = ask(vec![Err(AskError::Unreachable); 1_000], None).await;
        assert_eq!(result, Err(Trouble::Failed(AskError::Unreachable)));
        assert!(waited < 2_000, "{waited}");
        let (result, ..) = ask(vec![Err(AskError::Timeout); 5], None).await;
        assert_eq!(result, Err(Trouble::Failed(AskError::Timeout)), "asked twice");
        let (result, ..) = ask(vec![Err(AskError::Timeout)], None).await;
        assert_eq!(result, Ok(200));
    }
}
