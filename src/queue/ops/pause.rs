//! `pause` and `resume`: what is queued is put aside here; what is with the keeper was asked there first.

use std::collections::BTreeMap;

use rusqlite::params;

use super::super::error::QueueError;
use super::super::events::{Stored, Tasks, What};
use super::super::memory::{priority_of, state_of};
use super::super::operation::Operation;
use super::super::state::State;
use super::super::tx::{Tx, json};
use super::LISTED;
use super::control::next_due;
use super::recover::release;
use super::select::{Selected, Selection};
use crate::protocol::NotDone;
use crate::task::{ClaimId, Hold, RunState, TaskId};

/// What the column `paused` holds of a task that runs: it is suspended,
const SUSPENDED: i64 = 0;
/// or goes on to its end, and is paused after.
const LEFT: i64 = -1;

/// Lets what is suspended finish; it is paused after.
pub(super) fn let_finish(tx: &mut Tx<'_>) -> Result<(), QueueError> {
    tx.begun()?.run(
        "UPDATE task INDEXED BY task_running SET paused = ?2 WHERE state = 2 AND paused = ?1",
        params![SUSPENDED, LEFT],
    )?;
    Ok(())
}

/// Whether a running task with this in its column is suspended.
pub const fn is_suspended(paused: Option<i64>) -> bool {
    matches!(paused, Some(SUSPENDED))
}

/// Pauses tasks, or lets them go on.
#[derive(Debug, Clone)]
pub struct Pause {
    pub selection: Selection,
    /// None: they go on.
    pub hold: Option<Hold>,
    /// Claims that the keeper gave back: as if unclaimed.
    pub yielded: Vec<ClaimId>,
    /// What runs and is as `hold` says. It may have ended meanwhile.
    pub held: BTreeMap<TaskId, ClaimId>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct PauseOutcome {
    pub count: u64,
    /// At most [`LISTED`].
    pub changed: Vec<TaskId>,
    /// At most [`LISTED`].
    pub not_changed: Vec<NotDone>,
    /// Tasks that are with the keeper and have not started: to be taken back, then again.
    pub claimed: Vec<(TaskId, ClaimId)>,
    /// Tasks that run: to be suspended and then again; where they go on, to be let go on.
    pub running: Vec<(TaskId, ClaimId)>,
    /// Where a batch goes on; none at its end.
    pub next: Option<TaskId>,
    /// Its place among the operations: what came after it, in the same commit as well, it has not seen.
    pub place: u64,
}

/// A queued task's way: the code of its state, `ready_at`, `paused`.
type Moved = (TaskId, i64, Option<i64>, Option<i64>);

impl Operation for Pause {
    type Answer = PauseOutcome;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<PauseOutcome, QueueError> {
        release(tx, &self.yielded)?;
        let mut tells = true;
        if let Selection::Batch { batch_id, .. } = self.selection {
            let changed = tx.begun()?.run(
                "UPDATE batch SET paused = ?2 WHERE id = ?1 AND paused <> ?2",
                params![batch_id, self.hold.is_some()],
            )?;
            if changed > 0 {
                self.tell(tx, What::Batch(batch_id));
                tells = false;
            }
        }
        let (rows, next) = self.selection.rows(tx)?;
        let (not_changed, place) = (self.selection.missing(&rows), tx.memory.operations);
        let mut outcome = PauseOutcome { not_changed, next, place, ..PauseOutcome::default() };
        let (mut queued, mut running) = (Vec::new(), Vec::new());
        for row in rows {
            let state = state_of(row.task.state)?;
            if let Some(reason) = self.nothing_to_do(&row, state) {
                if matches!(self.selection, Selection::Tasks(_)) {
                    outcome.not_changed.push(NotDone { task_id: row.task.id, reason });
                }
                continue;
            }
            match (state, row.claim, self.hold) {
                (State::Running, Some(claim), None) => {
                    outcome.running.push((row.task.id, claim));
                    running.push((row.task.id, None));
                }
                (State::Running, Some(claim), Some(hold)) if self.held.get(&row.task.id) == Some(&claim) => {
                    running.push((row.task.id, Some(if hold == Hold::Pause { SUSPENDED } else { LEFT })));
                }
                (State::Running, Some(claim), Some(_)) => {
                    outcome.running.push((row.task.id, claim));
                    continue;
                }
                (_, Some(claim), _) => {
                    outcome.claimed.push((row.task.id, claim));
                    continue;
                }
                (_, None, _) => queued.push(self.moved(tx, &row, state)?),
            }
            outcome.count += 1;
            if outcome.changed.len() < LISTED {
                outcome.changed.push(row.task.id);
            }
        }
        outcome.not_changed.truncate(LISTED);
        write(tx, &queued, &running)?;
        // With its batch a task is not told of by itself.
        if let Some(tasks) = Tasks::of(&outcome.changed).filter(|_| tells) {
            self.tell(tx, What::Tasks(Tasks { tasks: outcome.count, ..tasks }));
        }
        if self.hold.is_some() && !queued.is_empty() {
            tx.memory.next_due = next_due(tx.db)?;
        }
        Ok(outcome)
    }
}

impl Pause {
    fn tell(&self, tx: &mut Tx<'_>, what: What) {
        tx.tell(if self.hold.is_some() { Stored::Paused(what) } else { Stored::Resumed(what) });
    }

    /// Why a task stays as it is.
    fn nothing_to_do(&self, row: &Selected, state: State) -> Option<String> {
        match (state.status().is_ended(), self.hold.is_some(), row.paused.is_some()) {
            (true, ..) => Some(format!("is already {}", state.status())),
            (false, true, true) => Some("is paused already".to_owned()),
            (false, false, false) => Some("is not paused".to_owned()),
            (false, true, false) | (false, false, true) => None,
        }
    }

    /// Puts a queued task aside, or back where it was.
    fn moved(&self, tx: &mut Tx<'_>, row: &Selected, state: State) -> Result<Moved, QueueError> {
        let priority = priority_of(row.task.priority)?;
        let due = row.paused.filter(|due| *due > tx.now);
        let (new, ready_at, paused) = match (self.hold, due) {
            (Some(_), _) => (State::Waiting, None, Some(row.ready_at.unwrap_or(0))),
            (None, Some(due)) => (State::Waiting, Some(due), None),
            (None, None) => (State::Ready, None, None),
        };
        tx.moved(row.task.batch_id, priority, state, new, 0);
        match ready_at {
            Some(due) => tx.memory.waits_until(due),
            None if new == State::Ready => tx.memory.became_ready(priority, row.task.id),
            None => {}
        }
        Ok((row.task.id, new.code(), ready_at, paused))
    }
}

fn write(tx: &mut Tx<'_>, queued: &[Moved], running: &[(TaskId, Option<i64>)]) -> Result<(), QueueError> {
    tx.begun()?.run(
        "UPDATE task SET state = j.value ->> 1, ready_at = j.value ->> 2, paused = j.value ->> 3
         FROM json_each(?1) AS j WHERE task.id = j.value ->> 0",
        [json(&queued)?],
    )?;
    tx.begun()?.run(
        "UPDATE task SET paused = j.value ->> 1 FROM json_each(?1) AS j WHERE task.id = j.value ->> 0",
        [json(&running)?],
    )?;
    Ok(())
}

/// Pauses the executor while it runs, or lets it go on.
#[derive(Debug, Clone, Copy)]
pub struct PauseRun {
    pub hold: Option<Hold>,
}

impl Operation for PauseRun {
    /// Whether it changed anything.
    type Answer = bool;
    const TOUCHES_CLAIMED: bool = false;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, QueueError> {
        let run = &mut tx.memory.run;
        let changes = run.paused != self.hold && (run.state == RunState::Running || self.hold.is_none());
        if changes {
            run.paused = self.hold;
        }
        Ok(changes)
    }
}
