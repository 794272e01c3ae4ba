//! The tasks that `cancel` and `pause` are about.

use std::collections::BTreeSet;

use rusqlite::params;

use super::super::error::QueueError;
use super::super::passing::passing_within;
use super::super::tx::{Tx, json};
use super::row::{OWN, Row};
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

/// A task as it matters for them.
pub(super) struct Selected {
    pub task: Row,
    pub claim: Option<ClaimId>,
    pub ready_at: Option<i64>,
    pub paused: Option<i64>,
}

impl TryFrom<&rusqlite::Row<'_>> for Selected {
    type Error = rusqlite::Error;

    fn try_from(row: &rusqlite::Row<'_>) -> Result<Self, Self::Error> {
        Ok(Self { task: row.try_into()?, claim: row.get(OWN)?, ready_at: row.get(OWN + 1)?, paused: row.get(OWN + 2)? })
    }
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
    pub(super) fn missing(&self, rows: &[Selected]) -> Vec<NotDone> {
        let Self::Tasks(ids) = self else { return Vec::new() };
        let known: BTreeSet<TaskId> = rows.iter().map(|row| row.task.id).collect();
        let unknown = ids.iter().filter(|id| !known.contains(id));
        unknown.map(|id| NotDone { task_id: *id, reason: NO_SUCH_TASK.to_owned() }).collect()
    }

    /// The tasks' rows, by id, and where a batch goes on; none at its end.
    pub(super) fn rows(&self, tx: &mut Tx<'_>) -> Result<(Vec<Selected>, Option<TaskId>), QueueError> {
        match self {
            Self::Tasks(ids) => Ok((chosen(tx, ids)?, None)),
            Self::Passing { ids, condition } => {
                let ids = passing_within(tx.db, ids, condition)?;
                Ok((chosen(tx, &ids)?, None))
            }
            // Whatever its state, so that a piece reads no more than it may change.
            Self::Batch { batch_id, after } => {
                let rows: Vec<Selected> = tx.db.all(
                    "SELECT id, batch_id, priority, state, run_ms, claim, ready_at, paused
                     FROM task INDEXED BY task_batch WHERE batch_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
                    params![batch_id, after, CHUNK],
                    |row| row.try_into(),
                )?;
                let full = i64::try_from(rows.len()).is_ok_and(|n| n == CHUNK);
                let next = rows.last().map(|row| row.task.id).filter(|_| full);
                Ok((rows, next))
            }
        }
    }
}

fn chosen(tx: &mut Tx<'_>, ids: &[TaskId]) -> Result<Vec<Selected>, QueueError> {
    tx.db.all(
        "SELECT id, batch_id, priority, state, run_ms, claim, ready_at, paused FROM task
         WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id",
        [json(&ids)?],
        |row| row.try_into(),
    )
}
