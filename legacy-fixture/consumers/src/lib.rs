//! Two consumers of the public events: push notifications and statistics.
//!
//! Each is a service of its own with its own queue and database, written with the inbox helper as an adopter would. They
//! exist because brokers deliver at least once, and because the point of one emitter is what consumers do: a user is
//! notified once, a day's count is right, whichever side emitted and whatever died on the way.
//!
//! What must stay true: effect and inbox mark are in one transaction, and the message is acknowledged only after its
//! commit; a message that cannot be read is put aside in the same way, and neither blocks the queue nor vanishes; what
//! cannot be stored stays in the queue.

mod app;
mod args;
mod consume;
mod error;
mod event;
mod http;
mod live;
mod pause;
mod server;
mod store;

pub use app::App;
pub use args::{ConsumerArgs, QueueType};
pub use error::ConsumerError;
pub use pause::{Pause, Step};
pub use server::{Bound, bind, run};
