//! A session: visits of one virtual user after the other, each with its own credential and memory.
//!
//! What must stay true: a user belongs to one session only, so what a visit did is what its user did; each request
//! is judged once, and its first fault is its failure.

use crate::{
    check::{self, Checked, require},
    client::{Ask, Browser, Reply, Wants},
    endpoint::Endpoint,
    ledger::{Deed, Ledger},
    memory::Memory,
    pace::{Pace, Stopped},
    script::{self, Cast, Step},
    summary::Failure,
    tally::Tally,
};
use fixture_passport::Passport;
use rand::{RngExt, rngs::StdRng};
use reqwest::{Client, Method};
use serde::de::DeserializeOwned;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

mod browse;
mod write;

/// Steps of one visit.
const STEPS: std::ops::Range<u32> = 15..40;
/// Users whose id ends in 07 are rare and a rewrite may forget them: some visits are theirs.
const RARE: (i64, i64) = (100, 7);
/// A site that refuses connections is not asked faster than this.
const AFTER_NO_ANSWER: Duration = Duration::from_millis(50);
/// How often and how far apart the unread count is compared before it is called wrong.
const AUDIT_SAMPLES: u32 = 8;
const AUDIT_PAUSE: Duration = Duration::from_millis(400);
/// Entity tags that a visit remembers.
const ETAGS_MAX: usize = 50;

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) http: Client,
    /// Addresses; never empty.
    pub(crate) sites: Vec<String>,
    pub(crate) passport: Passport,
    pub(crate) tally: Tally,
    pub(crate) users: i64,
    pub(crate) seed: u64,
    pub(crate) writes_percent: u8,
    pub(crate) reads_of: Vec<Endpoint>,
    pub(crate) ledger: Option<Ledger>,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) number: u32,
    /// The users of this session alone.
    pub(crate) users: Vec<i64>,
    pub(crate) random: StdRng,
    pub(crate) pace: Pace,
    pub(crate) sent: u64,
    pub(crate) written: u64,
}

/// One user's visit.
#[derive(Debug)]
struct Visit<'s> {
    session: &'s mut Session,
    me: i64,
    browser: Browser,
    memory: Memory,
    todo: VecDeque<Step>,
    etags: HashMap<String, String>,
}

impl Session {
    /// Visits until stopped.
    pub(crate) async fn run(mut self) {
        let mut visits = u64::from(self.number);
        while self.visit(visits).await.is_ok() {
            visits += 1;
        }
    }

    /// The address that this session stays with.
    fn site(&self) -> String {
        let sites = &self.shared.sites;
        sites[self.number as usize % sites.len()].clone()
    }

    async fn visit(&mut self, number: u64) -> Result<(), Stopped> {
        let me = self.next_user();
        let (http, site) = (self.shared.http.clone(), self.site());
        let is_client = number.is_multiple_of(2);
        let browser = if is_client {
            Browser::with_token(http, &site, &self.shared.passport, me)
        } else {
            Browser::new(http, &site)
        };
        let steps = self.random.random_range(STEPS);
        let memory = Memory::default();
        let (todo, etags) = (VecDeque::new(), HashMap::new());
        let mut visit = Visit { session: self, me, browser, memory, todo, etags };
        if !is_client && !visit.log_in().await? {
            return Ok(());
        }
        for _ in 0..steps {
            let step = visit.next_step();
            visit.perform(step).await?;
        }
        Ok(())
    }

    fn next_user(&mut self) -> i64 {
        let (of, rest) = RARE;
        let rare: Vec<i64> = self.users.iter().copied().filter(|id| id % of == rest).collect();
        let from =
            if !rare.is_empty() && self.random.random_ratio(1, 10) { &rare } else { &self.users };
        let index = self.random.random_range(0..from.len().max(1));
        from.get(index).copied().unwrap_or(1)
    }
}

impl Visit<'_> {
    fn next_step(&mut self) -> Step {
        if let Some(step) = self.todo.pop_front() {
            return step;
        }
        let session = &mut *self.session;
        let percent = u64::from(session.shared.writes_percent);
        let reads_of = &session.shared.reads_of;
        let cast = Cast { me: self.me, users: session.shared.users, reads_of };
        if session.written * 100 < percent * session.sent
            || (percent == 100 && session.written == 0)
        {
            script::next_write(&mut session.random, cast, &self.memory)
        } else {
            script::next_read(&mut session.random, cast, &self.memory)
        }
    }

    async fn perform(&mut self, step: Step) -> Result<(), Stopped> {
        match step {
            Step::Inbox(query) => self.inbox(query).await,
            Step::Partners(query) => self.partners(query).await.map(drop),
            Step::Conversation { other, query } => self.conversation(other, query).await,
            Step::Unread => self.unread().await.map(drop),
            Step::Show(id) => self.show(id).await,
            Step::ShowGone(id) => self.show_gone(id).await,
            Step::Pry(other) => self.pry(other).await,
            Step::Audit => self.audit().await,
            Step::User(id) => self.user(id).await.map(drop),
            Step::Suggestions(id) => self.suggestions(id).await,
            Step::Tracks(user) => self.tracks(user).await,
            Step::Track(id) => self.track(id).await,
            Step::Comments(track) => self.comments(track).await,
            Step::HtmlPage(path) => self.html_page(path).await.map(drop),
            Step::Create(letter) => self.create(letter).await,
            Step::CreateBlank(recipient) => self.create_blank(recipient).await,
            Step::Update { id, body } => self.update(id, body).await,
            Step::MarkRead(id) => self.mark_read(id).await,
            Step::Delete(id) => self.delete(id).await,
            Step::Comment { track, body } => self.comment(track, body).await,
            Step::Play(track) => self.play(track).await,
        }
    }

    /// A request whose answer is of the type `T` and passes `check`; `None` when it failed (and was counted so) or
    /// was not modified.
    async fn ask<T: DeserializeOwned>(
        &mut self,
        ask: Ask,
        expected: u16,
        check: impl FnOnce(&Self, &T, &Reply) -> Checked,
    ) -> Result<Option<T>, Stopped> {
        let Some(reply) = self.exchange(&ask, expected).await? else { return Ok(None) };
        if reply.status == 304 {
            self.judge(
                &ask,
                &reply,
                require(reply.body.is_empty(), || "304 with a body".to_owned()),
            );
            return Ok(None);
        }
        let parsed = check::parse::<T>(&reply.body);
        let checked = parsed.and_then(|answer| check(self, &answer, &reply).map(|()| answer));
        Ok(self.judge(&ask, &reply, checked))
    }

    /// The same for an answer of which only status and `check` matter.
    async fn ask_plain(
        &mut self,
        ask: Ask,
        expected: u16,
        check: impl FnOnce(&Reply) -> Checked,
    ) -> Result<Option<Reply>, Stopped> {
        let Some(reply) = self.exchange(&ask, expected).await? else { return Ok(None) };
        let checked = check(&reply);
        Ok(self.judge(&ask, &reply, checked).map(|()| reply))
    }

    /// Sends a request in its turn and counts it; `None` when no answer came or its status is wrong.
    async fn exchange(&mut self, ask: &Ask, expected: u16) -> Result<Option<Reply>, Stopped> {
        self.session.pace.turn().await?;
        self.session.sent += 1;
        self.session.written += u64::from(ask.endpoint.is_write());
        let request_id = self.request_id();
        let (reply, latency) = self.browser.send(ask, &request_id).await;
        self.session.shared.tally.count(ask.endpoint, latency);
        match reply {
            Ok(reply) if reply.status == expected || is_revalidated(ask, &reply) => {
                self.keep_etag(ask, &reply);
                self.note(ask, &reply);
                Ok(Some(reply))
            }
            Ok(reply) => {
                // Acknowledged is acknowledged, also with a status that is wrong here.
                self.note(ask, &reply);
                self.fail(
                    ask,
                    Some(&reply),
                    format!("status {} instead of {expected}", reply.status),
                );
                Ok(None)
            }
            Err(why) => {
                self.fail(ask, None, format!("no answer: {why}"));
                self.session.pace.rest(AFTER_NO_ANSWER).await?;
                Ok(None)
            }
        }
    }

    /// Keeps what the answer acknowledges; a proof with gaps would be none, so a full disk is a failure.
    fn note(&self, ask: &Ask, reply: &Reply) {
        let Some(ledger) = &self.session.shared.ledger else { return };
        let deed = Deed { user: self.me, request_id: self.request_id(), at_ms: self.now_ms() };
        if let Err(error) = ledger.note(ask, reply, deed) {
            self.fail(ask, Some(reply), format!("the ledger cannot be written: {error}"));
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.session.shared.tally.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn judge<T>(&self, ask: &Ask, reply: &Reply, checked: Checked<T>) -> Option<T> {
        checked.map_err(|why| self.fail(ask, Some(reply), why)).ok()
    }

    fn fail(&self, ask: &Ask, reply: Option<&Reply>, why: String) {
        let tally = &self.session.shared.tally;
        let served_by = reply
            .and_then(|reply| reply.header("x-served-by").or_else(|| reply.header("x-powered-by")));
        let body = reply.map_or_else(String::new, |reply| reply.body.chars().take(400).collect());
        let failure = Failure {
            endpoint: ask.endpoint.as_str().to_owned(),
            method: ask.method.to_string(),
            url: self.browser.url(&ask.path),
            status: reply.map(|reply| reply.status),
            why,
            request_id: self.request_id(),
            user_id: self.me,
            at_ms: self.now_ms(),
            served_by: served_by.map(str::to_owned),
            body,
        };
        tally.fail(ask.endpoint, failure);
    }

    /// Of the request that was sent last.
    fn request_id(&self) -> String {
        let Session { shared, number, sent, .. } = &*self.session;
        format!("traffic-{}-{number}-{sent}", shared.seed)
    }

    /// Some reads ask whether the answer changed since.
    fn maybe_revalidate(&mut self, mut ask: Ask) -> Ask {
        if self.session.random.random_ratio(1, 5) {
            ask.known_etag = self.etags.get(&ask.path).cloned();
        }
        ask
    }

    fn keep_etag(&mut self, ask: &Ask, reply: &Reply) {
        if ask.method != Method::GET {
            // What the user changes must show: forget everything from before.
            self.etags.clear();
        } else if self.etags.len() < ETAGS_MAX
            && ask.wants == Wants::Json
            && let Some(etag) = reply.header("etag")
        {
            self.etags.insert(ask.path.clone(), etag.to_owned());
        }
    }
}

fn is_revalidated(ask: &Ask, reply: &Reply) -> bool {
    ask.known_etag.is_some() && reply.status == 304
}
