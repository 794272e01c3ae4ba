//! The executor's row: start, stop, and the timer of what is due.

use rusqlite::params;

use super::super::db::Db;
use super::super::error::QueueError;
use super::super::memory::priority_of;
use super::super::operation::Operation;
use super::super::state::State;
use super::super::tx::Tx;
use super::CHUNK;
use super::pause::let_finish;
use super::recover::release;
use crate::task::{BatchId, ClaimId, DEFAULT_MAX_CONCURRENT, RunState, TaskId};

/// `start`. What is `None` was not given.
#[derive(Debug, Clone, Default)]
pub struct Start {
    pub max_concurrent: Option<u32>,
    /// Milliseconds from now; `Some(None)` removes the deadline.
    pub timeout_ms: Option<Option<i64>>,
    pub keep: Option<bool>,
    /// The cap of a start that says none, where it is not the usual one.
    pub default_cap: Option<u32>,
    /// `Some(None)` removes the limit.
    pub max_failures: Option<Option<u32>>,
}

/// What `start` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOutcome {
    /// With so many tasks to do.
    Started { open: i64 },
    /// It ran already; what was given was changed.
    Changed,
    /// There is nothing to run and it was not told to keep running.
    NothingToRun,
}

impl Operation for Start {
    type Answer = StartOutcome;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<StartOutcome, QueueError> {
        let open = tx.memory.tally.open();
        let now = tx.now;
        let run = &mut tx.memory.run;
        let was = run.state;
        if was == RunState::Stopped {
            if open == 0 && self.keep != Some(true) {
                return Ok(StartOutcome::NothingToRun);
            }
            run.set_cap(self.default_cap.unwrap_or(DEFAULT_MAX_CONCURRENT));
            run.keep = false;
            run.max_failures = None;
            run.paused = None;
        }
        if was != RunState::Running {
            run.state = RunState::Running;
            run.reason = None;
            run.deadline = None;
            run.failures = 0;
        }
        if let Some(max_concurrent) = self.max_concurrent {
            run.set_cap(max_concurrent);
        }
        if let Some(keep) = self.keep {
            run.keep = keep;
        }
        if let Some(max_failures) = self.max_failures {
            run.max_failures = max_failures;
        }
        if let Some(timeout_ms) = self.timeout_ms {
            run.deadline = timeout_ms.map(|ms| now + ms);
        }
        Ok(if was == RunState::Running { StartOutcome::Changed } else { StartOutcome::Started { open } })
    }
}

/// `stop`, the deadline: nothing more starts; the state is `stopped` when the last running task has ended.
#[derive(Debug, Clone)]
pub struct Stop {
    pub reason: &'static str,
    /// Claims that the keeper gave back.
    pub yielded: Vec<ClaimId>,
}

impl Operation for Stop {
    type Answer = ();

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        release(tx, &self.yielded)?;
        let_finish(tx)?;
        let run = &mut tx.memory.run;
        if run.state == RunState::Running {
            run.state = RunState::Stopping;
            run.reason = Some(self.reason.to_owned());
            run.deadline = None;
            run.paused = None;
        }
        Ok(())
    }
}

/// Makes the waiting tasks ready that are due.
#[derive(Debug, Clone, Copy)]
pub struct Promote;

impl Operation for Promote {
    type Answer = ();

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        let due: Vec<(TaskId, BatchId, i64)> = tx.begun()?.all(
            "UPDATE task SET state = 0, ready_at = NULL WHERE id IN
                 (SELECT id FROM task INDEXED BY task_waiting WHERE state = 1 AND ready_at <= ?1
                  ORDER BY ready_at LIMIT ?2)
             RETURNING id, batch_id, priority",
            params![tx.now, CHUNK],
            |row| row.try_into(),
        )?;
        for (task_id, batch_id, priority) in due {
            let priority = priority_of(priority)?;
            tx.moved(batch_id, priority, State::Waiting, State::Ready, 0);
            tx.memory.became_ready(priority, task_id);
        }
        tx.memory.next_due = next_due(tx.db)?;
        Ok(())
    }
}

/// When the first of the waiting tasks is due; those that are paused have no time.
pub(in crate::queue) fn next_due(db: &Db) -> Result<Option<i64>, QueueError> {
    let first = "SELECT min(ready_at) FROM task INDEXED BY task_waiting WHERE state = 1 AND ready_at IS NOT NULL";
    db.one(first, [], |row| row.get(0))
}

/// Raises a cap that was lowered, when that is due.
#[derive(Debug, Clone, Copy)]
pub struct Raise;

impl Operation for Raise {
    type Answer = ();

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        let now = tx.now;
        tx.memory.run.raise(now);
        Ok(())
    }
}

/// Changes nothing: lets the end of the group claim what it may since the gate was opened.
#[derive(Debug, Clone, Copy)]
pub struct Nudge;

impl Operation for Nudge {
    type Answer = ();
    const TOUCHES_CLAIMED: bool = false;

    fn apply(&self, _tx: &mut Tx<'_>) -> Result<(), QueueError> {
        Ok(())
    }
}
