//! The bounds within which every order of events is walked.
//!
//! One scope with everything is too large for a check that runs at every change, so each scope has all of what it is
//! about and little of the rest. Within its numbers a scope is complete: there is no limit of depth, coordinators die
//! and come back as often as they like, and every act may lose its reply or not happen.

use banyan_cutover::Intent;
use banyan_domain::Side;

use crate::world::Size;

/// What is walked.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a kind of trouble that is on or off")]
pub(crate) struct Scope {
    pub(crate) name: &'static str,
    pub(crate) size: Size,
    /// One per coordinator: what it starts, in order. After that, or after a death, it resumes or aborts.
    pub(crate) coordinators: &'static [&'static [Intent]],
    /// Whether a coordinator that ended comes back to abort, too.
    pub(crate) aborts: bool,
    /// Whether acts lose their replies or fail.
    pub(crate) lossy: bool,
    /// Whether limits are over at any time.
    pub(crate) late: bool,
    /// Whether a side's database may be away while a coordinator reads.
    pub(crate) blind: bool,
}

const FORWARD: Intent = Intent::Start { to: Side::New };
pub(crate) const BACK: Intent = Intent::Start { to: Side::Legacy };

const NOBODY: Size =
    Size { proxies: 0, writes: 0, direct: 0, workers: 0, events: false, deaths: false };

const ALONE: Scope = Scope {
    name: "",
    size: NOBODY,
    coordinators: &[&[FORWARD]],
    aborts: true,
    lossy: false,
    late: false,
    blind: false,
};

/// Two coordinators without a lock, with all their ways to die, to err and to give up, around one write.
pub(crate) const COORDINATORS: Scope = Scope {
    name: "coordinators",
    size: Size { direct: 1, workers: 1, ..NOBODY },
    coordinators: &[&[FORWARD], &[FORWARD]],
    lossy: true,
    late: true,
    ..ALONE
};

/// Two coordinators while a proxy is stale and the write goes through it.
pub(crate) const PROXY: Scope = Scope {
    name: "coordinators and a proxy",
    size: Size { proxies: 1, writes: 1, workers: 1, ..NOBODY },
    coordinators: &[&[FORWARD], &[FORWARD]],
    ..ALONE
};

/// A coordinator wakes up after the switch that it was about, and the next one, were given up.
pub(crate) const GHOST: Scope =
    Scope { name: "ghost", coordinators: &[&[FORWARD], &[FORWARD, FORWARD]], ..ALONE };

/// A side's database is away at any reading.
pub(crate) const UNREACHABLE: Scope = Scope {
    name: "unreachable",
    size: Size { proxies: 2, writes: 1, direct: 1, workers: 1, ..NOBODY },
    lossy: true,
    late: true,
    blind: true,
    ..ALONE
};

/// Two sync workers with lease takeover, writes past the proxies, rollbacks and deaths.
pub(crate) const DATA: Scope = Scope {
    name: "data",
    size: Size { direct: 2, workers: 2, deaths: true, ..NOBODY },
    lossy: true,
    late: true,
    ..ALONE
};

/// Forward and back again, with the workers that were slow on the way.
pub(crate) const THERE_AND_BACK: Scope = Scope {
    name: "there and back",
    size: Size { direct: 2, workers: 2, ..NOBODY },
    coordinators: &[&[FORWARD, BACK]],
    aborts: false,
    ..ALONE
};

/// Outboxes, raw queues, markers and the forwarder, forward and back, with everything that can go wrong in a run.
pub(crate) const EVENTS: Scope = Scope {
    name: "events",
    size: Size { direct: 1, workers: 1, events: true, ..NOBODY },
    coordinators: &[&[FORWARD, BACK]],
    lossy: true,
    late: true,
    ..ALONE
};

/// The same with the order of two events.
pub(crate) const ORDER: Scope = Scope {
    name: "order of events",
    size: Size { direct: 2, workers: 1, events: true, ..NOBODY },
    coordinators: &[&[FORWARD, BACK]],
    late: true,
    ..ALONE
};

/// Somebody rolls back while somebody else goes forward: what becomes of a write.
pub(crate) const OPPOSITE: Scope = Scope {
    name: "opposite",
    size: Size { direct: 1, workers: 1, ..NOBODY },
    coordinators: &[&[FORWARD], &[BACK]],
    aborts: false,
    late: true,
    ..ALONE
};

/// The same: what becomes of the markers.
pub(crate) const OPPOSITE_MARKERS: Scope = Scope {
    name: "opposite markers",
    size: Size { events: true, ..NOBODY },
    late: false,
    ..OPPOSITE
};

/// Wider ones, for a quiet hour. They hold as well.
pub(crate) const WIDE: [Scope; 6] = [
    Scope { name: "wide proxy", lossy: true, late: true, ..PROXY },
    Scope { name: "wide markers", size: Size { events: true, ..NOBODY }, ..COORDINATORS },
    Scope {
        name: "wide data",
        size: Size { direct: 3, ..DATA.size },
        lossy: false,
        late: false,
        ..DATA
    },
    Scope { name: "wide back", lossy: true, late: true, aborts: true, ..THERE_AND_BACK },
    Scope { name: "wide order", lossy: true, ..ORDER },
    Scope {
        name: "wide opposite",
        size: Size { direct: 1, workers: 1, events: true, ..NOBODY },
        late: false,
        ..OPPOSITE
    },
];
