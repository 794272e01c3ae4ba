//! `update`: fields of queued tasks.

use rusqlite::params;

use super::super::error::QueueError;
use super::super::events::{Stored, Tasks};
use super::super::memory::{priority_of, state_of};
use super::super::operation::Operation;
use super::super::state::State;
use super::super::tx::Tx;
use super::NO_SUCH_TASK;
use super::recover::release;
use crate::protocol::NotDone;
use crate::task::{BatchId, ClaimId, Priority, TaskId};

/// Changes fields; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Update {
    pub task_ids: Vec<TaskId>,
    /// Claims that the keeper gave back.
    pub yielded: Vec<ClaimId>,
    pub name: Option<String>,
    /// JSON text of an object.
    pub params: Option<String>,
    pub priority: Option<Priority>,
    pub max_retries: Option<u32>,
    pub timeout_ms: Option<Option<i64>>,
    pub retry_delay_ms: Option<i64>,
    pub delay_ms: Option<i64>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct UpdateOutcome {
    pub updated: Vec<TaskId>,
    pub not_updated: Vec<NotDone>,
    /// Tasks that are claimed and were not asked for at the keeper: ask, then again.
    pub claimed: Vec<(TaskId, ClaimId)>,
}

impl Operation for Update {
    type Answer = UpdateOutcome;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<UpdateOutcome, QueueError> {
        release(tx, &self.yielded)?;
        let mut outcome = UpdateOutcome::default();
        for task_id in &self.task_ids {
            let row: Option<(BatchId, i64, i64, Option<ClaimId>, bool)> = tx.db.first(
                "SELECT batch_id, priority, state, claim, paused IS NOT NULL FROM task WHERE id = ?1",
                [task_id],
                |row| row.try_into(),
            )?;
            let Some((batch_id, priority, state, claim, is_paused)) = row else {
                outcome.not_updated.push(NotDone { task_id: *task_id, reason: NO_SUCH_TASK.into() });
                continue;
            };
            let (priority, state) = (priority_of(priority)?, state_of(state)?);
            match (state, claim) {
                (State::Ready | State::Waiting, None) => {
                    self.change(tx, *task_id, batch_id, priority, state, is_paused)?;
                    outcome.updated.push(*task_id);
                }
                (State::Ready | State::Waiting, Some(claim)) => outcome.claimed.push((*task_id, claim)),
                _ => outcome.not_updated.push(NotDone {
                    task_id: *task_id,
                    reason: format!("is {}; only queued tasks can be changed", state.status()),
                }),
            }
        }
        if let Some(tasks) = Tasks::of(&outcome.updated) {
            tx.tell(Stored::Updated(tasks));
        }
        Ok(outcome)
    }
}

impl Update {
    fn change(
        &self,
        tx: &mut Tx<'_>,
        task_id: TaskId,
        batch_id: BatchId,
        priority: Priority,
        state: State,
        is_paused: bool,
    ) -> Result<(), QueueError> {
        let due = self.delay_ms.filter(|ms| *ms > 0).map(|ms| tx.now + ms);
        let ready_at = due.filter(|_| !is_paused);
        let new_state = match self.delay_ms {
            _ if is_paused => state,
            None => state,
            Some(_) if ready_at.is_some() => State::Waiting,
            Some(_) => State::Ready,
        };
        let new_priority = self.priority.unwrap_or(priority);
        tx.tallied(batch_id, priority, state, -1, 0);
        tx.tallied(batch_id, new_priority, new_state, 1, 0);
        match ready_at {
            Some(due) => tx.memory.waits_until(due),
            None if new_state == State::Ready => tx.memory.became_ready(new_priority, task_id),
            None => {}
        }
        tx.begun()?.run(
            "UPDATE task SET name = coalesce(?2, name), priority = ?3, max_retries = coalesce(?4, max_retries),
                 timeout_ms = iif(?5, ?6, timeout_ms), retry_delay_ms = coalesce(?7, retry_delay_ms),
                 state = ?8, ready_at = iif(?9, ?10, ready_at), paused = iif(?9 AND paused IS NOT NULL, ?11, paused)
             WHERE id = ?1 AND state < 2 AND claim IS NULL",
            params![
                task_id,
                &self.name,
                new_priority.code(),
                self.max_retries,
                self.timeout_ms.is_some(),
                self.timeout_ms.flatten(),
                self.retry_delay_ms,
                new_state.code(),
                self.delay_ms.is_some(),
                ready_at,
                due.unwrap_or(0)
            ],
        )?;
        if let Some(params) = &self.params {
            tx.begun()?.run("UPDATE task_input SET params = ?2 WHERE task_id = ?1", params![task_id, params])?;
        }
        Ok(())
    }
}
