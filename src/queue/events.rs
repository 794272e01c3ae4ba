//! What has happened, as it is stored: numbered without a hole, in the transaction of what it tells.
//!
//! The events of a commit are one row. Of tasks and attempts only the ids are stored; what else is told of them is in
//! rows of their own, and is joined when the events are read (`read/events.rs`).

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::db::Db;
use super::error::QueueError;
use super::operation::Operation;
use super::tx::{BatchChange, Tx, json};
use crate::protocol::Counts;
use crate::task::{BatchId, RunState, TaskId};

/// Old events are let go of so many at a time.
const TRIM: i64 = 256;
/// The most ids of tasks in one event.
const LISTED: usize = 100;
/// How many batches are remembered with what is open in them.
const BATCHES: usize = 64;

/// An event as it is stored. Those that each task has are written short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stored {
    /// An attempt, by task and number.
    #[serde(rename = "s")]
    Started(TaskId, u32),
    /// An attempt that is over; with the code of the task's state after it.
    #[serde(rename = "e")]
    Ended(TaskId, u32, i64),
    /// A start was told of and did not happen.
    NotStarted(TaskId, u32),
    Added {
        batch_id: BatchId,
        first: TaskId,
        last: TaskId,
    },
    /// Queued tasks.
    Cancelled(Tasks),
    Requeued(Tasks),
    Updated(Tasks),
    Paused(What),
    Resumed(What),
    Cleared(u64),
    Executor {
        state: RunState,
        reason: Option<String>,
        max_concurrent: u32,
    },
    BatchEnded {
        batch_id: BatchId,
        name: Option<String>,
        counts: Counts,
    },
    /// Nothing is queued or running any more.
    Idle,
    Gate {
        gate: String,
        open: bool,
        found: String,
    },
    DaemonStarted {
        version: String,
        after: LastEnd,
    },
}

/// Several tasks: how many, and the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tasks {
    pub tasks: u64,
    pub ids: Vec<TaskId>,
}

impl Tasks {
    /// The number of these, and the first of them; none where there is none.
    pub fn of(ids: &[TaskId]) -> Option<Self> {
        (!ids.is_empty()).then(|| Self { tasks: ids.len() as u64, ids: ids.iter().copied().take(LISTED).collect() })
    }
}

/// What is paused, or goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Executor,
    Batch(BatchId),
    Tasks(Tasks),
}

/// How the daemon before this one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastEnd {
    /// There was none: the queue is new.
    None,
    /// In order.
    Stop,
    /// It was replaced, in the same process.
    Restart,
    /// It was killed, or ended by a defect.
    Crash,
    /// The machine went down under it.
    Reboot,
}

/// The numbers of events.
#[derive(Debug, Clone, Copy)]
pub struct Numbers {
    /// Of the next one.
    pub next: i64,
    /// How many are kept.
    pub kept: i64,
}

impl Numbers {
    pub(super) fn load(db: &Db, kept: i64) -> Result<Self, QueueError> {
        let last: Option<i64> =
            db.one("SELECT max(last) FROM event WHERE first = (SELECT max(first) FROM event)", [], |row| row.get(0))?;
        Ok(Self { next: last.unwrap_or(0) + 1, kept })
    }
}

/// Tells of something that no change to the queue does.
#[derive(Debug)]
pub struct Tell(pub Stored);

impl Operation for Tell {
    type Answer = ();
    const TOUCHES_CLAIMED: bool = false;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        tx.tell(self.0.clone());
        Ok(())
    }
}

/// Tells what a group as a whole has come to.
pub(super) fn conclude(tx: &mut Tx<'_>) -> Result<(), QueueError> {
    ended_batches(tx)?;
    let (run, before) = (&tx.memory.run, &tx.run_before);
    let (paused, was_paused) = (run.paused.is_some(), before.paused.is_some());
    let is_changed =
        (run.state, &run.reason, run.max_concurrent) != (before.state, &before.reason, before.max_concurrent);
    let executor =
        Stored::Executor { state: run.state, reason: run.reason.clone(), max_concurrent: run.max_concurrent };
    if paused != was_paused {
        tx.tell(if paused { Stored::Paused(What::Executor) } else { Stored::Resumed(What::Executor) });
    }
    if is_changed {
        tx.tell(executor);
    }
    let tally = &tx.memory.tally;
    if tally.open() == 0 && tx.batches.values().any(|change| change.ended) {
        tx.tell(Stored::Idle);
    }
    Ok(())
}

/// Tells of the batches of which the last task has ended in this group.
fn ended_batches(tx: &mut Tx<'_>) -> Result<(), QueueError> {
    let mut looked_at = Vec::new();
    let has_room = tx.remembered.open.len() < BATCHES;
    for (id, change) in &tx.batches {
        // How many were added or retried in this group says nothing of whether the last has ended in it.
        let (change, ended) = (change.queued + change.running, change.ended || change.closed);
        match tx.remembered.open.get_mut(id) {
            Some(open) => {
                *open += change;
                if *open <= 0 && ended {
                    looked_at.push(*id);
                }
            }
            None if ended => looked_at.push(*id),
            // The oldest run first.
            None if *id >= tx.first_new_batch && change > 0 && has_room => {
                tx.remembered.open.insert(*id, change);
            }
            None => {}
        }
    }
    if looked_at.is_empty() {
        return Ok(());
    }
    // Most of what changes in this group is written at its end.
    let mut stored = tx
        .db
        .prepare("SELECT name, expecting, queued, running, completed, failed, cancelled FROM batch WHERE id = ?1")?;
    for batch_id in looked_at {
        let change = tx.batches.get(&batch_id).map_or([0; 6], BatchChange::unwritten);
        let batch = stored.query_row([batch_id], |row| {
            let count = |place: usize| row.get::<_, i64>(place + 2).map(|stored| stored + change[place]);
            let counts = Counts::of(count(0)?, count(1)?, count(2)?, count(3)?, count(4)?);
            Ok((row.get(0)?, row.get(1)?, counts))
        });
        let Some((name, expecting, counts)): Option<(Option<String>, bool, Counts)> = batch.optional()? else {
            continue;
        };
        if !counts.is_over() {
            if tx.remembered.open.len() >= BATCHES {
                tx.remembered.open.pop_last();
            }
            tx.remembered.open.insert(batch_id, counts.queued + counts.running);
            continue;
        }
        tx.remembered.open.remove(&batch_id);
        if !expecting && counts.total > 0 {
            tx.tell(Stored::BatchEnded { batch_id, name, counts });
        }
    }
    Ok(())
}

/// Writes what was told, as one row, and lets go of what is old for it.
pub(super) fn write(tx: &mut Tx<'_>) -> Result<(), QueueError> {
    let told = std::mem::take(&mut tx.told);
    if told.is_empty() {
        return Ok(());
    }
    let db = tx.begun()?;
    let numbers = &mut tx.memory.events;
    let first = numbers.next;
    numbers.next += i64::try_from(told.len()).unwrap_or(0);
    let last = numbers.next - 1;
    db.run(
        "INSERT INTO event (first, last, at, events) VALUES (?1, ?2, ?3, ?4)",
        params![first, last, tx.wall_ms, json(&told)?],
    )?;
    if first / TRIM != numbers.next / TRIM {
        // Bounded, so that no group pays for all that a lower `keep_events` lets go.
        db.run(
            "DELETE FROM event WHERE first IN
                 (SELECT first FROM event
                  WHERE first < (SELECT max(first) FROM event WHERE first <= ?1)
                  ORDER BY first LIMIT 1024)",
            [last - numbers.kept],
        )?;
    }
    Ok(())
}
