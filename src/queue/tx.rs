//! The open transaction of a group: the connection, the working copy of the memory, the tallies' changes.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::params;

use super::clock::QueueClock;
use super::db::Db;
use super::error::QueueError;
use super::events::{self, Stored};
use super::memory::{Memory, Remembered};
use super::state::{State, Tally};
use crate::attempt::Attempt;
use crate::space::Shortage;
use crate::task::{BatchId, Hold, Priority};
use crate::time;

/// What an operation works on. Changes of state go through [`Tx::moved`], or the tallies would lie.
pub struct Tx<'c> {
    /// For what only reads: nobody else writes, so the transaction need not have begun.
    pub(super) db: &'c Db,
    /// The database's transaction has begun.
    begun: bool,
    pub memory: Memory,
    pub(super) remembered: &'c mut Remembered,
    pub clock: &'c QueueClock,
    /// Wall clock at the beginning, ms.
    pub wall_ms: i64,
    /// Queue time at the beginning, ms.
    pub now: i64,
    /// Tasks claimed in this group.
    pub claimed: Vec<Attempt>,
    /// The claim took as many as one may, and there are more.
    pub claims_on: bool,
    /// Attempts that have ended in this group.
    pub ends: u32,
    /// Request keys from before this are forgotten, queue time.
    pub(super) expired_keys: Option<i64>,
    /// Output files to unlink after the commit.
    pub unlink: Vec<String>,
    /// The file has become shorter: the log is to be moved into it after the commit.
    pub shrunk: bool,
    /// Batches that may have no task any more.
    pub emptied: BTreeSet<BatchId>,
    /// Less is free on the disk than must stay free.
    pub shortage: Option<Shortage>,
    /// What it has to tell.
    pub(super) told: Vec<Stored>,
    /// Batches from here on are made in this group.
    pub(super) first_new_batch: BatchId,
    pub(super) before: Tally,
    pub(super) run_before: super::memory::Run,
    pub(super) batches: BTreeMap<BatchId, BatchChange>,
}

/// How a batch's tally changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct BatchChange {
    pub queued: i64,
    pub running: i64,
    pub completed: i64,
    pub failed: i64,
    pub cancelled: i64,
    run_ms: i64,
    /// So many of the queued are written with its own row.
    pub with_its_row: i64,
    /// A task of it has ended.
    pub ended: bool,
    /// It expects no further part.
    pub closed: bool,
}

impl BatchChange {
    /// What its row lacks: queued, running, completed, failed, cancelled, run time.
    pub(super) const fn unwritten(&self) -> [i64; 6] {
        [self.queued - self.with_its_row, self.running, self.completed, self.failed, self.cancelled, self.run_ms]
    }
}

impl<'c> Tx<'c> {
    pub(super) fn new(
        db: &'c Db,
        memory: Memory,
        remembered: &'c mut Remembered,
        clock: &'c QueueClock,
        shortage: Option<Shortage>,
    ) -> Self {
        Self {
            db,
            begun: false,
            remembered,
            clock,
            wall_ms: time::wall_ms(),
            now: clock.now(),
            claimed: Vec::new(),
            claims_on: false,
            ends: 0,
            expired_keys: None,
            unlink: Vec::new(),
            shrunk: false,
            emptied: BTreeSet::new(),
            shortage,
            told: Vec::new(),
            first_new_batch: memory.next_batch,
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
        if to.status().is_ended() {
            self.batches.entry(batch).or_default().ended = true;
        }
    }

    /// Notes that a batch expects no further part: it may be over by that.
    pub(super) fn closed(&mut self, batch: BatchId) {
        self.batches.entry(batch).or_default().closed = true;
        self.emptied.insert(batch);
    }

    /// Adds an event to what this group tells.
    pub(super) fn tell(&mut self, event: Stored) {
        self.told.push(event);
    }

    /// The connection, within the transaction.
    ///
    /// # Errors
    /// When it cannot begin.
    pub(super) fn begun(&mut self) -> Result<&'c Db, QueueError> {
        if !self.begun {
            self.db.run("BEGIN IMMEDIATE", [])?;
            self.begun = true;
        }
        Ok(self.db)
    }

    /// Writes what changed of the tallies, the batches and the executor's row, what is told, and commits.
    pub(super) fn commit(&mut self) -> Result<(), QueueError> {
        self.forget_keys()?;
        self.write_tallies()?;
        self.write_batches()?;
        self.write_run()?;
        events::write(self)?;
        if self.begun {
            self.db.run("COMMIT", [])?;
        }
        Ok(())
    }

    /// A few at a time, so that no group pays for all; as many as come are gone in the end.
    fn forget_keys(&mut self) -> Result<(), QueueError> {
        let Some(expired) = self.expired_keys else { return Ok(()) };
        self.begun()?.run(
            "DELETE FROM request_key WHERE key IN (SELECT key FROM request_key WHERE created_at <= ?1 LIMIT 256)",
            [expired],
        )?;
        Ok(())
    }

    fn write_tallies(&mut self) -> Result<(), QueueError> {
        let changes = self.memory.tally.since(&self.before);
        for (state, priority, tasks, run_ms) in
            changes.cells().filter(|(.., tasks, run_ms)| *tasks != 0 || *run_ms != 0)
        {
            self.begun()?.run(
                "UPDATE tally SET tasks = tasks + ?3, run_ms = run_ms + ?4 WHERE state = ?1 AND priority = ?2",
                [state, priority, tasks, run_ms],
            )?;
        }
        Ok(())
    }

    fn write_batches(&mut self) -> Result<(), QueueError> {
        for (id, change) in std::mem::take(&mut self.batches) {
            let unwritten = change.unwritten();
            if unwritten != [0; 6] {
                let [queued, running, completed, failed, cancelled, run_ms] = unwritten;
                self.begun()?.run(
                    "UPDATE batch SET queued = queued + ?2, running = running + ?3, completed = completed + ?4,
                         failed = failed + ?5, cancelled = cancelled + ?6, run_ms = run_ms + ?7
                     WHERE id = ?1",
                    [id, queued, running, completed, failed, cancelled, run_ms],
                )?;
            }
        }
        for id in std::mem::take(&mut self.emptied) {
            self.begun()?.run(
                "DELETE FROM batch WHERE id = ?1 AND expecting + queued + running + completed + failed + cancelled = 0",
                [id],
            )?;
        }
        Ok(())
    }

    fn write_run(&mut self) -> Result<(), QueueError> {
        if self.memory.run == self.run_before {
            return Ok(());
        }
        let db = self.begun()?;
        let run = &self.memory.run;
        db.run(
            "UPDATE executor SET state = ?1, reason = ?2, max_concurrent = ?3, keep = ?4, deadline = ?5,
                 max_failures = ?6, failures = ?7, next_claim = ?8, lowered_to = ?9, raise_at = ?10, paused = ?11
             WHERE id = 1",
            params![
                run.state.code(),
                run.reason,
                run.max_concurrent,
                run.keep,
                run.deadline,
                run.max_failures,
                run.failures,
                run.next_claim,
                run.lowered_to,
                run.raise_at,
                run.paused.map(Hold::code),
            ],
        )?;
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
