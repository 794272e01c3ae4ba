//! `cancel`: what waits is cancelled here; what is with the keeper was asked there first.

use std::collections::BTreeMap;

use rusqlite::params;

use super::super::error::QueueError;
use super::super::events::{Stored, Tasks};
use super::super::memory::{priority_of, state_of};
use super::super::operation::Operation;
use super::super::state::State;
use super::super::tx::{Tx, json};
use super::LISTED;
use super::recover::release;
use super::select::Selection;
use crate::protocol::NotDone;
use crate::task::{ClaimId, TaskId};

/// Cancels tasks.
#[derive(Debug, Clone)]
pub struct Cancel {
    pub selection: Selection,
    /// Claims that the keeper gave back: as if unclaimed.
    pub yielded: Vec<ClaimId>,
    /// What the keeper was told to end. Its end may be in the queue already.
    pub ordered: BTreeMap<TaskId, ClaimId>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct CancelOutcome {
    pub count: u64,
    /// At most [`LISTED`].
    pub cancelled: Vec<TaskId>,
    /// At most [`LISTED`].
    pub not_cancelled: Vec<NotDone>,
    /// Tasks that are with the keeper and were not asked for there: ask, then again.
    pub claimed: Vec<(TaskId, ClaimId)>,
    /// Such as pass a filter and have not started: to be taken back, then again, for once started they may not pass.
    pub ahead: Vec<(TaskId, ClaimId)>,
    /// Where a batch goes on; none at its end.
    pub next: Option<TaskId>,
}

impl Operation for Cancel {
    type Answer = CancelOutcome;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<CancelOutcome, QueueError> {
        release(tx, &self.yielded)?;
        let (mut rows, next) = self.selection.rows(tx)?;
        let by_filter = matches!(self.selection, Selection::Passing { .. });
        if by_filter {
            // What was told to end passed then.
            rows.retain(|row| !self.ordered.contains_key(&row.task.id));
            let ordered = self.ordered.keys().copied().collect();
            rows.extend(Selection::Tasks(ordered).rows(tx)?.0);
        }
        let mut outcome =
            CancelOutcome { next, not_cancelled: self.selection.missing(&rows), ..CancelOutcome::default() };
        let listed_by_id = matches!(self.selection, Selection::Tasks(_));
        let mut now = Vec::new();
        let mut later = Vec::new();
        for row in rows {
            let state = state_of(row.task.state)?;
            let ordered = self.ordered.get(&row.task.id);
            if state.status().is_ended() && !(state == State::Cancelled && ordered.is_some()) {
                if listed_by_id {
                    outcome
                        .not_cancelled
                        .push(NotDone { task_id: row.task.id, reason: format!("is already {}", state.status()) });
                }
                continue;
            }
            match row.claim {
                None if state == State::Cancelled => {}
                None => {
                    // Its run time so far leaves with no tally: a queued task's is in none.
                    let priority = priority_of(row.task.priority)?;
                    tx.moved(row.task.batch_id, priority, state, State::Cancelled, row.task.run_ms.unwrap_or(0));
                    now.push(row.task.id);
                }
                Some(claim) if ordered == Some(&claim) => later.push(row.task.id),
                Some(claim) => {
                    let only_back = by_filter && state != State::Running;
                    let to = if only_back { &mut outcome.ahead } else { &mut outcome.claimed };
                    to.push((row.task.id, claim));
                    continue;
                }
            }
            outcome.count += 1;
            if outcome.cancelled.len() < LISTED {
                outcome.cancelled.push(row.task.id);
            }
        }
        outcome.not_cancelled.truncate(LISTED);
        mark(tx, &now, &later)?;
        if let Some(tasks) = Tasks::of(&now) {
            tx.tell(Stored::Cancelled(tasks));
        }
        Ok(outcome)
    }
}

fn mark(tx: &mut Tx<'_>, now: &[TaskId], later: &[TaskId]) -> Result<(), QueueError> {
    tx.begun()?.run(
        "UPDATE task SET state = 5, ready_at = NULL, finished_at = ?2, reason = 'cancelled by request'
         WHERE id IN (SELECT value FROM json_each(?1))",
        params![json(&now)?, tx.wall_ms],
    )?;
    tx.begun()?.run(
        "UPDATE task SET cancel_requested = 1 WHERE id IN (SELECT value FROM json_each(?1)) AND claim IS NOT NULL",
        [json(&later)?],
    )?;
    Ok(())
}
