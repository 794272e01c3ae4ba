//! The open transaction of a group: the connection, the working copy of the memory, the tallies' changes.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteConnection;

use super::added::Added;
use super::clock::QueueClock;
use super::error::QueueError;
use super::memory::Memory;
use super::open_task::Claimed;
use super::state::{State, Tally};
use crate::attempt::Attempt;
use crate::space::Shortage;
use crate::task::{BatchId, Priority};
use crate::time;

/// What an operation works on. Changes of state go through [`Tx::moved`], or the tallies would lie.
pub struct Tx<'c> {
    pub connection: &'c mut SqliteConnection,
    pub memory: Memory,
    /// Claimed tasks as they are stored, or will be; not all.
    pub(super) known: &'c mut Claimed,
    pub clock: &'c QueueClock,
    /// Wall clock at the beginning, ms.
    pub wall_ms: i64,
    /// Queue time at the beginning, ms.
    pub now: i64,
    /// Tasks claimed in this group.
    pub claimed: Vec<Attempt>,
    /// Attempts that have ended in this group.
    pub ends: u32,
    /// What the additions of this group write.
    pub(super) added: Added,
    /// Output files to unlink after the commit.
    pub unlink: Vec<String>,
    /// The file has become shorter: the log is to be moved into it after the commit.
    pub shrunk: bool,
    /// Batches that may have no task any more.
    pub emptied: BTreeSet<BatchId>,
    /// Less is free on the disk than must stay free.
    pub shortage: Option<Shortage>,
    before: Tally,
    run_before: super::memory::Run,
    batches: BTreeMap<BatchId, BatchChange>,
}

/// How a batch's tally changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct BatchChange {
    queued: i64,
    running: i64,
    completed: i64,
    failed: i64,
    cancelled: i64,
    run_ms: i64,
}

impl<'c> Tx<'c> {
    pub(super) fn new(
        connection: &'c mut SqliteConnection,
        memory: Memory,
        known: &'c mut Claimed,
        clock: &'c QueueClock,
        shortage: Option<Shortage>,
    ) -> Self {
        Self {
            connection,
            known,
            clock,
            wall_ms: time::wall_ms(),
            now: clock.now(),
            claimed: Vec::new(),
            ends: 0,
            added: Added::default(),
            unlink: Vec::new(),
            shrunk: false,
            emptied: BTreeSet::new(),
            shortage,
            before: memory.tally,
            run_before: memory.run.clone(),
            memory,
            batches: BTreeMap::new(),
        }
    }

    /// Tallies `tasks` tasks that came to be in `state` (negative: that left it), with their run time together.
    pub fn tallied(&mut self, batch: BatchId, priority: Priority, state: State, tasks: i64, run_ms: i64) {
        self.memory.tally.add(state, priority, tasks, run_ms);
        let change = self.batches.entry(batch).or_default();
        let cell = match state {
            State::Ready | State::Waiting => &mut change.queued,
            State::Running => &mut change.running,
            State::Completed => &mut change.completed,
            State::Failed => &mut change.failed,
            State::Cancelled => &mut change.cancelled,
        };
        *cell += tasks;
        if matches!(state, State::Completed | State::Failed) {
            change.run_ms += run_ms;
        }
    }

    /// Tallies one task's change of state. `run_ms` belongs to the ended state of the two.
    pub fn moved(&mut self, batch: BatchId, priority: Priority, from: State, to: State, run_ms: i64) {
        let of = |state: State| if state.status().is_ended() { run_ms } else { 0 };
        self.tallied(batch, priority, from, -1, -of(from));
        self.tallied(batch, priority, to, 1, of(to));
    }

    /// Writes what changed of the tallies and the executor's row: several statements, and one way to SQLite's thread.
    pub(super) async fn flush(&mut self) -> Result<(), QueueError> {
        let cells: Vec<_> = self.memory.tally.since(&self.before).cells().filter(|c| c.2 != 0 || c.3 != 0).collect();
        let batches: Vec<_> = self
            .batches
            .iter()
            .filter(|(_, change)| **change != BatchChange::default())
            .map(|(id, c)| (id, c.queued, c.running, c.completed, c.failed, c.cancelled, c.run_ms))
            .collect();
        if cells.is_empty() && batches.is_empty() && self.emptied.is_empty() && self.memory.run == self.run_before {
            return Ok(());
        }
        let run = &self.memory.run;
        sqlx::query(
            "UPDATE tally SET tasks = tasks + (j.value ->> 2), run_ms = run_ms + (j.value ->> 3)
             FROM json_each(?1) AS j WHERE state = (j.value ->> 0) AND priority = (j.value ->> 1);
             UPDATE batch SET queued = queued + (j.value ->> 1), running = running + (j.value ->> 2),
                 completed = completed + (j.value ->> 3), failed = failed + (j.value ->> 4),
                 cancelled = cancelled + (j.value ->> 5), run_ms = run_ms + (j.value ->> 6)
             FROM json_each(?2) AS j WHERE batch.id = (j.value ->> 0);
             DELETE FROM batch WHERE id IN (SELECT value FROM json_each(?3))
                 AND expecting + queued + running + completed + failed + cancelled = 0;
             UPDATE executor SET state = ?4, reason = ?5, max_concurrent = ?6, keep = ?7, deadline = ?8,
                 max_failures = ?9, failures = ?10, next_claim = ?11,
                 lowered_to = ?12, raise_at = ?13 WHERE id = 1",
        )
        .bind(json(&cells)?)
        .bind(json(&batches)?)
        .bind(json(&self.emptied)?)
        .bind(run.state.code())
        .bind(&run.reason)
        .bind(run.max_concurrent)
        .bind(run.keep)
        .bind(run.deadline)
        .bind(run.max_failures)
        .bind(run.failures)
        .bind(run.next_claim)
        .bind(run.lowered_to)
        .bind(run.raise_at)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }
}

/// A value of a column that holds JSON.
pub(super) fn parsed<'t, T: serde::Deserialize<'t>>(text: &'t str) -> Result<T, QueueError> {
    serde_json::from_str(text).map_err(|e| QueueError::Value(e.to_string()))
}

/// The exit codes of a task after which there is no retry; none are null.
pub(super) fn parsed_codes(text: Option<&str>) -> Result<Vec<i32>, QueueError> {
    text.map_or_else(|| Ok(Vec::new()), parsed)
}

/// Rows as the JSON text that `json_each` takes.
pub(super) fn json<T: serde::Serialize>(rows: &T) -> Result<String, QueueError> {
    serde_json::to_string(rows).map_err(|e| QueueError::Value(e.to_string()))
}
