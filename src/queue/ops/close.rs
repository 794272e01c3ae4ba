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

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        let closed = sqlx::query("UPDATE batch SET expecting = 0 WHERE id = ?1 AND expecting")
            .bind(self.0)
            .execute(tx.begun().await?)
            .await?;
        if closed.rows_affected() > 0 {
            tx.closed(self.0);
        }
        Ok(())
    }
}
