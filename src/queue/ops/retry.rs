//! `retry`: failed and cancelled tasks back into the queue.

use std::collections::BTreeSet;

use rusqlite::params;

use super::super::error::QueueError;
use super::super::events::{Stored, Tasks};
use super::super::memory::{priority_of, state_of};
use super::super::operation::Operation;
use super::super::passing::passing_within;
use super::super::state::State;
use super::super::tx::{Tx, json};
use super::row::{OWN, Row};
use super::{CHUNK, LISTED, NO_SUCH_TASK};
use crate::filter::Condition;
use crate::protocol::NotDone;
use crate::task::{BatchId, Status, TaskId};

/// Requeues tasks.
#[derive(Debug, Clone)]
pub struct Retry {
    pub which: Which,
    pub change: Change,
}

/// What holds for the tasks from now on, where it is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    /// Some(None): no limit.
    pub timeout_ms: Option<Option<i64>>,
    pub max_retries: Option<u32>,
}

/// The tasks.
#[derive(Debug, Clone)]
pub enum Which {
    Tasks(Vec<TaskId>),
    /// Those of them that pass.
    Passing {
        ids: Vec<TaskId>,
        condition: Condition,
    },
    /// All of a status above an id and up to one, in pieces.
    Ended {
        status: Status,
        after: TaskId,
        upto: TaskId,
    },
    /// All failed or cancelled ones (or of one of the two) of a batch, likewise.
    Batch {
        batch_id: BatchId,
        status: Option<Status>,
        after: TaskId,
        upto: TaskId,
    },
}

/// What came of it.
#[derive(Debug, Default)]
pub struct RetryOutcome {
    pub requeued: u64,
    /// At most [`LISTED`].
    pub not_requeued: Vec<NotDone>,
    /// Where a filter goes on; none at its end.
    pub next: Option<TaskId>,
}

/// A task, and whether its batch is paused.
type Found = (Row, Option<bool>);

fn found(row: &rusqlite::Row<'_>) -> rusqlite::Result<Found> {
    Ok((row.try_into()?, row.get(OWN)?))
}

impl Operation for Retry {
    type Answer = RetryOutcome;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<RetryOutcome, QueueError> {
        let mut outcome = RetryOutcome::default();
        let rows = self.which.rows(tx)?;
        match &self.which {
            Which::Tasks(ids) => {
                let known: BTreeSet<TaskId> = rows.iter().map(|(row, _)| row.id).collect();
                let unknown = ids.iter().filter(|id| !known.contains(id));
                outcome.not_requeued.extend(unknown.map(|id| NotDone { task_id: *id, reason: NO_SUCH_TASK.into() }));
            }
            Which::Passing { .. } => {}
            Which::Ended { .. } | Which::Batch { .. } => {
                let full = i64::try_from(rows.len()).is_ok_and(|n| n == CHUNK);
                outcome.next = rows.last().map(|(row, _)| row.id).filter(|_| full);
            }
        }
        let mut again: Vec<(TaskId, i64, Option<i64>)> = Vec::with_capacity(rows.len());
        for (row, is_paused) in rows {
            let state = state_of(row.state)?;
            let asked = match &self.which {
                Which::Batch { status: Some(status), .. } => state.status() == *status,
                _ => true,
            };
            if !asked || !matches!(state, State::Failed | State::Cancelled) {
                if let Which::Tasks(_) = self.which {
                    outcome.not_requeued.push(NotDone { task_id: row.id, reason: format!("is {}", state.status()) });
                }
                continue;
            }
            let priority = priority_of(row.priority)?;
            let is_paused = is_paused == Some(true);
            let new = if is_paused { State::Waiting } else { State::Ready };
            tx.moved(row.batch_id, priority, state, new, row.run_ms.unwrap_or(0));
            if !is_paused {
                tx.memory.became_ready(priority, row.id);
            }
            again.push((row.id, new.code(), is_paused.then_some(0)));
        }
        outcome.requeued = again.len() as u64;
        outcome.not_requeued.truncate(LISTED);
        tx.begun()?.run(
            "UPDATE task SET state = j.value ->> 1, ready_at = NULL, retry_count = 0, interruptions = 0,
                 forgiven = 0, finished_at = NULL, reason = NULL, paused = j.value ->> 2,
                 cancel_requested = 0, max_retries = coalesce(?2, max_retries),
                 timeout_ms = CASE WHEN ?3 THEN ?4 ELSE timeout_ms END
             FROM json_each(?1) AS j WHERE task.id = j.value ->> 0 AND state IN (4, 5)",
            params![
                json(&again)?,
                self.change.max_retries,
                self.change.timeout_ms.is_some(),
                self.change.timeout_ms.flatten()
            ],
        )?;
        let ids: Vec<TaskId> = again.iter().map(|(id, ..)| *id).collect();
        if let Some(tasks) = Tasks::of(&ids) {
            tx.tell(Stored::Requeued(tasks));
        }
        Ok(outcome)
    }
}

impl Which {
    fn rows(&self, tx: &mut Tx<'_>) -> Result<Vec<Found>, QueueError> {
        let rows = match self {
            Self::Tasks(ids) => chosen(tx, ids)?,
            Self::Passing { ids, condition } => {
                let ids = passing_within(tx.db, ids, condition)?;
                chosen(tx, &ids)?
            }
            // Whatever its state, so that a piece reads no more than it may change.
            Self::Batch { batch_id, after, upto, .. } => tx.db.all(
                "SELECT id, batch_id, priority, state, run_ms,
                     (SELECT paused FROM batch WHERE batch.id = batch_id)
                 FROM task INDEXED BY task_batch
                 WHERE batch_id = ?2 AND id > ?1 AND id <= ?4 ORDER BY id LIMIT ?3",
                params![after, batch_id, CHUNK, upto],
                found,
            )?,
            Self::Ended { status, after, upto } => tx.db.all(
                "SELECT id, batch_id, priority, state, run_ms,
                     (SELECT paused FROM batch WHERE batch.id = batch_id)
                 FROM task INDEXED BY task_ended_id
                 WHERE state >= 3 AND state = ?2 AND id > ?1 AND id <= ?4 ORDER BY id LIMIT ?3",
                params![after, State::codes(*status).0, CHUNK, upto],
                found,
            )?,
        };
        Ok(rows)
    }
}

fn chosen(tx: &mut Tx<'_>, ids: &[TaskId]) -> Result<Vec<Found>, QueueError> {
    tx.db.all(
        "SELECT id, batch_id, priority, state, run_ms, (SELECT paused FROM batch WHERE batch.id = batch_id)
         FROM task WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id",
        [json(&ids)?],
        found,
    )
}
