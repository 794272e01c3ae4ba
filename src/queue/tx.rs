//! The open transaction of a group: the connection, the working copy of the memory, the tallies' changes.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::added::Added;
use super::clock::QueueClock;
use super::error::QueueError;
use super::events::{self, Stored};
use super::memory::{Memory, Remembered};
use super::rows::{self, Cell, Rows};
use super::state::{State, Tally};
use crate::attempt::Attempt;
use crate::space::Shortage;
use crate::task::{BatchId, Hold, Priority};
use crate::time;

/// What an operation works on. Changes of state go through [`Tx::moved`], or the tallies would lie.
pub struct Tx<'c> {
    connection: &'c mut SqliteConnection,
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
    /// A request key is taken for a new one and not looked up: where it was seen before, the commit fails, and the
    /// operation is carried out again without this.
    pub takes_keys_for_new: bool,
    /// What the additions of this group write.
    pub(super) added: Added,
    /// The number that its commit gets in [`super::writer::Snapshot`].
    pub seq: u64,
    /// Output files to unlink after the commit.
    pub unlink: Vec<String>,
    /// The file has become shorter: the log is to be moved into it after the commit.
    pub shrunk: bool,
    /// Batches that may have no task any more.
    pub emptied: BTreeSet<BatchId>,
    /// Less is free on the disk than must stay free.
    pub shortage: Option<Shortage>,
    /// What it has to tell.
    told: Vec<Stored>,
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
    /// A task of it has ended.
    pub ended: bool,
    /// It expects no further part.
    pub closed: bool,
}

impl<'c> Tx<'c> {
    pub(super) fn new(
        connection: &'c mut SqliteConnection,
        memory: Memory,
        remembered: &'c mut Remembered,
        clock: &'c QueueClock,
        shortage: Option<Shortage>,
        seq: u64,
    ) -> Self {
        Self {
            connection,
            seq,
            begun: false,
            remembered,
            clock,
            wall_ms: time::wall_ms(),
            now: clock.now(),
            claimed: Vec::new(),
            claims_on: false,
            ends: 0,
            takes_keys_for_new: false,
            added: Added::default(),
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

    /// The connection, for what only reads: nobody else writes, so the transaction need not have begun.
    pub fn reading(&mut self) -> &mut SqliteConnection {
        self.connection
    }

    /// The connection, within the transaction.
    ///
    /// # Errors
    /// When it cannot begin.
    pub async fn begun(&mut self) -> Result<&mut SqliteConnection, QueueError> {
        if self.begins() {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut *self.connection).await?;
        }
        Ok(self.connection)
    }

    /// Carries out statements in one way to SQLite's thread, which begins the transaction if nothing has.
    pub(super) async fn carry_out(&mut self, statements: String, values: SqliteArguments) -> Result<(), QueueError> {
        let statements = if self.begins() { format!("BEGIN IMMEDIATE;\n{statements}") } else { statements };
        // Made of literals alone.
        sqlx::query_with(AssertSqlSafe(statements), values).execute(&mut *self.connection).await?;
        Ok(())
    }

    /// Whether what follows is the first of the transaction.
    fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    /// Writes what is left, what changed of the tallies and the executor's row, and commits.
    pub(super) async fn commit(&mut self) -> Result<(), QueueError> {
        // A new batch has it in its own row, and then no update follows.
        let queued = |id| self.batches.get_mut(&id).map_or(0, |change| std::mem::take(&mut change.queued));
        let [batches, tasks, inputs, old, new, known] = std::mem::take(&mut self.added).rows(self.now, queued);
        let (tallies, changed, emptied, run) = (self.tallies(), self.batches(), self.emptied(), self.run());
        let [told, past] = events::rows(&self.told, &mut self.memory.events, self.wall_ms)?;
        let all = [batches, tasks, inputs, old, new, known, tallies, changed, emptied, run, told, past];
        if self.begun || all.iter().any(|rows| !rows.is_empty()) {
            rows::write(self, all, "COMMIT").await?;
        }
        Ok(())
    }

    fn tallies(&self) -> Rows {
        let mut rows = Rows::new(
            "UPDATE tally SET tasks = tasks + j.column3, run_ms = run_ms + j.column4 FROM (VALUES (?, ?, ?, ?)) AS j
             WHERE state = j.column1 AND priority = j.column2",
        );
        for (state, priority, tasks, run_ms) in self.memory.tally.since(&self.before).cells() {
            if tasks != 0 || run_ms != 0 {
                rows.push([state.into(), priority.into(), tasks.into(), run_ms.into()]);
            }
        }
        rows
    }

    fn batches(&self) -> Rows {
        let mut rows = Rows::new(
            "UPDATE batch SET queued = queued + j.column2, running = running + j.column3, completed = completed + j.column4,
                 failed = failed + j.column5, cancelled = cancelled + j.column6, run_ms = run_ms + j.column7
             FROM (VALUES (?, ?, ?, ?, ?, ?, ?)) AS j WHERE batch.id = j.column1",
        );
        for (id, c) in self.batches.iter().filter(|(_, change)| **change != BatchChange::default()) {
            rows.push([*id, c.queued, c.running, c.completed, c.failed, c.cancelled, c.run_ms].map(Cell::from));
        }
        rows
    }

    fn emptied(&self) -> Rows {
        let mut rows = Rows::new(
            "DELETE FROM batch WHERE id IN (SELECT column1 FROM (VALUES (?)) AS j)
                 AND expecting + queued + running + completed + failed + cancelled = 0",
        );
        self.emptied.iter().for_each(|id| rows.push([(*id).into()]));
        rows
    }

    fn run(&self) -> Rows {
        let mut rows = Rows::new(
            "UPDATE executor SET state = j.column1, reason = j.column2, max_concurrent = j.column3, keep = j.column4,
                 deadline = j.column5, max_failures = j.column6, failures = j.column7, next_claim = j.column8,
                 lowered_to = j.column9, raise_at = j.column10, paused = j.column11
             FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) AS j WHERE executor.id = 1",
        );
        let run = &self.memory.run;
        if *run != self.run_before {
            rows.push([
                run.state.code().into(),
                run.reason.as_deref().into(),
                run.max_concurrent.into(),
                run.keep.into(),
                run.deadline.into(),
                run.max_failures.into(),
                run.failures.into(),
                run.next_claim.into(),
                run.lowered_to.into(),
                run.raise_at.into(),
                run.paused.map(Hold::code).into(),
            ]);
        }
        rows
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
