//! Operations of a context, and who can serve them.
//!
//! An operation is a type, not a string: whether it is a [`Read`] or a [`Write`] is decided where it is declared,
//! and the compiler refuses an experiment on a write.
//!
//! What must stay true: nothing here knows which side is which; a [`Serve`] is one side and sees one request.

use crate::cx::Cx;
use banyan_domain::Epoch;

/// One operation of a context: its name, what it takes, what it gives.
///
/// The error belongs to the operation and not to a side, because callers must not care who served them.
pub trait Op: 'static {
    /// Name of the endpoint as in `banyan.toml`, for example `messages.list`; a label of metrics.
    const NAME: &'static str;
    /// What is asked.
    type Req: Clone + Send + Sync + 'static;
    /// What is answered.
    type Resp: Send + Sync + 'static;
    /// What the application itself can refuse with (not found, invalid), the same for both sides.
    type Error: Send + Sync + 'static;
}

/// An operation without effects: may be run on both sides and compared.
pub trait Read: Op<Resp: PartialEq + Clone, Error: PartialEq + Clone> {}

/// An operation with effects: runs on exactly one side, the owner; never mirrored, never retried on the other.
pub trait Write: Op {}

/// One side's implementation of an operation: the legacy adapter or the new one.
pub trait Serve<O: Op>: Send + Sync + 'static {
    /// Answers one request; must not touch the other side.
    fn serve(
        &self,
        cx: Cx,
        req: O::Req,
    ) -> impl Future<Output = Result<O::Resp, SeamError<O::Error>>> + Send;
}

/// Why a side did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeamError<E> {
    /// The application refused: the answer is the answer, on either side.
    #[error("refused by the application")]
    App(E),
    /// The side cannot be reached or cannot work now; the text says what failed. Nothing was done.
    #[error("side is unavailable: {0}")]
    Unavailable(String),
    /// The side did not answer before the request's deadline. A write may or may not have happened.
    #[error("side did not answer within the deadline")]
    Timeout,
    /// The side does not own the context's writes. Nothing was done; safe to try again at the owner.
    #[error("side does not own the context in epoch {epoch}")]
    NotOwner {
        /// The ownership the side knows of.
        epoch: Epoch,
    },
}

/// The side that is not there any more: `Seam<(), New, ..>` is what remains when the legacy code is deleted.
impl<O: Op> Serve<O> for () {
    async fn serve(&self, _: Cx, _: O::Req) -> Result<O::Resp, SeamError<O::Error>> {
        Err(SeamError::Unavailable(format!("`{}` has no code on this side", O::NAME)))
    }
}
