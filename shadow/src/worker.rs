//! The life of a mirrored read.
//!
//! Owns the order of the steps: still planned, can be asked again, ask, compare, and on a mismatch the recheck. It reads
//! like the numbered list in the README. What must stay true: every read leaves one outcome; nothing is asked for a read
//! whose mirror is no longer planned.

use crate::account::{Account, Books};
use crate::advise::Advisor;
use crate::capacity::Purpose;
use crate::clock::{Clock, Dice};
use crate::config::{EndpointConfig, LagSource, MirrorPlan, ShadowConfig};
use crate::guard::{Call, Guard};
use crate::judge::EndpointJudge;
use crate::noise::{self, Looks};
use crate::observe::{Observer, Seen};
use crate::queue::Queued;
use crate::recheck::{Rechecks, Suspected};
use crate::renaming::Renamings;
use crate::settle::Pair;
use crate::tally::Outcome;
use crate::undeclared::Collector;
use crate::{Answer, Ask, AskError, Exchange, MirrorRequest, Served, SkipReason};
use banyan_diff::{Day, RuleSet, Verdict};
use banyan_domain::{ContextName, EndpointName, Generation, Side};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// From this size on, a comparison may take milliseconds and goes to a thread of its own.
const APART_BYTES: usize = 256 << 10;

/// What all tasks share.
pub(crate) struct Core {
    pub(crate) config: ShadowConfig,
    pub(crate) plan: Arc<dyn MirrorPlan>,
    pub(crate) lag: Option<Arc<dyn LagSource>>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dice: Arc<Dice>,
    pub(crate) guard: Guard,
    pub(crate) books: Arc<Books>,
    pub(crate) rechecks: Rechecks,
    pub(crate) looks: Looks,
    pub(crate) closing: AtomicBool,
    renamings: Renamings,
    pub(crate) advisor: Advisor,
    /// Set when shadowing runs.
    pub(crate) collector: Mutex<Option<Collector>>,
    unknown: EndpointConfig,
}

/// What remains of an exchange once its answers are compared. Holds credentials: in memory only.
#[derive(Clone)]
pub(crate) struct Read {
    pub(crate) context: ContextName,
    pub(crate) endpoint: EndpointName,
    pub(crate) served_by: Side,
    pub(crate) mirror_to: Side,
    pub(crate) generation: Generation,
    pub(crate) request: MirrorRequest,
    pub(crate) at_ms: u64,
}

impl Read {
    /// The request of this read to a side.
    pub(crate) const fn call(&self, side: Side, purpose: Purpose) -> Call<'_> {
        Call {
            context: &self.context,
            endpoint: &self.endpoint,
            side,
            request: &self.request,
            purpose,
        }
    }
}

impl Core {
    pub(crate) fn new(config: ShadowConfig, ask: Arc<dyn Ask>, ports: &crate::Ports) -> Self {
        let dice = Arc::new(Dice::new(ports.seed));
        let books = Books::new(config.ledger, config.redaction.clone(), config.samples_per_minute);
        Self {
            guard: Guard::new(
                ask,
                ports.clock.clone(),
                dice.clone(),
                config.backoff,
                config.sides.clone(),
            ),
            rechecks: Rechecks::new(&config.recheck),
            renamings: Renamings::new(&config),
            looks: Looks::default(),
            unknown: EndpointConfig { rules: config.rules.clone(), template: None, version: None },
            plan: ports.plan.clone(),
            lag: ports.lag.clone(),
            observer: ports.observer.clone(),
            clock: ports.clock.clone(),
            books: Arc::new(books),
            closing: AtomicBool::new(false),
            advisor: Advisor::new(config.protect.clone()),
            collector: Mutex::new(None),
            dice,
            config,
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn endpoint(&self, name: &EndpointName) -> &EndpointConfig {
        self.config.endpoints.get(name).unwrap_or(&self.unknown)
    }

    /// The judge of an endpoint with all of its rules.
    pub(crate) fn judge(&self, read: &Read) -> EndpointJudge {
        let judge = self.base_judge(read);
        let learned = self.config.learned.of(&read.endpoint);
        let rules = learned.map(|rules| self.in_force(&rules, read));
        EndpointJudge { rules: rules.unwrap_or_else(|| judge.rules.clone()), ..judge }
    }

    /// The judge without the rules of accepted noise.
    pub(crate) fn base_judge(&self, read: &Read) -> EndpointJudge {
        EndpointJudge {
            rules: self.in_force(&self.endpoint(&read.endpoint).rules, read),
            budget: self.config.budget,
            owner: self.plan.owner(&read.context),
            renaming: self.renamings.of(&read.endpoint),
            version: self.endpoint(&read.endpoint).version.clone(),
        }
    }

    /// A read, as an observer sees it.
    pub(crate) fn seen<'a>(&'a self, read: &'a Read) -> Seen<'a> {
        Seen {
            context: &read.context,
            endpoint: &read.endpoint,
            request: &read.request,
            rules: &self.endpoint(&read.endpoint).rules,
            at_ms: read.at_ms,
        }
    }

    /// Rules may expire while the process runs.
    fn in_force(&self, rules: &RuleSet, read: &Read) -> RuleSet {
        rules.for_method(&read.request.method).on(Day::of_unix_ms(self.clock.now_ms()))
    }

    pub(crate) fn still_planned(&self, read: &Read) -> bool {
        self.plan.still_planned(&read.endpoint, read.mirror_to, read.generation)
    }
}

/// Mirrors one read: the main path of this crate.
pub(crate) async fn mirror(core: Arc<Core>, queued: Queued) {
    let exchange = queued.exchange();
    let account = core.books.open(&exchange.endpoint, exchange.at_ms);
    let read = match read(&core, exchange) {
        Ok(read) => read,
        Err(reason) => return account.skip(reason),
    };
    let asked_ms = core.clock.now_ms();
    let mirrored = match core.guard.ask(read.call(read.mirror_to, Purpose::Mirror)).await {
        Ok(answer) => answer,
        Err(AskError::Timeout) if read.served_by == Side::Legacy => {
            let served = answer(&exchange.served);
            drop(queued);
            return silent(&core, account, read, served);
        }
        Err(error) => return account.fail(error.failure()),
    };
    let served = answer(&exchange.served);
    let bytes = served.bytes() + mirrored.bytes();
    let (judge, served_by) = (core.judge(&read), read.served_by);
    let (owner, compared) = (judge.owner, {
        let (served, mirrored) = (served.clone(), mirrored.clone());
        apart(bytes, move || judge.compare(served_by, &served, &mirrored)).await
    });
    drop(queued);
    let Some(comparison) = compared else { return account.inconclusive("compare_failed") };
    let (owner, other) = if owner == served_by { (served, mirrored) } else { (mirrored, served) };
    let asked_ms = Some(asked_ms);
    let suspected = Suspected { answers: Pair { owner, other }, asked_ms, comparison };
    conclude(&core, account, read, suspected);
}

/// New did not answer in time, where legacy did: an error of new if it stays that way.
pub(crate) fn silent(core: &Arc<Core>, account: Account, read: Read, served: Answer) {
    let judge = core.judge(&read);
    let comparison = judge.silence(&served);
    if judge.owner != Side::Legacy || comparison.verdict != Verdict::NewError {
        return account.fail(AskError::Timeout.failure());
    }
    let answers = Pair { owner: served, other: Answer::none() };
    core.rechecks.enter(core, account, read, Suspected { answers, asked_ms: None, comparison });
}

fn read(core: &Core, exchange: &Exchange) -> Result<Read, SkipReason> {
    let read = Read {
        context: exchange.context.clone(),
        endpoint: exchange.endpoint.clone(),
        served_by: exchange.served_by,
        mirror_to: exchange.mirror_to,
        generation: exchange.generation,
        request: MirrorRequest::of(exchange)?,
        at_ms: exchange.at_ms,
    };
    if !core.still_planned(&read) {
        return Err(SkipReason::PhaseChanged);
    }
    Ok(read)
}

fn answer(served: &Served) -> Answer {
    let headers = served.headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.clone()));
    Answer { status: served.status, headers: headers.collect(), body: served.body.clone() }
}

/// Turns the first comparison into an outcome, or a mismatch into a recheck.
pub(crate) fn conclude(core: &Arc<Core>, account: Account, read: Read, suspected: Suspected) {
    let (request, comparison) = (&read.request, &suspected.comparison);
    core.looks.offer(core, &read, comparison);
    match comparison.verdict {
        Verdict::Match => account.compared(request, Outcome::Match, comparison),
        Verdict::MatchNormalised if noise::hid(comparison) => {
            account.compared(request, Outcome::Noise, comparison);
        }
        Verdict::MatchNormalised => account.compared(request, Outcome::MatchNormalised, comparison),
        Verdict::LegacyError => account.compared(request, Outcome::LegacyError, comparison),
        Verdict::BothError => account.compared(request, Outcome::BothError, comparison),
        Verdict::Inconclusive(why) => account.inconclusive(why.as_str()),
        Verdict::Mismatch(_) | Verdict::NewError => {
            core.rechecks.enter(core, account, read, suspected);
        }
    }
}

/// Runs a comparison here when it is small, else on a thread of its own; nothing if it failed there.
pub(crate) async fn apart<T: Send + 'static>(
    bytes: usize,
    compare: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if bytes < APART_BYTES {
        return Some(compare());
    }
    tokio::task::spawn_blocking(compare).await.ok()
}
