//! Starts and ends from the backend, in their order; each accepted once, by claim.
//!
//! The guard of an end is that its claim is the task's open one, so an end may come before its start
//! was written, and a duplicate or stale one changes nothing.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::super::decide::{self, Standing};
use super::super::error::QueueError;
use super::super::memory::{Ahead, priority_of, state_of};
use super::super::outside;
use super::super::state::State;
use super::super::rows::{self, Rows};
use super::super::tx::{Tx, json, parsed_codes};
use super::super::writer::Operation;
use crate::attempt::{Ended, Event, Verdict};
use crate::task::{BatchId, Cause, ClaimId, Outcome, Priority, RunState, TaskId};

/// Events of the backend. Boxed in an `Arc`, for they may be applied again after a rollback.
#[derive(Debug)]
pub struct Apply {
    pub events: std::sync::Arc<Vec<Event>>,
}

impl Operation for Apply {
    type Answer = ();

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
        writes.tasks.extend(open.into_values().filter(|task| task.changed));
        writes.write(tx).await
    }
}

/// A task with an open claim.
pub(in crate::queue) struct OpenTask {
    pub id: TaskId,
    pub claim: Option<ClaimId>,
    pub batch_id: BatchId,
    pub priority: Priority,
    pub function: String,
    pub state: State,
    pub attempts: u32,
    pub standing: Standing,
    ready_at: Option<i64>,
    first_started_at: Option<i64>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    run_ms: Option<i64>,
    reason: Option<String>,
    /// Queue time; once it has completed.
    kept_since: Option<i64>,
    changed: bool,
}

impl OpenTask {
    /// Its attempt has a slot.
    pub(in crate::queue) fn start(&mut self, tx: &mut Tx<'_>, started_at: i64) {
        if self.state != State::Ready {
            return;
        }
        tx.moved(self.batch_id, self.priority, State::Ready, State::Running, 0);
        tx.memory.ahead.remove(&Ahead { priority: Reverse(self.priority), task_id: self.id });
        self.state = State::Running;
        self.attempts += 1;
        self.first_started_at = self.first_started_at.or(Some(started_at));
        self.started_at = Some(started_at);
        self.finished_at = None;
        self.run_ms = None;
        self.reason = None;
        self.changed = true;
    }

    fn end(&mut self, tx: &mut Tx<'_>, ended: &Ended, in_burst: bool, writes: &mut Writes) -> Result<(), QueueError> {
        self.start(tx, ended.started_at);
        let decision = decide::after_end(&self.standing, ended, in_burst, fastrand::f64().mul_add(2.0, -1.0));
        self.started_at = Some(ended.started_at);
        self.finished_at = Some(ended.finished_at);
        self.run_ms = Some(ended.run_ms);
        let result = match &ended.verdict {
            Verdict::Success { result } | Verdict::Failure { result, .. } => result.as_ref(),
        };
        writes.attempts.push(AttemptRow {
            task_id: self.id,
            number: self.attempts,
            started_at: Some(ended.started_at),
            finished_at: Some(ended.finished_at),
            outcome: decision.outcome,
            cause: decision.cause,
            error: decision.error.clone(),
            exit_code: ended.exit_code,
            signal: ended.signal,
            cpu_us: ended.cpu_us,
            max_rss: ended.max_rss,
            result: result.map(json).transpose()?,
            process: ended.exit_code.is_some() || ended.signal.is_some(),
            spilled: ended.output.spilled,
            dropped: ended.output.dropped,
        });
        if !ended.output.frames.is_empty() {
            writes.outputs.push((self.id, self.attempts, ended.output.frames.clone()));
        }
        tracing::debug!(
            task = self.id,
            attempt = self.attempts,
            batch = self.batch_id,
            outcome = %decision.outcome,
            error = decision.error,
            "an attempt ended"
        );
        tx.ends += 1;
        self.settle(tx, decision);
        Ok(())
    }

    /// When the open attempt started; none if no start was written.
    pub(in crate::queue) fn started_at_of_open(&self) -> Option<i64> {
        self.started_at.filter(|_| self.state == State::Running)
    }

    /// Takes a start back that was written ahead of it and did not happen.
    pub(in crate::queue) fn unstart(&mut self, tx: &mut Tx<'_>) {
        tx.moved(self.batch_id, self.priority, State::Running, State::Ready, 0);
        self.state = State::Ready;
        self.attempts -= 1;
        self.started_at = None;
        self.first_started_at = self.first_started_at.filter(|_| self.attempts > 0);
        self.changed = true;
    }

    /// Gives a claim that has not started back; no attempt was made.
    pub(in crate::queue) fn release(&mut self, tx: &mut Tx<'_>) {
        tx.memory.ahead.remove(&Ahead { priority: Reverse(self.priority), task_id: self.id });
        tx.memory.closed(&self.function);
        tx.memory.became_ready(self.priority, self.id);
        self.claim = None;
        self.changed = true;
    }

    /// Takes the state that was decided; the claim is closed.
    pub(in crate::queue) fn settle(&mut self, tx: &mut Tx<'_>, decision: decide::Decision) {
        let run_ms = self.run_ms.unwrap_or(0);
        tx.moved(self.batch_id, self.priority, self.state, decision.state, run_ms);
        tx.memory.ahead.remove(&Ahead { priority: Reverse(self.priority), task_id: self.id });
        tx.memory.closed(&self.function);
        self.state = decision.state;
        self.claim = None;
        self.changed = true;
        self.reason = decision.reason;
        self.standing.retry_count = decision.retry_count;
        self.standing.interruptions = decision.interruptions;
        self.standing.forgiven = decision.forgiven;
        self.standing.cancel_requested = false;
        self.ready_at = None;
        match decision.state {
            State::Waiting => {
                let due = tx.now + decision.delay_ms;
                self.ready_at = Some(due);
                tx.memory.waits_until(due);
            }
            State::Ready => tx.memory.became_ready(self.priority, self.id),
            State::Failed => {
                let run = &mut tx.memory.run;
                run.failures = run.failures.saturating_add(1);
                if run.state == RunState::Running && run.max_failures.is_some_and(|most| run.failures >= most) {
                    run.state = RunState::Stopping;
                    run.reason = Some("max_failures".to_owned());
                }
            }
            State::Completed => self.kept_since = Some(tx.now),
            State::Running | State::Cancelled => {}
        }
        if decision.state.status().is_ended() && self.finished_at.is_none() {
            self.finished_at = Some(tx.wall_ms);
        }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    claim: i64,
    batch_id: i64,
    priority: i64,
    function: String,
    state: i64,
    attempts: u32,
    retry_count: u32,
    max_retries: u32,
    retry_delay_ms: i64,
    permanent_exit_codes: Option<String>,
    interruptions: u32,
    cancel_requested: bool,
    forgiven: u32,
    first_started_at: Option<i64>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    run_ms: Option<i64>,
    reason: Option<String>,
}

/// The tasks whose open claim is one of `claims`.
pub(in crate::queue) async fn open_tasks(
    tx: &mut Tx<'_>,
    claims: &[ClaimId],
) -> Result<BTreeMap<ClaimId, OpenTask>, QueueError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, claim, batch_id, priority, function, state, attempts, retry_count, max_retries, retry_delay_ms,
             permanent_exit_codes, interruptions, cancel_requested, forgiven, first_started_at, started_at,
             finished_at, run_ms, reason
         FROM task WHERE claim IN (SELECT value FROM json_each(?1))",
    )
    .bind(json(&claims)?)
    .fetch_all(&mut *tx.connection)
    .await?;
    rows.into_iter().map(|row| Ok((row.claim, open_task(row)?))).collect()
}

fn open_task(row: Row) -> Result<OpenTask, QueueError> {
    Ok(OpenTask {
        id: row.id,
        claim: Some(row.claim),
        batch_id: row.batch_id,
        priority: priority_of(row.priority)?,
        state: state_of(row.state)?,
        attempts: row.attempts,
        standing: Standing {
            retry_count: row.retry_count,
            max_retries: row.max_retries,
            retry_delay_ms: row.retry_delay_ms,
            permanent_exit_codes: parsed_codes(row.permanent_exit_codes.as_deref())?,
            interruptions: row.interruptions,
            cancel_requested: row.cancel_requested,
            is_simulate: row.function == "simulate",
            forgiven: row.forgiven,
        },
        function: row.function,
        ready_at: None,
        first_started_at: row.first_started_at,
        started_at: row.started_at,
        finished_at: row.finished_at,
        run_ms: row.run_ms,
        reason: row.reason,
        kept_since: None,
        changed: false,
    })
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
    outputs: Vec<(TaskId, u32, Vec<u8>)>,
}

impl Writes {
    pub(in crate::queue) async fn write(self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        if !self.tasks.is_empty() || !self.attempts.is_empty() {
            self.write_rows(tx).await?;
        }
        outside::count(tx, self.attempts.iter().filter_map(|attempt| attempt.cause)).await?;
        let mut outputs = Rows::new(
            "INSERT OR REPLACE INTO output (task_id, number, frames)
             SELECT * FROM (VALUES (?, ?, ?)) AS j WHERE column1 IS NOT NULL",
        );
        for (task_id, number, frames) in self.outputs {
            outputs.push([task_id.into(), number.into(), frames.into()]);
        }
        rows::write(tx, [outputs]).await
    }

    async fn write_rows(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        let mut tasks = Rows::new(
            "UPDATE task SET state = j.column2, ready_at = j.column3, claim = j.column4, cancel_requested = j.column5,
                 attempts = j.column6, retry_count = j.column7, interruptions = j.column8, forgiven = j.column9,
                 first_started_at = j.column10, started_at = j.column11, finished_at = j.column12, run_ms = j.column13,
                 reason = j.column14, kept_since = j.column15
             FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) AS j WHERE task.id = j.column1",
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
        rows::write(tx, [tasks, attempts]).await
    }
}
