//! What has happened, as it is stored: numbered without a hole, in the transaction of what it tells.
//!
//! The events of a commit are one row. Of tasks and attempts only the ids are stored; what else is told of them is in
//! rows of their own, and is joined when the events are read (`read/events.rs`).

use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use super::error::QueueError;
use super::operation::Operation;
use super::rows::Rows;
use super::tx::{Tx, json};
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
    pub(super) async fn load(connection: &mut SqliteConnection, kept: i64) -> Result<Self, QueueError> {
        let last: Option<i64> =
            sqlx::query_scalar("SELECT max(last) FROM event WHERE first = (SELECT max(first) FROM event)")
                .fetch_one(connection)
                .await?;
        Ok(Self { next: last.unwrap_or(0) + 1, kept })
    }
}

/// Tells of something that no change to the queue does.
#[derive(Debug)]
pub struct Tell(pub Stored);

impl Operation for Tell {
    type Answer = ();
    const TOUCHES_CLAIMED: bool = false;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        tx.tell(self.0.clone());
        Ok(())
    }
}

/// Tells what a group as a whole has come to.
pub(super) async fn conclude(tx: &mut Tx<'_>) -> Result<(), QueueError> {
    ended_batches(tx).await?;
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

#[derive(sqlx::FromRow)]
struct Batch {
    id: BatchId,
    name: Option<String>,
    expecting: bool,
    queued: i64,
    running: i64,
    completed: i64,
    failed: i64,
    cancelled: i64,
}

/// Tells of the batches of which the last task has ended in this group.
async fn ended_batches(tx: &mut Tx<'_>) -> Result<(), QueueError> {
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
    // Without what changes in this group: that is written at its end.
    let found: Vec<Batch> = sqlx::query_as(
        "SELECT id, name, expecting, queued, running, completed, failed, cancelled FROM batch
         WHERE id IN (SELECT value FROM json_each(?1))",
    )
    .bind(json(&looked_at)?)
    .fetch_all(tx.reading())
    .await?;
    for batch in found {
        let change = tx.batches.get(&batch.id).copied().unwrap_or_default();
        let counts = Counts::of(
            batch.queued + change.queued,
            batch.running + change.running,
            batch.completed + change.completed,
            batch.failed + change.failed,
            batch.cancelled + change.cancelled,
        );
        if !counts.is_over() {
            if tx.remembered.open.len() >= BATCHES {
                tx.remembered.open.pop_last();
            }
            tx.remembered.open.insert(batch.id, counts.queued + counts.running);
            continue;
        }
        tx.remembered.open.remove(&batch.id);
        if !batch.expecting && counts.total > 0 {
            tx.tell(Stored::BatchEnded { batch_id: batch.id, name: batch.name, counts });
        }
    }
    Ok(())
}

/// The row of what was told, and what is let go for it.
pub(super) fn rows(told: &[Stored], numbers: &mut Numbers, at: i64) -> Result<[Rows; 2], QueueError> {
    let mut new = Rows::new(
        "INSERT INTO event (first, last, at, events) SELECT * FROM (VALUES (?, ?, ?, ?)) AS j WHERE column1 IS NOT NULL",
    );
    // Bounded, so that no group pays for all that a lower `keep_events` lets go.
    let mut old = Rows::new(
        "DELETE FROM event WHERE first IN
             (SELECT first FROM event
              WHERE first < (SELECT max(first) FROM event WHERE first <= (SELECT column1 FROM (VALUES (?)) AS j))
              ORDER BY first LIMIT 1024)",
    );
    if told.is_empty() {
        return Ok([new, old]);
    }
    let first = numbers.next;
    numbers.next += i64::try_from(told.len()).unwrap_or(0);
    let last = numbers.next - 1;
    new.push([first.into(), last.into(), at.into(), json(&told)?.into()]);
    if first / TRIM != numbers.next / TRIM {
        old.push([(last - numbers.kept).into()]);
    }
    Ok([new, old])
}
