//! The end of a batch in parts, where its last part adds nothing.

use super::super::error::QueueError;
use super::super::operation::Operation;
use super::super::tx::Tx;
use crate::task::BatchId;

/// No further part of a batch follows, for there was no good task in the last one.
#[derive(Debug, Clone, Copy)]
pub struct CloseBatch(pub BatchId);

impl Operation for CloseBatch {
    type Answer = ();
    const TOUCHES_CLAIMED: bool = false;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        let closed = tx.begun()?.run("UPDATE batch SET expecting = 0 WHERE id = ?1 AND expecting", [self.0])?;
        if closed > 0 {
            tx.closed(self.0);
        }
        Ok(())
    }
}
