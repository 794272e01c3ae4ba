//! An operation of the queue, and its way to the writer and back.

use tokio::sync::oneshot;
use tracing::Span;

use super::error::QueueError;
use super::tx::Tx;

/// A change to the queue. May be applied more than once: after a rollback.
pub trait Operation: Send + 'static {
    type Answer: Send + 'static;
    /// It may change tasks that are claimed, behind what the writer remembers of them.
    const TOUCHES_CLAIMED: bool = true;

    /// Carries it out within the group's transaction.
    ///
    /// # Errors
    /// When the queue cannot be read or written; nothing of the group has happened then.
    fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Answer, QueueError>;
}

/// An operation on its way, without its type.
pub(super) trait Job: Send {
    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<(), QueueError>;
    fn touches_claimed(&self) -> bool;
    fn finish(self: Box<Self>, outcome: Result<(), QueueError>);
}

/// An operation with the caller who waits for it.
pub(super) struct Pending<O: Operation> {
    operation: O,
    answer: Option<O::Answer>,
    reply: oneshot::Sender<Result<O::Answer, QueueError>>,
    span: Span,
}

impl<O: Operation> Pending<O> {
    pub(super) fn new(operation: O) -> (Box<Self>, oneshot::Receiver<Result<O::Answer, QueueError>>) {
        let (reply, answered) = oneshot::channel();
        (Box::new(Self { operation, answer: None, reply, span: Span::current() }), answered)
    }
}

impl<O: Operation> Job for Pending<O> {
    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        let _within = self.span.enter();
        self.answer = Some(self.operation.apply(tx)?);
        Ok(())
    }

    fn touches_claimed(&self) -> bool {
        O::TOUCHES_CLAIMED
    }

    fn finish(self: Box<Self>, outcome: Result<(), QueueError>) {
        let Self { answer, reply, .. } = *self;
        // A caller that has gone needs no answer.
        drop(reply.send(outcome.and_then(|()| answer.ok_or(QueueError::Closed))));
    }
}
