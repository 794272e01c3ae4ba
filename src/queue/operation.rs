//! An operation of the queue, and its way to the writer and back.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::oneshot;
use tracing::{Instrument, Span};

use super::error::QueueError;
use super::tx::Tx;

/// A change to the queue. May be applied more than once: after a rollback.
pub trait Operation: Send + 'static {
    type Answer: Send + 'static;
    /// It may change tasks that are claimed, behind what the writer remembers of them.
    const TOUCHES_CLAIMED: bool = true;

    /// It adds rows to what the transaction gathers, and looks at nothing that other additions gathered.
    fn only_adds(&self) -> bool {
        false
    }

    /// Carries it out within the group's transaction.
    fn apply(&self, tx: &mut Tx<'_>) -> impl Future<Output = Result<Self::Answer, QueueError>> + Send;
}

/// An operation on its way, without its type.
pub(super) trait Job: Send {
    fn apply<'a>(&'a mut self, tx: &'a mut Tx<'_>)
    -> Pin<Box<dyn Future<Output = Result<(), QueueError>> + Send + 'a>>;
    fn only_adds(&self) -> bool;
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
    fn apply<'a>(
        &'a mut self,
        tx: &'a mut Tx<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<(), QueueError>> + Send + 'a>> {
        let span = self.span.clone();
        Box::pin(
            async move {
                self.answer = Some(self.operation.apply(tx).await?);
                Ok(())
            }
            .instrument(span),
        )
    }

    fn only_adds(&self) -> bool {
        self.operation.only_adds()
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
