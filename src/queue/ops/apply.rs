//! Starts and ends from the backend, in their order; each accepted once, by claim.
//!
//! The guard of an end is that its claim is the task's open one, so an end may come before its start
//! was written, and a duplicate or stale one changes nothing.

use rusqlite::params;

use super::super::db::Db;
use super::super::error::QueueError;
use super::super::open_task::{OpenTask, open_tasks};
use super::super::operation::Operation;
use super::super::outside;
use super::super::tx::Tx;
use crate::attempt::Event;
use crate::task::{Cause, ClaimId, Outcome, TaskId};

/// Events of the backend. Boxed in an `Arc`, for they may be applied again after a rollback.
#[derive(Debug)]
pub struct Apply {
    pub events: std::sync::Arc<Vec<Event>>,
}

impl Operation for Apply {
    type Answer = ();
    const TOUCHES_CLAIMED: bool = false;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        let claims: Vec<ClaimId> = self.events.iter().map(Event::claim).collect();
        let mut open = open_tasks(tx, &claims)?;
        let burst = outside::burst(tx, &self.events, |claim| open.contains_key(&claim))?;
        let mut writes = Writes::default();
        for event in self.events.iter() {
            match event {
                Event::Started { claim, started_at, .. } => {
                    if let Some(task) = open.get_mut(claim) {
                        task.start(tx, *started_at);
                    }
                }
                Event::Ended(ended) => {
                    if let Some(mut task) = open.remove(&ended.claim) {
                        task.end(tx, ended, burst.contains(&ended.claim), &mut writes)?;
                        writes.tasks.push(task);
                    }
                }
            }
        }
        for (claim, mut task) in open {
            if std::mem::take(&mut task.changed) {
                writes.tasks.push(task.clone());
            }
            tx.remembered.claimed.insert(claim, task);
        }
        writes.write(tx)
    }
}

/// A row of `attempt`.
pub(in crate::queue) struct AttemptRow {
    pub task_id: TaskId,
    pub number: u32,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
    pub outcome: Outcome,
    pub cause: Option<Cause>,
    pub error: Option<String>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub cpu_us: Option<i64>,
    pub max_rss: Option<i64>,
    pub result: Option<String>,
    pub process: bool,
    pub spilled: bool,
    pub dropped: i64,
}

/// What a group of events writes, a statement per table.
#[derive(Default)]
pub(in crate::queue) struct Writes {
    pub tasks: Vec<OpenTask>,
    pub attempts: Vec<AttemptRow>,
    pub outputs: Vec<(TaskId, u32, Vec<u8>)>,
}

impl Writes {
    pub(in crate::queue) fn write(self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        if self.tasks.is_empty() && self.attempts.is_empty() {
            return Ok(());
        }
        let db = tx.begun()?;
        self.write_tasks(db)?;
        self.write_attempts(db)?;
        self.attempts.iter().for_each(|attempt| tx.memory.finished.count(attempt.outcome));
        outside::count(tx, self.attempts.iter().filter_map(|attempt| attempt.cause))?;
        let mut output = db.prepare("INSERT OR REPLACE INTO output (task_id, number, frames) VALUES (?1, ?2, ?3)")?;
        for (task_id, number, frames) in &self.outputs {
            output.execute(params![task_id, number, frames])?;
        }
        Ok(())
    }

    fn write_tasks(&self, db: &Db) -> Result<(), QueueError> {
        let mut update = db.prepare(
            "UPDATE task SET state = ?2, ready_at = ?3, claim = ?4, cancel_requested = ?5, attempts = ?6,
                 retry_count = ?7, interruptions = ?8, forgiven = ?9, first_started_at = ?10, started_at = ?11,
                 finished_at = ?12, run_ms = ?13, reason = ?14, kept_since = ?15, paused = ?16
             WHERE id = ?1",
        )?;
        for task in &self.tasks {
            update.execute(params![
                task.id,
                task.state.code(),
                task.ready_at,
                task.claim,
                task.standing.cancel_requested,
                task.attempts,
                task.standing.retry_count,
                task.standing.interruptions,
                task.standing.forgiven,
                task.first_started_at,
                task.started_at,
                task.finished_at,
                task.run_ms,
                task.reason,
                task.kept_since,
                task.paused,
            ])?;
        }
        Ok(())
    }

    fn write_attempts(&self, db: &Db) -> Result<(), QueueError> {
        let mut insert = db.prepare(
            "INSERT INTO attempt (task_id, number, started_at, finished_at, outcome, cause, error, exit_code, signal,
                 cpu_us, max_rss, result, process, spilled, dropped)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?;
        for attempt in &self.attempts {
            insert.execute(params![
                attempt.task_id,
                attempt.number,
                attempt.started_at,
                attempt.finished_at,
                attempt.outcome.code(),
                attempt.cause.map(Cause::code),
                attempt.error,
                attempt.exit_code,
                attempt.signal,
                attempt.cpu_us,
                attempt.max_rss,
                attempt.result,
                attempt.process,
                attempt.spilled,
                attempt.dropped,
            ])?;
        }
        Ok(())
    }
}
