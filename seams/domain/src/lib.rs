//! The vocabulary of a migration as types, and the decisions over them as pure functions.
//!
//! Owns: context, endpoint, side, phase, epoch, generation, route table, target form, sticky bucket,
//! [`decide`](decide::decide) and [`change::apply`]. It exists so that the proxy, the CLI, the admin API and
//! the application library cannot disagree about where a request goes or which flip is legal.
//! What must stay true: nothing here does I/O, reads a clock or throws dice; every match over our own
//! enums is exhaustive.
//!
//! | word | meaning |
//! |---|---|
//! | context | a bounded context being carved out: owns endpoints, tables, events |
//! | endpoint | method(s) + path template; a `read` or a `write` |
//! | side | `legacy` or `new` |
//! | phase | of an endpoint: `legacy`, `shadow`, `canary N%`, `new`, `retired` |
//! | owner | the one side that accepts the context's writes and emits its events |
//! | epoch | number of an ownership; the fencing token |
//! | flip | change of one read endpoint's phase |
//! | generation | version of the whole route table |
//! | served / mirrored | the answer the client got / the one fetched from the other side to compare |

pub mod bucket;
pub mod change;
pub mod compiled;
pub mod decide;
pub mod name;
mod ownership;
pub mod phase;
pub mod side;
pub mod spec;
pub mod sticky;
pub mod table;
pub mod target;
pub mod template;
pub mod version;

pub use bucket::{Bucket, bucket};
pub use change::{Actor, Change, Refusal, apply};
pub use compiled::Compiled;
pub use decide::{Cutover, Decision, Mirror, Outcome, Reason, RequestHead, RequestKind, decide};
pub use name::{ContextName, EndpointName, NameError};
pub use phase::{Direction, Percent, Phase};
pub use side::Side;
pub use spec::{Catalogue, ContextSpec, EndpointKind, EndpointSpec};
pub use sticky::{KeySource, StickyKey};
pub use table::{ContextState, EndpointState, Freeze, RouteTable};
pub use template::PathTemplate;
pub use version::{Epoch, Generation};
