//! `retry`: failed and cancelled tasks back into the queue.

use std::collections::BTreeSet;

use super::super::error::QueueError;
use super::super::memory::{priority_of, state_of};
use super::super::state::State;
use super::super::tx::{Tx, json};
use super::super::writer::Operation;
use super::{CHUNK, LISTED};
use crate::protocol::NotDone;
use crate::task::{BatchId, Status, TaskId};

/// Requeues tasks.
#[derive(Debug, Clone)]
pub enum Retry {
    Tasks(Vec<TaskId>),
    /// All failed or cancelled ones (of a batch) above an id and up to one, in pieces.
    Filter {
        status: Option<Status>,
        batch_id: Option<BatchId>,
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

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    batch_id: i64,
    priority: i64,
    state: i64,
    run_ms: Option<i64>,
}

impl Operation for Retry {
    type Answer = RetryOutcome;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<RetryOutcome, QueueError> {
        let mut outcome = RetryOutcome::default();
        let rows = self.rows(tx).await?;
        match self {
            Self::Tasks(ids) => {
                let known: BTreeSet<TaskId> = rows.iter().map(|row| row.id).collect();
                let unknown = ids.iter().filter(|id| !known.contains(id));
                outcome.not_requeued.extend(unknown.map(|id| NotDone { task_id: *id, reason: "no such task".into() }));
            }
            Self::Filter { .. } => {
                let full = i64::try_from(rows.len()).is_ok_and(|n| n == CHUNK);
                outcome.next = rows.last().map(|row| row.id).filter(|_| full);
            }
        }
        let mut again = Vec::with_capacity(rows.len());
        for row in rows {
            let state = state_of(row.state)?;
            if !matches!(state, State::Failed | State::Cancelled) {
                outcome.not_requeued.push(NotDone { task_id: row.id, reason: format!("is {}", state.status()) });
                continue;
            }
            let priority = priority_of(row.priority)?;
            tx.moved(row.batch_id, priority, state, State::Ready, row.run_ms.unwrap_or(0));
            tx.memory.became_ready(priority, row.id);
            again.push(row.id);
        }
        outcome.requeued = again.len() as u64;
        outcome.not_requeued.truncate(LISTED);
        sqlx::query(
            "UPDATE task SET state = 0, ready_at = NULL, retry_count = 0, interruptions = 0, finished_at = NULL,
                 reason = NULL, cancel_requested = 0
             WHERE id IN (SELECT value FROM json_each(?1)) AND state IN (4, 5)",
        )
        .bind(json(&again)?)
        .execute(&mut *tx.connection)
        .await?;
        Ok(outcome)
    }
}

impl Retry {
    async fn rows(&self, tx: &mut Tx<'_>) -> Result<Vec<Row>, QueueError> {
        let rows = match self {
            Self::Tasks(ids) => {
                sqlx::query_as(
                    "SELECT id, batch_id, priority, state, run_ms FROM task
                     WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id",
                )
                .bind(json(ids)?)
                .fetch_all(&mut *tx.connection)
                .await?
            }
            Self::Filter { status, batch_id: Some(batch_id), after, upto } => {
                sqlx::query_as(
                    "SELECT id, batch_id, priority, state, run_ms FROM task INDEXED BY task_batch
                     WHERE batch_id = ?4 AND id > ?1 AND id <= ?5 AND state IN (4, 5) AND (?2 IS NULL OR state = ?2)
                     ORDER BY id LIMIT ?3",
                )
                .bind(after)
                .bind(status.and_then(State::of_ended).map(State::code))
                .bind(CHUNK)
                .bind(batch_id)
                .bind(upto)
                .fetch_all(&mut *tx.connection)
                .await?
            }
            Self::Filter { status, batch_id: None, after, upto } => {
                sqlx::query_as(
                    "SELECT id, batch_id, priority, state, run_ms FROM task INDEXED BY task_retryable
                     WHERE state IN (4, 5) AND state = coalesce(?2, 4) AND id > ?1 AND id <= ?4 ORDER BY id LIMIT ?3",
                )
                .bind(after)
                .bind(status.and_then(State::of_ended).map(State::code))
                .bind(CHUNK)
                .bind(upto)
                .fetch_all(&mut *tx.connection)
                .await?
            }
        };
        Ok(rows)
    }
}
