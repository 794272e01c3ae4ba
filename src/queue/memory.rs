//! What the writer keeps in memory: small, whatever the queue holds.
//!
//! A group of operations works on a copy; the copy becomes the truth when the group is committed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::db::Db;
use super::error::QueueError;
use super::events::Numbers;
use super::finished::Finished;
use super::open_task::Claimed;
use super::ops::control::next_due;
use super::ops::insert::Recent;
use super::outside::{Causes, Kills};
use super::state::{State, Tally};
use crate::attempt::Environment;
use crate::task::{BatchId, ClaimId, Hold, Priority, RunState, TaskId};

/// How many attempts wait in the keeper beyond the free slots at least, so that a slot that becomes free never waits for a commit;
const AHEAD: i64 = 64;
/// and at most.
const AHEAD_AT_MOST: i64 = 1024;

/// The executor's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub state: RunState,
    pub reason: Option<String>,
    pub max_concurrent: u32,
    pub keep: bool,
    /// Queue time.
    pub deadline: Option<i64>,
    pub max_failures: Option<u32>,
    /// Tasks that have failed since it was started.
    pub failures: u32,
    pub next_claim: ClaimId,
    /// The cap while tasks are being killed from outside.
    pub lowered_to: Option<u32>,
    /// When it is raised again, queue time.
    pub raise_at: Option<i64>,
    /// Nothing starts; and what became of what ran then.
    pub paused: Option<Hold>,
}

/// A task that is claimed and has not started. Ordered as it will start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ahead {
    pub priority: Reverse<Priority>,
    pub task_id: TaskId,
}

/// The writer's memory.
#[derive(Debug, Clone)]
pub struct Memory {
    pub run: Run,
    pub tally: Tally,
    pub next_task: TaskId,
    pub next_batch: BatchId,
    /// Some of the stored contexts, by hash.
    pub contexts: BTreeMap<[u8; 32], i64>,
    /// The latest batches that came without a key of their client's.
    pub(super) recent: VecDeque<Recent>,
    pub ahead: BTreeSet<Ahead>,
    /// The earliest `ready_at` of a waiting task, or earlier; queue time.
    pub next_due: Option<i64>,
    /// Tasks that became ready since the last claim and come before one that is claimed ahead.
    pub overtaking: i64,
    /// How many attempts end while a commit and the keeper's gathering take their time: the most of the latest groups.
    pub pace: i64,
    /// For each function with a cap of its own: the cap, and how many of its tasks are claimed or running.
    pub capped: BTreeMap<String, FunctionCap>,
    /// Queued tasks that may have taken the machine down.
    pub suspects: BTreeSet<TaskId>,
    pub(super) kills: Kills,
    pub causes: Causes,
    /// Operations that this daemon carried out; the one at work is the last of them.
    pub operations: u64,
    /// Tasks that have left the queue since this daemon began.
    pub removed: u64,
    pub finished: Finished,
    pub events: Numbers,
}

/// Rows as they are stored, or will be, so that they need not be read. Unlike [`Memory`] it is no truth: it may lack anything,
/// and all of it is forgotten after a rollback.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// Claimed tasks.
    pub claimed: Claimed,
    /// How many tasks are open in some of the batches.
    pub open: BTreeMap<BatchId, i64>,
    /// What attempts were claimed with lately, by the context's id.
    pub contexts: Contexts,
}

/// Working directories and environments by the context's id.
pub(super) type Contexts = BTreeMap<i64, (String, Arc<Environment>)>;

/// A function's own cap and its use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionCap {
    pub cap: u32,
    pub open: u32,
}

impl Memory {
    pub(super) fn load(db: &Db, caps: &BTreeMap<String, u32>, kept_events: i64) -> Result<Self, QueueError> {
        let mut memory = Self {
            run: load_run(db)?,
            tally: load_tally(db)?,
            next_task: next_id(db, "task")?,
            next_batch: next_id(db, "batch")?,
            contexts: BTreeMap::new(),
            recent: Recent::load(db)?,
            ahead: BTreeSet::new(),
            next_due: next_due(db)?,
            overtaking: 0,
            pace: 0,
            capped: caps.iter().map(|(name, cap)| (name.clone(), FunctionCap { cap: *cap, open: 0 })).collect(),
            suspects: db.all("SELECT task_id FROM suspect", [], |row| row.get(0))?.into_iter().collect(),
            kills: Kills::default(),
            causes: Causes::load(db)?,
            operations: 0,
            removed: 0,
            finished: Finished::default(),
            events: Numbers::load(db, kept_events)?,
        };
        let claimed: Vec<(TaskId, i64, i64, String)> =
            db.all("SELECT id, priority, state, function FROM task WHERE claim IS NOT NULL", [], |row| row.try_into())?;
        for (task_id, priority, state, function) in claimed {
            memory.opened(&function);
            if state == State::Ready.code() {
                memory.ahead.insert(Ahead { priority: Reverse(priority_of(priority)?), task_id });
            }
        }
        Ok(memory)
    }

    /// How many tasks of each priority, best first, the claim is to take now.
    pub fn wanted(&self) -> i64 {
        let running = self.tally.in_state(State::Running);
        // With a limit on failures nothing may start before the last end is known.
        let beyond = if self.run.max_failures.is_some() || self.is_careful() { 0 } else { self.ahead_of_need() };
        let mut room = (i64::from(self.run.cap()) - running).max(0) + beyond;
        let mut wanted = 0;
        // In the order of the priorities, the highest first.
        let mut ahead = self.ahead.iter().peekable();
        for priority in Priority::ALL.iter().rev() {
            let ready = self.tally.tasks(State::Ready, *priority);
            let mut claimed = 0;
            while ahead.next_if(|a| a.priority.0 == *priority).is_some() {
                claimed += 1;
            }
            let best = ready.min(room);
            wanted += (best - claimed).max(0);
            room -= best;
        }
        if self.ahead.is_empty() || beyond == 0 { wanted } else { wanted.max(self.overtaking) }
    }

    /// As many as end while the next are on their way, twice: where tasks are short, what waits would run out otherwise.
    fn ahead_of_need(&self) -> i64 {
        (2 * self.pace).clamp(AHEAD, AHEAD_AT_MOST)
    }

    /// Notes that a task has become ready: it may come before what is claimed ahead.
    pub fn became_ready(&mut self, priority: Priority, task_id: TaskId) {
        let it = Ahead { priority: Reverse(priority), task_id };
        if self.ahead.last().is_some_and(|worst| it < *worst) {
            self.overtaking += 1;
        }
    }

    /// Counts a claimed task of a function with a cap of its own.
    pub fn opened(&mut self, function: &str) {
        if let Some(capped) = self.capped.get_mut(function) {
            capped.open += 1;
        }
    }

    /// The reverse of [`Self::opened`].
    pub fn closed(&mut self, function: &str) {
        if let Some(capped) = self.capped.get_mut(function) {
            capped.open = capped.open.saturating_sub(1);
        }
    }

    /// Notes a task that waits until `ready_at`.
    pub fn waits_until(&mut self, ready_at: i64) {
        self.next_due = Some(self.next_due.map_or(ready_at, |due| due.min(ready_at)));
    }
}

/// The priority of a stored code.
pub(super) fn priority_of(code: i64) -> Result<Priority, QueueError> {
    Priority::from_code(code).ok_or_else(|| QueueError::Value(format!("priority {code}")))
}

/// What a stored code says of what ran at a pause.
fn hold_of(code: i64) -> Result<Hold, QueueError> {
    Hold::from_code(code).ok_or_else(|| QueueError::Value(format!("hold {code}")))
}

/// The state of a stored code.
pub(super) fn state_of(code: i64) -> Result<State, QueueError> {
    State::from_code(code).ok_or_else(|| QueueError::Value(format!("state {code}")))
}

/// The id that the next row of a table gets.
fn next_id(db: &Db, table: &str) -> Result<i64, QueueError> {
    let last: Option<i64> = db.first("SELECT seq FROM sqlite_sequence WHERE name = ?1", [table], |row| row.get(0))?;
    Ok(1 + last.unwrap_or(0))
}

fn load_tally(db: &Db) -> Result<Tally, QueueError> {
    let cells: Vec<(i64, i64, i64, i64)> =
        db.all("SELECT state, priority, tasks, run_ms FROM tally", [], |row| row.try_into())?;
    let mut tally = Tally::default();
    for (state, priority, tasks, run_ms) in cells {
        tally.add(state_of(state)?, priority_of(priority)?, tasks, run_ms);
    }
    Ok(tally)
}

fn load_run(db: &Db) -> Result<Run, QueueError> {
    let mut statement = db.prepare(
        "SELECT state, reason, max_concurrent, keep, deadline, max_failures, failures, next_claim, lowered_to,
             raise_at, paused
         FROM executor WHERE id = 1",
    )?;
    let mut rows = statement.query([])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let state = row.get(0)?;
    Ok(Run {
        state: RunState::from_code(state).ok_or_else(|| QueueError::Value(format!("run state {state}")))?,
        reason: row.get(1)?,
        max_concurrent: row.get(2)?,
        keep: row.get(3)?,
        deadline: row.get(4)?,
        max_failures: row.get(5)?,
        failures: row.get(6)?,
        next_claim: row.get(7)?,
        lowered_to: row.get(8)?,
        raise_at: row.get(9)?,
        paused: row.get::<_, Option<i64>>(10)?.map(hold_of).transpose()?,
    })
}
