//! A row as a task is shown.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use sqlx::SqliteConnection;

use super::super::Queue;
use super::super::error::QueueError;
use super::super::memory::{priority_of, state_of};
use super::super::ops::pause::is_suspended;
use super::super::state::State;
use super::super::tx::{json, parsed, parsed_codes};
use crate::output::{self, LogReader};
use crate::protocol::{Attempt, Task};
use crate::task::{Cause, Hold, Outcome, RunState, TaskId};
use crate::time::{rfc3339, seconds};

/// Tasks as SQLite wrote them, as one JSON text: a row for each, and then a value for each column, would take several
/// times as long as the reading.
#[derive(Debug)]
pub struct Rows {
    tasks: String,
    /// Of those tasks, where they are wanted.
    attempts: Option<String>,
}

/// The JSON of a task: a value where it is looked into, text where it is passed on.
pub trait Json: Sized {
    /// Of what a column has.
    ///
    /// # Errors
    /// When that is no JSON.
    fn of_column(text: &str) -> Result<Self, QueueError>;

    /// Of what was made from other columns.
    ///
    /// # Errors
    /// When it cannot be written.
    fn of_value(value: Value) -> Result<Self, QueueError>;
}

impl Json for Value {
    fn of_column(text: &str) -> Result<Self, QueueError> {
        parsed(text)
    }

    fn of_value(value: Value) -> Result<Self, QueueError> {
        Ok(value)
    }
}

impl Json for Box<RawValue> {
    fn of_column(text: &str) -> Result<Self, QueueError> {
        // A line of JSON Lines stays one.
        if text.contains(['\n', '\r']) { Self::of_value(parsed(text)?) } else { parsed(text) }
    }

    fn of_value(value: Value) -> Result<Self, QueueError> {
        to_raw_value(&value).map_err(|error| QueueError::Value(error.to_string()))
    }
}

/// All that is shown of a task; `attempt` is its latest that has ended. The fields are in the order of the columns.
#[derive(Deserialize)]
struct TaskRow<'r> {
    id: i64,
    batch_id: i64,
    name: String,
    function: String,
    priority: i64,
    state: i64,
    ready_at: Option<i64>,
    paused: Option<i64>,
    attempts: u32,
    retry_count: u32,
    interruptions: u32,
    max_retries: u32,
    retry_delay_ms: i64,
    timeout_ms: Option<i64>,
    permanent_exit_codes: Option<String>,
    created_at: i64,
    first_started_at: Option<i64>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    run_ms: Option<i64>,
    reason: Option<String>,
    #[serde(borrow)]
    params: Cow<'r, str>,
    limits: Option<String>,
    error: Option<String>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    result: Option<String>,
    process: Option<u8>,
    /// In hexadecimal digits.
    #[serde(borrow)]
    frames: Cow<'r, str>,
}

/// The fields are in the order of the columns.
#[derive(Deserialize)]
struct AttemptRow {
    task_id: i64,
    number: u32,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    outcome: i64,
    cause: Option<i64>,
    error: Option<String>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    cpu_us: Option<i64>,
    max_rss: Option<i64>,
}

/// Where reading the rows of a page ends early: results may be large.
const PAGE_BYTES: i64 = 4 * 1024 * 1024;

impl Queue {
    /// One task, with its attempts.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn task(&self, task_id: TaskId) -> Result<Option<Task>, QueueError> {
        let mut reading = self.readers.begin().await?;
        let rows = rows(&mut reading, &[task_id], true).await?;
        reading.commit().await?;
        Ok(self.shown(&rows)?.pop())
    }

    /// Rows as they are shown now. Takes microseconds for each: for a page, not within a transaction.
    ///
    /// # Errors
    /// When a value is not what this version stores.
    pub fn shown<J: Json>(&self, rows: &Rows) -> Result<Vec<Task<J>>, QueueError> {
        let found: Vec<TaskRow<'_>> = parsed(&rows.tasks)?;
        let mut tasks = found.into_iter().map(|row| self.task_of(row)).collect::<Result<Vec<_>, _>>()?;
        if let Some(attempts) = &rows.attempts {
            fill_attempts(parsed(attempts)?, &mut tasks)?;
        }
        Ok(tasks)
    }

    /// A row as it is shown now.
    fn task_of<J: Json>(&self, row: TaskRow<'_>) -> Result<Task<J>, QueueError> {
        let state = state_of(row.state)?;
        let status = state.status();
        Ok(Task {
            task_id: row.id,
            batch_id: row.batch_id,
            reason: self.reason(&row, state),
            result: result(&row)?,
            name: row.name,
            function: row.function,
            params: J::of_column(&row.params)?,
            priority: priority_of(row.priority)?,
            status,
            created_at: rfc3339(row.created_at),
            started_at: row.started_at.map(rfc3339),
            finished_at: row.finished_at.filter(|_| status.is_ended()).map(rfc3339),
            execution_time: row.run_ms.map(seconds),
            wait_time: row.first_started_at.map(|at| seconds((at - row.created_at).max(0))),
            retry_count: row.retry_count,
            max_retries: row.max_retries,
            timeout: row.timeout_ms.map(seconds),
            retry_delay: seconds(row.retry_delay_ms),
            permanent_exit_codes: parsed_codes(row.permanent_exit_codes.as_deref())?,
            interruptions: row.interruptions,
            error: row.error,
            exit_code: row.exit_code,
            signal: row.signal,
            limits: row.limits.as_deref().map(parsed).transpose()?,
            attempts: None,
        })
    }

    fn reason(&self, row: &TaskRow<'_>, state: State) -> Option<String> {
        match state {
            State::Waiting if row.paused.is_some() => Some("paused".to_owned()),
            State::Waiting => {
                let left = seconds((row.ready_at.unwrap_or(0) - self.clock().now()).max(0));
                Some(if row.attempts > 0 {
                    format!("retry in {left:.1} s")
                } else {
                    format!("delayed for {left:.1} s")
                })
            }
            State::Ready => {
                let run = &self.snapshot().run;
                let why = match run.state {
                    RunState::Running if run.paused.is_some() => "executor paused".to_owned(),
                    RunState::Stopped => "executor stopped".to_owned(),
                    RunState::Stopping => "executor stopping".to_owned(),
                    RunState::Running => {
                        self.why().map_or_else(|| "waiting for a free slot".to_owned(), |(why, _)| why)
                    }
                };
                Some(match &row.reason {
                    Some(before) => format!("{why}; {before}"),
                    None => why,
                })
            }
            State::Running => self.held(row).or_else(|| row.reason.clone()),
            State::Completed | State::Failed | State::Cancelled => row.reason.clone(),
        }
    }

    /// Why a running task makes no progress, or will not go on after this attempt.
    fn held(&self, row: &TaskRow<'_>) -> Option<String> {
        if is_suspended(row.paused) || self.snapshot().run.paused == Some(Hold::Pause) {
            return Some("paused".to_owned());
        }
        match self.why() {
            Some((why, true)) => Some(format!("suspended: {why}")),
            _ => row.paused.map(|_| "runs to its end; paused after".to_owned()),
        }
    }
}

/// The result of the latest attempt: as stored, or the plain process result made from its output.
fn result<J: Json>(row: &TaskRow<'_>) -> Result<Option<J>, QueueError> {
    if let Some(stored) = &row.result {
        return Ok(Some(J::of_column(stored)?));
    }
    if row.process != Some(1) {
        return Ok(None);
    }
    let mut reader = LogReader::from_bytes(from_hex(&row.frames));
    let stdout = reader.head_tail(output::STDOUT, u64::MAX);
    let stderr = reader.head_tail(output::STDERR, u64::MAX);
    let made = output::plain_result(row.exit_code, (&stdout.0, stdout.1), (&stderr.0, stderr.1));
    Ok(Some(J::of_value(made)?))
}

/// The bytes of pairs of hexadecimal digits.
fn from_hex(digits: &str) -> Vec<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or(0);
    digits.as_bytes().chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
}

/// The rows of the tasks with these ids, in their order.
pub(super) async fn rows(reading: &mut SqliteConnection, ids: &[TaskId], attempts: bool) -> Result<Rows, QueueError> {
    let ids = json(&ids)?;
    // The list is the outer loop of the join, so the rows come in its order.
    let tasks = sqlx::query_scalar(
        "SELECT json_group_array(json_array(task.id, batch_id, name, function, priority, state, ready_at, paused, attempts,
             retry_count, interruptions, max_retries, retry_delay_ms, timeout_ms, permanent_exit_codes, created_at,
             first_started_at, task.started_at, task.finished_at, run_ms, reason, params, limits, attempt.error,
             attempt.exit_code, attempt.signal, attempt.result, attempt.process, hex(output.frames)))
         FROM json_each(?1) AS wanted CROSS JOIN task ON task.id = wanted.value
         CROSS JOIN task_input ON task_input.task_id = task.id
         LEFT JOIN attempt ON attempt.task_id = task.id AND attempt.number = task.attempts
         LEFT JOIN output ON output.task_id = task.id AND output.number = task.attempts",
    )
    .bind(&ids)
    .fetch_one(&mut *reading)
    .await?;
    if !attempts {
        return Ok(Rows { tasks, attempts: None });
    }
    let attempts = sqlx::query_scalar(
        "SELECT json_group_array(json_array(task_id, number, started_at, finished_at, outcome, cause, error, exit_code,
             signal, cpu_us, max_rss))
         FROM json_each(?1) AS wanted CROSS JOIN attempt ON attempt.task_id = wanted.value",
    )
    .bind(&ids)
    .fetch_one(reading)
    .await?;
    Ok(Rows { tasks, attempts: Some(attempts) })
}

/// The first of `ids` whose rows together are not too large to be held at once; at least one.
pub(super) async fn fitting<'i>(reading: &mut SqliteConnection, ids: &'i [TaskId]) -> Result<&'i [TaskId], QueueError> {
    // The length of a column is in the row's header: nothing large is read.
    let sizes: String = sqlx::query_scalar(
        "SELECT json_group_array(octet_length(params) + coalesce(octet_length(result), 0)
             + coalesce(octet_length(frames), 0))
         FROM json_each(?1) AS wanted CROSS JOIN task ON task.id = wanted.value
         CROSS JOIN task_input ON task_input.task_id = task.id
         LEFT JOIN attempt ON attempt.task_id = task.id AND attempt.number = task.attempts
         LEFT JOIN output ON output.task_id = task.id AND output.number = task.attempts",
    )
    .bind(json(&ids)?)
    .fetch_one(reading)
    .await?;
    let mut bytes = 0;
    let fit = parsed::<Vec<i64>>(&sizes)?.into_iter().take_while(|size| {
        let before = bytes;
        bytes += size;
        before == 0 || bytes <= PAGE_BYTES
    });
    Ok(&ids[..fit.count().min(ids.len())])
}

/// Adds the attempts to each task, the open one included; both come by task id.
fn fill_attempts<J>(rows: Vec<AttemptRow>, tasks: &mut [Task<J>]) -> Result<(), QueueError> {
    let mut rows = rows.into_iter().peekable();
    for task in tasks {
        let mut attempts = Vec::new();
        while let Some(row) = rows.next_if(|row| row.task_id == task.task_id) {
            attempts.push(attempt(row)?);
        }
        if task.status == crate::task::Status::Running {
            attempts.push(Attempt {
                attempt: u32::try_from(attempts.len() + 1).unwrap_or(u32::MAX),
                started_at: task.started_at.clone(),
                finished_at: None,
                outcome: None,
                cause: None,
                error: None,
                exit_code: None,
                signal: None,
                cpu_time: None,
                max_rss: None,
            });
        }
        task.attempts = Some(attempts);
    }
    Ok(())
}

fn attempt(row: AttemptRow) -> Result<Attempt, QueueError> {
    #[expect(clippy::cast_precision_loss, reason = "below 2^53 µs")]
    let cpu_time = row.cpu_us.map(|us| us as f64 / 1e6);
    Ok(Attempt {
        attempt: row.number,
        started_at: row.started_at.map(rfc3339),
        finished_at: row.finished_at.map(rfc3339),
        outcome: Some(
            Outcome::from_code(row.outcome).ok_or_else(|| QueueError::Value(format!("outcome {}", row.outcome)))?,
        ),
        cause: row.cause.and_then(Cause::from_code),
        error: row.error,
        exit_code: row.exit_code,
        signal: row.signal,
        cpu_time,
        max_rss: row.max_rss,
    })
}
