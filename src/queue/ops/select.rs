//! The tasks that `cancel` and `pause` are about.

use std::collections::BTreeSet;

use super::super::error::QueueError;
use super::super::passing::passing;
use super::super::tx::{Tx, json};
use super::{CHUNK, NO_SUCH_TASK};
use crate::filter::Condition;
use crate::protocol::NotDone;
use crate::task::{BatchId, ClaimId, TaskId};

/// Which tasks an operation is about.
#[derive(Debug, Clone)]
pub enum Selection {
    Tasks(Vec<TaskId>),
    /// Those of them that pass.
    Passing {
        ids: Vec<TaskId>,
        condition: Condition,
    },
    /// Those of a batch above an id, in pieces.
    Batch {
        batch_id: BatchId,
        after: TaskId,
    },
}

/// What of a task matters for them.
#[derive(sqlx::FromRow)]
pub(super) struct Row {
    pub id: TaskId,
    pub batch_id: BatchId,
    pub priority: i64,
    pub state: i64,
    pub claim: Option<ClaimId>,
    pub run_ms: Option<i64>,
    pub ready_at: Option<i64>,
    pub paused: Option<i64>,
}

impl Selection {
    /// The same for some of its tasks.
    #[must_use]
    pub fn among(&self, ids: Vec<TaskId>) -> Self {
        match self {
            Self::Passing { condition, .. } => Self::Passing { ids, condition: condition.clone() },
            Self::Tasks(_) | Self::Batch { .. } => Self::Tasks(ids),
        }
    }

    /// Of chosen tasks, those of which there is no row.
    pub(super) fn missing(&self, rows: &[Row]) -> Vec<NotDone> {
        let Self::Tasks(ids) = self else { return Vec::new() };
        let known: BTreeSet<TaskId> = rows.iter().map(|row| row.id).collect();
        let unknown = ids.iter().filter(|id| !known.contains(id));
        unknown.map(|id| NotDone { task_id: *id, reason: NO_SUCH_TASK.to_owned() }).collect()
    }

    /// The tasks' rows, by id, and where a batch goes on; none at its end.
    pub(super) async fn rows(&self, tx: &mut Tx<'_>) -> Result<(Vec<Row>, Option<TaskId>), QueueError> {
        match self {
            Self::Tasks(ids) => Ok((chosen(tx, ids).await?, None)),
            Self::Passing { ids, condition } => {
                let ids = passing(tx.reading(), ids, Some(condition), None).await?;
                Ok((chosen(tx, &ids).await?, None))
            }
            // Whatever its state, so that a piece reads no more than it may change.
            Self::Batch { batch_id, after } => {
                let rows: Vec<Row> = sqlx::query_as(
                    "SELECT id, batch_id, priority, state, claim, run_ms, ready_at, paused FROM task INDEXED BY task_batch
                     WHERE batch_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
                )
                .bind(batch_id)
                .bind(after)
                .bind(CHUNK)
                .fetch_all(tx.reading())
                .await?;
                let full = i64::try_from(rows.len()).is_ok_and(|n| n == CHUNK);
                let next = rows.last().map(|row| row.id).filter(|_| full);
                Ok((rows, next))
            }
        }
    }
}

async fn chosen(tx: &mut Tx<'_>, ids: &[TaskId]) -> Result<Vec<Row>, QueueError> {
    Ok(sqlx::query_as(
        "SELECT id, batch_id, priority, state, claim, run_ms, ready_at, paused FROM task
         WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id",
    )
    .bind(json(&ids)?)
    .fetch_all(tx.reading())
    .await?)
}
