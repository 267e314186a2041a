//! What an application adds to be carved: a seam between its controllers and its storage, and events.
//!
//! A controller asks a [`Seam`] for an operation; the seam asks the legacy adapter, the new one, or one for the
//! caller and the other for comparison, as the operation's phase says. It exists so that a context can move
//! without its controllers noticing, and so that the rules (writes on one side only, comparisons never in the way)
//! are held by a type and not by discipline.
//!
//! What must stay true: the public names stay few (an adopter needs [`Op`], [`Serve`], [`Seam`] and a
//! [`Switch`]); this crate never knows the proxy, the shadow or the sync.
//!
//! ```
//! use banyan_seams::{Cx, FixedSwitch, NoLab, Op, Read, Seam, SeamError, Serve, domain::Phase};
//! use std::time::Duration;
//!
//! /// How many unread messages a user has.
//! struct Unread;
//! impl Op for Unread {
//!     const NAME: &'static str = "messages.unread_count";
//!     type Req = u64;
//!     type Resp = i64;
//!     type Error = ();
//! }
//! impl Read for Unread {}
//!
//! struct ActiveRecord;
//! impl Serve<Unread> for ActiveRecord {
//!     async fn serve(&self, _: Cx, _user: u64) -> Result<i64, SeamError<()>> {
//!         Ok(4)
//!     }
//! }
//! struct MessagesClient;
//! impl Serve<Unread> for MessagesClient {
//!     async fn serve(&self, _: Cx, _user: u64) -> Result<i64, SeamError<()>> {
//!         Ok(4)
//!     }
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! let switch = FixedSwitch::at(Phase::Shadow);
//! let seam = Seam::new(ActiveRecord, MessagesClient, switch, NoLab);
//! let cx = Cx::new("user:3", Duration::from_secs(2));
//! assert_eq!(seam.read::<Unread>(cx, 3).await, Ok(4));
//! # });
//! ```
//!
//! A write cannot be compared, because it cannot be read through the seam:
//!
//! ```compile_fail
//! # use banyan_seams::{Cx, FixedSwitch, NoLab, Op, Seam, Write, domain::Phase};
//! struct Send;
//! impl Op for Send {
//!     const NAME: &'static str = "messages.create";
//!     type Req = String;
//!     type Resp = u64;
//!     type Error = ();
//! }
//! impl Write for Send {}
//!
//! async fn wrong(seam: Seam<(), (), FixedSwitch, NoLab>, cx: Cx) {
//!     seam.read::<Send>(cx, "hi".to_owned()).await.ok();
//! }
//! ```

mod cx;
mod lab;
mod metric;
mod op;
mod seam;
mod switch;

pub use banyan_domain as domain;
pub use banyan_events as events;

pub use cx::{Cx, HOPS_HEADER, HOPS_MAX};
pub use lab::{CountingLab, Experiment, Lab, NoLab, StrictLab, Verdict};
pub use op::{Op, Read, SeamError, Serve, Write};
pub use seam::{Limits, Seam};
pub use switch::{FixedSwitch, Position, Positions, SharedSwitch, Switch};
