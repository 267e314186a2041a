//! The decision: where a request goes, and why.
//!
//! Owns `decide`, a pure function of request head and table. It exists so that the data plane and
//! `banyan route why` run the same code. What must stay true: writes go to the owner and are never
//! mirrored; reads follow their phase; a request is decided once and the decision is never made again.

use crate::bucket::{Bucket, bucket};
use crate::compiled::{Compiled, Located, MethodReading, RoutedContext, RoutedEndpoint};
use crate::name::{ContextName, EndpointName};
use crate::phase::Phase;
use crate::side::Side;
use crate::spec::{EndpointKind, is_read_method};
use crate::sticky::{self, Headers, StickyKey};
use crate::table::ContextState;
use crate::target::Oddity;
use crate::template::Params;
use crate::version::{Epoch, Generation};
use std::fmt;

/// What of a request a decision needs.
pub struct RequestHead<'a> {
    /// The method, upper-case.
    pub method: &'a str,
    /// The raw path, without query.
    pub path: &'a [u8],
    /// The headers.
    pub headers: &'a dyn Headers,
    /// The client's address, without port.
    pub address: &'a str,
    /// Whether the request asks for a protocol upgrade (WebSocket).
    pub upgrade: bool,
    /// A side that an authorised tester asked for.
    pub forced: Option<Side>,
    /// A number 0..100 drawn by the caller, compared with the mirror percentage.
    pub sample: u8,
}

/// Whether a caller's reads of a context must stay with its owner for now (read your writes).
pub type Pinned<'a> = &'a dyn Fn(&ContextName, &StickyKey) -> bool;

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// A read of a declared endpoint.
    Read,
    /// A write of a declared context.
    Write,
    /// A tunnel on a declared path.
    Upgrade,
    /// Everything that is not declared; goes to legacy.
    Unmatched,
}

impl RequestKind {
    /// The word for labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Upgrade => "upgrade",
            Self::Unmatched => "unmatched",
        }
    }
}

/// Whether the answer is to be compared with the other side's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mirror {
    /// Ask this side after the client was answered.
    To(Side),
    /// The phase plans a mirror, but this request is outside the sample.
    Sampled,
    /// The caller is pinned to the owner: the other side is known to be behind.
    Pinned,
    /// No mirror is planned.
    Off,
}

/// Why a request goes where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Nothing declared matches: default route.
    Default,
    /// The phase alone decides.
    Phase(Phase),
    /// The sticky key falls in this bucket of a canary.
    Canary {
        /// The phase with its percentage.
        phase: Phase,
        /// The bucket.
        bucket: Bucket,
        /// The key; its display hides tokens.
        key: StickyKey,
    },
    /// A canary without any key: legacy answers.
    NoKey(Phase),
    /// The caller wrote a moment ago and the sync has not confirmed it on the other side.
    ReadYourWrites,
    /// A tester forced the side.
    Forced,
    /// A write or tunnel: the owner's.
    Owner,
    /// A method that is not declared on a declared path: the owner's.
    UndeclaredMethod,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The endpoint, unless undeclared.
    pub endpoint: Option<EndpointName>,
    /// The context, unless unmatched.
    pub context: Option<ContextName>,
    /// What the request is.
    pub kind: RequestKind,
    /// The phase that applied.
    pub phase: Phase,
    /// The side that answers.
    pub side: Side,
    /// The comparison planned.
    pub mirror: Mirror,
    /// Whether legacy may answer once if the new side cannot.
    pub fallback: bool,
    /// Who the caller is, for read-your-writes.
    pub identity: Option<StickyKey>,
    /// How a cutover of the context under way concerns this request; reads it never does.
    pub cutover: Cutover,
    /// Why.
    pub reason: Reason,
    /// The table it was decided from.
    pub generation: Generation,
}

/// How a cutover under way concerns a write or a tunnel of its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cutover {
    /// Not at all.
    None,
    /// It is armed: the request goes on, unless the proxy has lost sight of the control store.
    Armed(Epoch),
    /// The request waits until the context has its next owner, or the cutover is given up.
    Holding(Epoch),
}

/// Why a request is refused with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A declared path in a form that servers read differently.
    #[error("the path can be read in more than one way: {}", .0.as_str())]
    OddTarget(Oddity),
    /// A declared path in other upper and lower case.
    #[error("the path differs from a declared one only in upper and lower case")]
    CaseVariant,
    /// A POST that names a read method or an unknown one as its real method.
    #[error("the method override must be PUT, PATCH or DELETE")]
    MethodOverride,
}

/// Result of [`decide`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Forward it.
    Route(Decision),
    /// Answer 400.
    Refuse(Refused),
}

/// Decides where a request goes.
pub fn decide(table: &Compiled, head: &RequestHead<'_>, pinned: Pinned<'_>) -> Outcome {
    let reading = read_method(head);
    let located = table.locate(head.path, reading.unwrap_or(MethodReading::FormPost));
    let declared = !matches!(located, Located::Nothing);
    if let (true, Err(refused)) = (declared, reading) {
        return Outcome::Refuse(refused);
    }
    match located {
        Located::Odd(why) => Outcome::Refuse(Refused::OddTarget(why)),
        Located::CaseVariant => Outcome::Refuse(Refused::CaseVariant),
        Located::Nothing => Outcome::Route(default_route(table.generation)),
        Located::Undeclared { context, params } => {
            Outcome::Route(undeclared(table, &table.contexts()[context], head, &params))
        }
        Located::Endpoint { endpoint, params } => {
            let call = Call { table, head, endpoint: &table.endpoints()[endpoint], params };
            Outcome::Route(call.decide(pinned))
        }
    }
}

/// Rack::MethodOverride: a POST may name its real method in a header, or in a form field that only the
/// application can read.
fn read_method<'a>(head: &RequestHead<'a>) -> Result<MethodReading<'a>, Refused> {
    if head.method != "POST" {
        return Ok(MethodReading::Exact(head.method));
    }
    if let Some(name) = head.headers.get("x-http-method-override") {
        return match name.trim().to_ascii_uppercase().as_str() {
            "PUT" => Ok(MethodReading::Exact("PUT")),
            "PATCH" => Ok(MethodReading::Exact("PATCH")),
            "DELETE" => Ok(MethodReading::Exact("DELETE")),
            "" | "POST" => Ok(MethodReading::Exact("POST")),
            _ => Err(Refused::MethodOverride),
        };
    }
    let form = head.headers.get("content-type").is_some_and(|kind| {
        let kind = kind.trim_start().to_ascii_lowercase();
        kind.starts_with("application/x-www-form-urlencoded") || kind.starts_with("multipart/")
    });
    Ok(if form { MethodReading::FormPost } else { MethodReading::Exact("POST") })
}

fn default_route(generation: Generation) -> Decision {
    Decision {
        endpoint: None,
        context: None,
        kind: RequestKind::Unmatched,
        phase: Phase::Legacy,
        side: Side::Legacy,
        mirror: Mirror::Off,
        fallback: false,
        identity: None,
        cutover: Cutover::None,
        reason: Reason::Default,
        generation,
    }
}

fn undeclared(
    table: &Compiled,
    context: &RoutedContext,
    head: &RequestHead<'_>,
    params: &Params,
) -> Decision {
    let reads = is_read_method(head.method) || head.method == "OPTIONS";
    let kind = match (head.upgrade, reads) {
        (true, _) => RequestKind::Upgrade,
        (false, true) => RequestKind::Unmatched,
        (false, false) => RequestKind::Write,
    };
    Decision {
        context: Some(context.spec.name.clone()),
        kind,
        cutover: Cutover::of(&context.state, kind),
        phase: context.state.write_phase(),
        side: context.state.owner,
        identity: sticky::find(&context.spec.sticky, params, head.headers, head.address),
        reason: Reason::UndeclaredMethod,
        ..default_route(table.generation)
    }
}

impl Decision {
    /// Why, in words, with what a cutover under way means for the request.
    pub fn why(&self) -> String {
        match self.cutover {
            Cutover::None => self.reason.to_string(),
            Cutover::Armed(_) | Cutover::Holding(_) => {
                format!("{}; {}", self.reason, self.cutover)
            }
        }
    }
}

impl Cutover {
    fn of(state: &ContextState, kind: RequestKind) -> Self {
        let concerned = match kind {
            RequestKind::Write | RequestKind::Upgrade => state.armed,
            RequestKind::Read | RequestKind::Unmatched => None,
        };
        match (concerned, state.holding) {
            (None, _) => Self::None,
            (Some(epoch), false) => Self::Armed(epoch),
            (Some(epoch), true) => Self::Holding(epoch),
        }
    }
}

impl fmt::Display for Cutover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no cutover is under way"),
            Self::Armed(epoch) => write!(f, "a cutover is armed({epoch})"),
            Self::Holding(epoch) => {
                write!(f, "a cutover is holding({epoch}): the request waits in the proxy")
            }
        }
    }
}

/// One request on one declared endpoint.
struct Call<'a> {
    table: &'a Compiled,
    head: &'a RequestHead<'a>,
    endpoint: &'a RoutedEndpoint,
    params: Params,
}

impl Call<'_> {
    fn decide(&self, pinned: Pinned<'_>) -> Decision {
        let context = &self.table.contexts()[self.endpoint.context];
        let identity =
            sticky::find(&context.spec.sticky, &self.params, self.head.headers, self.head.address);
        let owned = |kind| Decision {
            endpoint: Some(self.endpoint.spec.name.clone()),
            context: Some(context.spec.name.clone()),
            kind,
            cutover: Cutover::of(&context.state, kind),
            phase: self.endpoint.phase,
            side: context.state.owner,
            identity: identity.clone(),
            reason: Reason::Owner,
            ..default_route(self.table.generation)
        };
        if self.head.upgrade {
            return owned(RequestKind::Upgrade);
        }
        if self.endpoint.kind == EndpointKind::Write {
            return owned(RequestKind::Write);
        }
        let read = owned(RequestKind::Read);
        if let Some(side) = self.head.forced {
            return Decision { side, reason: Reason::Forced, ..read };
        }
        let stays = identity.as_ref().is_some_and(|key| pinned(&context.spec.name, key));
        let (side, reason) = self.by_phase(identity.as_ref());
        if stays && side != context.state.owner && self.endpoint.phase != Phase::Retired {
            return Decision { reason: Reason::ReadYourWrites, mirror: Mirror::Pinned, ..read };
        }
        Decision {
            side,
            reason,
            mirror: self.mirror(side, stays),
            fallback: side == Side::New
                && self.endpoint.spec.fallback
                && self.endpoint.phase != Phase::Retired,
            ..read
        }
    }

    fn by_phase(&self, identity: Option<&StickyKey>) -> (Side, Reason) {
        let phase = self.endpoint.phase;
        match phase {
            Phase::Legacy | Phase::Shadow => (Side::Legacy, Reason::Phase(phase)),
            Phase::New | Phase::Retired => (Side::New, Reason::Phase(phase)),
            Phase::Canary(percent) => {
                let key = match self.endpoint.spec.sticky.as_slice() {
                    [] => identity.cloned(),
                    own => sticky::find(own, &self.params, self.head.headers, self.head.address),
                };
                let Some(key) = key else { return (Side::Legacy, Reason::NoKey(phase)) };
                let bucket = bucket(self.endpoint.spec.name.as_str(), &key.value);
                let side = if bucket.is_below(percent) { Side::New } else { Side::Legacy };
                (side, Reason::Canary { phase, bucket, key })
            }
        }
    }

    fn mirror(&self, side: Side, stays: bool) -> Mirror {
        let spec = &self.endpoint.spec;
        let planned = match self.endpoint.phase {
            Phase::Legacy | Phase::Retired => false,
            Phase::Shadow | Phase::Canary(_) => true,
            Phase::New => spec.mirror_back,
        };
        match (planned && self.head.method == "GET", stays) {
            (false, _) => Mirror::Off,
            (true, true) => Mirror::Pinned,
            (true, false) if self.head.sample < spec.mirror_percent.get() => {
                Mirror::To(side.other())
            }
            (true, false) => Mirror::Sampled,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("nothing declared matches: default route"),
            Self::Phase(phase) => write!(f, "phase {phase}"),
            Self::Canary { phase, bucket, key } => {
                write!(f, "phase {phase}, key {} falls in bucket {bucket}", key.shown())
            }
            Self::NoKey(phase) => write!(f, "phase {phase}, but the request has no sticky key"),
            Self::ReadYourWrites => f.write_str(
                "the caller wrote a moment ago: the owner answers until the sync has it",
            ),
            Self::Forced => f.write_str("the side was forced by an authorised tester"),
            Self::Owner => f.write_str("it goes to the owner of the context"),
            Self::UndeclaredMethod => {
                f.write_str("the path is declared, the method is not: the owner answers")
            }
        }
    }
}
