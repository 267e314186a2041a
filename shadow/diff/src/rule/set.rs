//! The rules of a comparison, in the order in which they are asked.
//!
//! Owns precedence and narrowing: which rules are in force for an endpoint, a method, two statuses and a day. It exists
//! as a compiled set so that a comparison pays for the rules it meets and not for those it has. Must stay true: a limited
//! rule is only in force where its limits are known to hold; the order is total, so the same answers get the same verdict.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::audit::{self, RuleState, Run};
use super::builtin::{self, Entry, Pack};
use super::protect::{Protect, Refused};
use super::selector::Target;
use super::trie::Trie;
use super::{Action, Day, Rule, RuleSource};
use crate::html::CssTarget;

/// The rules of one endpoint (or of all, before [`RuleSet::for_endpoint`]). Cheap to clone.
///
/// Where several rules select a place, they are asked one after the other until one decides: those of people before
/// learned and built-in ones; then the narrower scope (endpoint, context, method, status); then the more exact selector
/// (fewer `..`, more named steps, fewer `*`); then the one written first.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    inner: Arc<Inner>,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    /// In the order in which they are asked.
    rules: Vec<Arc<Rule>>,
    rails: bool,
    off: BTreeSet<String>,
    known: Known,
    today: Option<Day>,
    tables: Tables,
}

/// What is known of the comparison.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    endpoint: bool,
    method: bool,
    statuses: bool,
}

/// The rules in force by kind of place, as indices.
#[derive(Debug, Clone, Default)]
struct Tables {
    json: Trie,
    headers: Vec<u32>,
    cookies: Vec<u32>,
    texts: Vec<u32>,
    bodies: Vec<u32>,
    html: Vec<u32>,
    by_status: bool,
}

/// There is no built-in rule of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no built-in rule `{0}`")]
pub struct UnknownRule(pub String);

impl RuleSet {
    /// No rules at all: every difference counts.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The pack `rails`: harmless differences between a Rails monolith and a service behind the same proxy.
    pub fn builtin() -> Self {
        Self::empty().with_pack(Pack::Rails)
    }

    /// Adds a pack of built-in rules.
    #[must_use]
    pub fn with_pack(self, pack: Pack) -> Self {
        let rails = pack == Pack::Rails;
        self.with(pack.rules()).changed(|inner| inner.rails |= rails)
    }

    /// Adds rules.
    #[must_use]
    pub fn with(self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.changed(|inner| {
            inner.rules.extend(rules.into_iter().map(Arc::new));
            inner.rules.sort_by_key(|rule| {
                let weight = std::cmp::Reverse(rule.scope.weight());
                (rule.source, weight, rule.target.rank())
            });
        })
    }

    /// Adds rules unless one of them could hide a difference at a protected place.
    ///
    /// # Errors
    /// Every rule that covers a protected selector, with that selector.
    pub fn try_with(
        self,
        rules: impl IntoIterator<Item = Rule>,
        protect: &Protect,
    ) -> Result<Self, Vec<Refused>> {
        let rules: Vec<Rule> = rules.into_iter().collect();
        let refused: Vec<Refused> = rules.iter().filter_map(|rule| protect.refuses(rule)).collect();
        if refused.is_empty() { Ok(self.with(rules)) } else { Err(refused) }
    }

    /// Turns built-in rules off by their ids.
    ///
    /// # Errors
    /// The first id that no pack has.
    pub fn without<'a>(self, ids: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownRule> {
        let ids: Vec<&str> = ids.into_iter().collect();
        if let Some(unknown) = ids.iter().find(|id| !builtin::is_known(id)) {
            return Err(UnknownRule((*unknown).to_owned()));
        }
        Ok(self.changed(|inner| {
            inner.off.extend(ids.iter().map(|id| (*id).to_owned()));
        }))
    }

    /// The rules that apply to one endpoint; do this once per endpoint, not per comparison. A name's part before the dot
    /// is its context.
    #[must_use]
    pub fn for_endpoint(&self, endpoint: &str) -> Self {
        self.clone().changed(|inner| {
            inner.rules.retain(|rule| rule.scope.has_endpoint(endpoint));
            inner.known.endpoint = true;
        })
    }

    /// The rules that apply to one request method.
    #[must_use]
    pub fn for_method(&self, method: &str) -> Self {
        let limited = self.inner.rules.iter().any(|rule| rule.scope.method.is_some());
        if !limited {
            return self.clone();
        }
        self.clone().changed(|inner| {
            inner.rules.retain(|rule| rule.scope.has_method(method));
            inner.known.method = true;
        })
    }

    /// The rules that are still in force on a day. Costs next to nothing while no further one has expired.
    #[must_use]
    pub fn on(&self, today: Day) -> Self {
        let known = |rule: &Rule| self.inner.today.is_some_and(|day| rule.is_expired(day));
        if self.rules().all(|rule| rule.is_expired(today) == known(rule)) {
            return self.clone();
        }
        self.clone().changed(|inner| inner.today = Some(today))
    }

    /// Whether some rule looks at renamings, so that [`crate::Bijections`] should be kept over comparisons.
    pub fn renames(&self) -> bool {
        self.rules().any(|rule| matches!(rule.action(), Action::Bijection(_)))
    }

    /// What is to be said of each rule after a run: how often it hid something, whether it is dead or expired.
    pub fn audit(&self, run: &Run<'_>) -> Vec<RuleState> {
        let own = self.inner.rules.iter().filter(|rule| !self.inner.off.contains(&rule.id()));
        let own = own.map(|rule| audit::of_rule(rule, run));
        let rails = builtin::LIST.iter().filter(|entry| self.is_on(entry.id));
        own.chain(rails.map(|entry| audit::of_builtin(entry, run))).collect()
    }

    /// Id, reason and source of all rules, for looking up what hid something.
    pub fn list(&self) -> Vec<(String, String, RuleSource)> {
        let own = self.rules().map(|rule| (rule.id(), rule.reason.clone(), rule.source));
        let rails = builtin::LIST.iter().filter(|entry| self.is_on(entry.id));
        let text = |entry: &Entry| (entry.id.to_owned(), entry.reason.to_owned());
        own.chain(rails.map(text).map(|(id, why)| (id, why, RuleSource::Builtin))).collect()
    }

    /// All rules but those that are part of the engine, in the order in which they are asked.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.inner.rules.iter().map(AsRef::as_ref)
    }

    /// The rules for answers with these statuses.
    pub(crate) fn for_statuses(&self, legacy: u16, new: u16) -> Self {
        if !self.inner.tables.by_status {
            return self.clone();
        }
        self.clone().changed(|inner| {
            inner.rules.retain(|rule| rule.scope.has_statuses(legacy, new));
            inner.known.statuses = true;
        })
    }

    /// The rules at a header, most specific first.
    pub(crate) fn at_header(&self, name: &str) -> impl Iterator<Item = &Rule> {
        self.at(&self.inner.tables.headers)
            .filter(move |rule| matches!(&rule.target, Target::Header(own) if own.matches(name)))
    }

    /// The rules at a cookie.
    pub(crate) fn at_cookie(&self, name: &str) -> impl Iterator<Item = &Rule> {
        self.at(&self.inner.tables.cookies)
            .filter(move |rule| matches!(&rule.target, Target::Cookie(own) if own.matches(name)))
    }

    /// The rules for the lines of a text.
    pub(crate) fn at_text(&self) -> impl Iterator<Item = &Rule> {
        self.at(&self.inner.tables.texts)
    }

    /// The rules for a body as a whole.
    pub(crate) fn at_body(&self) -> impl Iterator<Item = &Rule> {
        self.at(&self.inner.tables.bodies)
    }

    /// The rules for places in pages, by their index.
    pub(crate) fn at_html(&self) -> impl Iterator<Item = (u32, &CssTarget)> {
        let indices = self.inner.tables.html.iter();
        indices.filter_map(|index| match &self.rule(*index)?.target {
            Target::Html(css) => Some((*index, css)),
            Target::Header(_)
            | Target::Cookie(_)
            | Target::Json(_)
            | Target::Text
            | Target::Body => None,
        })
    }

    /// The selectors into JSON.
    pub(crate) fn json(&self) -> &Trie {
        &self.inner.tables.json
    }

    /// A rule by its index in the tree of selectors.
    pub(crate) fn rule(&self, index: u32) -> Option<&Rule> {
        self.inner.rules.get(index as usize).map(AsRef::as_ref)
    }

    /// Whether a header is ignored completely.
    pub(crate) fn ignores_header(&self, name: &str) -> bool {
        self.at_header(name).next().is_some_and(|rule| *rule.action() == Action::Ignore)
    }

    /// The built-in rule that drops a header.
    pub(crate) fn builtin_header(&self, name: &str) -> Option<&'static str> {
        if !self.inner.rails {
            return None;
        }
        builtin::header(name).and_then(|id| self.builtin_rule(id))
    }

    /// The id of a rule of the pack `rails`, if it is on.
    pub(crate) fn builtin_rule(&self, id: &'static str) -> Option<&'static str> {
        self.is_on(id).then_some(id)
    }

    fn is_on(&self, id: &str) -> bool {
        self.inner.rails && (self.inner.off.is_empty() || !self.inner.off.contains(id))
    }

    fn at<'a>(&'a self, indices: &'a [u32]) -> impl Iterator<Item = &'a Rule> {
        indices.iter().filter_map(|index| self.rule(*index))
    }

    fn changed(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        let inner = Arc::make_mut(&mut self.inner);
        change(inner);
        inner.tables = Tables::of(inner);
        self
    }
}

impl Inner {
    fn is_in_force(&self, rule: &Rule) -> bool {
        let scope = &rule.scope;
        let place = scope.endpoint.is_none() && scope.context.is_none();
        (self.known.endpoint || place)
            && (self.known.method || scope.method.is_none())
            && (self.known.statuses || scope.status.is_none())
            && !self.today.is_some_and(|today| rule.is_expired(today))
            && !(rule.source == RuleSource::Builtin && self.off.contains(&rule.id()))
    }
}

impl Tables {
    fn of(inner: &Inner) -> Self {
        let mut tables = Self {
            by_status: inner.rules.iter().any(|rule| rule.scope.status.is_some()),
            ..Self::default()
        };
        for (rule, index) in inner.rules.iter().zip(0..) {
            if !inner.is_in_force(rule) {
                continue;
            }
            match &rule.target {
                Target::Json(selector) => tables.json.insert(selector, index),
                Target::Header(_) => tables.headers.push(index),
                Target::Cookie(_) => tables.cookies.push(index),
                Target::Text => tables.texts.push(index),
                Target::Body => tables.bodies.push(index),
                Target::Html(_) => tables.html.push(index),
            }
        }
        tables
    }
}
