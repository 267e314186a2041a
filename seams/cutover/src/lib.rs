//! The cutover protocol as a pure, resumable state machine over ports.
//!
//! Owns the states of a fence, the moves that are legal, the steps of a switch, the decision what comes next, and the
//! loop that does it. It exists apart from any database so that a model checker can run the real code. What must
//! stay true: never two fences `OPEN`; `COMMIT` (the target's fence opens) is the single decision point; what to do
//! next follows from what is read, never from a coordinator's memory.

pub mod decide;
pub mod dry_run;
pub mod fence;
pub mod limits;
pub mod memo;
pub mod ports;
pub mod recovery;
pub mod run;
pub mod sql;
pub mod stage;
pub mod step;
pub mod switch;

pub use decide::{Next, decide};
pub use dry_run::DryRun;
pub use fence::{Fence, FenceState, Move, MoveError};
pub use limits::Limits;
pub use memo::{Ending, GiveUp, Intent, Memo, Waiting};
pub use ports::{
    Acknowledged, Check, CheckVerdict, Drained, FenceChange, PortError, Ports, Record,
    RecordOutcome, Route, Standing, Verified,
};
pub use recovery::{Fences, NextStep};
pub use run::{Cutover, Notice, Order, StepTime, Summary, Watch, observe};
pub use stage::{Events, Seen, Stage};
pub use step::{MarkerKind, RouteMove, Step};
pub use switch::Switch;
