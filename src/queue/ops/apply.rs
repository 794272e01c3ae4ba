//! Starts and ends from the backend, in their order; each accepted once, by claim.
//!
//! The guard of an end is that its claim is the task's open one, so an end may come before its start
//! was written, and a duplicate or stale one changes nothing.

use super::super::error::QueueError;
use super::super::open_task::{OpenTask, open_tasks};
use super::super::operation::Operation;
use super::super::outside;
use super::super::rows::{self, Rows};
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

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        let claims: Vec<ClaimId> = self.events.iter().map(Event::claim).collect();
        let mut open = open_tasks(tx, &claims).await?;
        let burst = outside::burst(tx, &self.events, |claim| open.contains_key(&claim)).await?;
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
        writes.write(tx).await
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
    pub(in crate::queue) async fn write(self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        if !self.tasks.is_empty() || !self.attempts.is_empty() {
            self.write_rows(tx).await?;
        }
        self.attempts.iter().for_each(|attempt| tx.memory.finished.count(attempt.outcome));
        outside::count(tx, self.attempts.iter().filter_map(|attempt| attempt.cause)).await?;
        let mut outputs = Rows::new(
            "INSERT OR REPLACE INTO output (task_id, number, frames)
             SELECT * FROM (VALUES (?, ?, ?)) AS j WHERE column1 IS NOT NULL",
        );
        for (task_id, number, frames) in self.outputs {
            outputs.push([task_id.into(), number.into(), frames.into()]);
        }
        rows::write(tx, [outputs], "").await
    }

    async fn write_rows(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        let mut tasks = Rows::new(
            "UPDATE task SET state = j.column2, ready_at = j.column3, claim = j.column4, cancel_requested = j.column5,
                 attempts = j.column6, retry_count = j.column7, interruptions = j.column8, forgiven = j.column9,
                 first_started_at = j.column10, started_at = j.column11, finished_at = j.column12, run_ms = j.column13,
                 reason = j.column14, kept_since = j.column15, paused = j.column16
             FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) AS j WHERE task.id = j.column1",
        );
        for task in &self.tasks {
            tasks.push([
                task.id.into(),
                task.state.code().into(),
                task.ready_at.into(),
                task.claim.into(),
                task.standing.cancel_requested.into(),
                task.attempts.into(),
                task.standing.retry_count.into(),
                task.standing.interruptions.into(),
                task.standing.forgiven.into(),
                task.first_started_at.into(),
                task.started_at.into(),
                task.finished_at.into(),
                task.run_ms.into(),
                task.reason.as_deref().into(),
                task.kept_since.into(),
                task.paused.into(),
            ]);
        }
        let mut attempts = Rows::new(
            "INSERT INTO attempt (task_id, number, started_at, finished_at, outcome, cause, error, exit_code, signal,
                 cpu_us, max_rss, result, process, spilled, dropped)
             SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) AS j WHERE column1 IS NOT NULL",
        );
        for attempt in &self.attempts {
            attempts.push([
                attempt.task_id.into(),
                attempt.number.into(),
                attempt.started_at.into(),
                attempt.finished_at.into(),
                attempt.outcome.code().into(),
                attempt.cause.map(Cause::code).into(),
                attempt.error.as_deref().into(),
                attempt.exit_code.into(),
                attempt.signal.into(),
                attempt.cpu_us.into(),
                attempt.max_rss.into(),
                attempt.result.as_deref().into(),
                attempt.process.into(),
                attempt.spilled.into(),
                attempt.dropped.into(),
            ]);
        }
        rows::write(tx, [tasks, attempts], "").await
    }
}
