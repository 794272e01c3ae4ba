//! The answers: the envelope and each action's `data`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::Refusal;
use crate::task::{BatchId, Cause, Hold, Outcome, Priority, RunState, Status, TaskId};

/// One answer line. `data` is there when `ok`, `error` when not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Response {
    pub ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    /// The action's name; null when the line could not be read that far.
    pub action: Option<String>,
    /// Text for a person or an agent.
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnings: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
}

/// A task as it is shown: all fields of CONTRACT section 3. `J` is what its JSON is: values, or text that is passed on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task<J = Value> {
    pub task_id: TaskId,
    pub batch_id: BatchId,
    pub name: String,
    pub function: String,
    pub params: J,
    pub priority: Priority,
    pub status: Status,
    pub reason: Option<String>,
    pub created_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub execution_time: Option<f64>,
    pub wait_time: Option<f64>,
    pub retry_count: u32,
    pub max_retries: u32,
    pub timeout: Option<f64>,
    pub retry_delay: f64,
    pub permanent_exit_codes: Vec<i32>,
    pub interruptions: u32,
    pub result: Option<J>,
    pub error: Option<String>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    /// When it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Map<String, Value>>,
    /// In `show` and `export` with `attempts` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Map<String, Value>>>")]
    pub attempts: Option<Vec<Attempt>>,
}

/// One attempt of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub attempt: u32,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    /// Null while it runs.
    pub outcome: Option<Outcome>,
    pub cause: Option<Cause>,
    pub error: Option<String>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    /// Seconds, user and system.
    pub cpu_time: Option<f64>,
    /// Bytes; at least what the keeper itself takes, for Linux counts the memory from before the program began (getrusage(2)).
    pub max_rss: Option<i64>,
}

/// `data` of `add`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Added {
    pub task_id: TaskId,
    pub batch_id: BatchId,
    /// 1 = next; null with a delay.
    pub position: Option<i64>,
}

/// `data` of `add_batch`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BatchAdded {
    pub batch_id: BatchId,
    pub added: u64,
    pub first_task_id: Option<TaskId>,
    pub last_task_id: Option<TaskId>,
    /// When at most 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    pub errors: Vec<ItemError>,
    /// Tasks in the queue now.
    pub queued: i64,
    /// True when the request key was seen before and nothing was added now.
    #[serde(default)]
    pub repeated: bool,
}

/// A task of a batch that was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ItemError {
    /// From 0, in the request's `tasks`.
    pub index: usize,
    pub error: String,
}

/// `data` of `start`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Started {
    /// False when there was nothing to run or it ran already.
    pub started: bool,
    pub state: RunState,
    pub queued: i64,
    pub max_concurrent: u32,
    pub deadline: Option<String>,
}

/// `data` of `stop`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StopAnswer {
    pub state: RunState,
    pub running: i64,
    pub completed: i64,
    pub failed: i64,
    pub queued: i64,
}

/// How many tasks are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    pub total: i64,
    pub queued: i64,
    pub running: i64,
    pub completed: i64,
    pub failed: i64,
    pub cancelled: i64,
}

impl Counts {
    /// With their sum.
    pub const fn of(queued: i64, running: i64, completed: i64, failed: i64, cancelled: i64) -> Self {
        let total = queued + running + completed + failed + cancelled;
        Self { total, queued, running, completed, failed, cancelled }
    }

    /// Whether all have ended.
    pub const fn is_over(&self) -> bool {
        self.queued + self.running == 0
    }
}

/// `data` of `status` and `wait`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StatusData {
    pub state: RunState,
    pub reason: Option<String>,
    pub max_concurrent: u32,
    /// The cap for now, after several tasks were killed from outside together; null: as set.
    #[serde(default)]
    pub lowered_to: Option<u32>,
    pub keep: bool,
    /// Nothing starts before `resume`.
    #[serde(default)]
    pub paused: bool,
    pub deadline: Option<String>,
    pub counts: Counts,
    /// How many attempts ended by each cause, since the queue was made.
    #[serde(default)]
    #[schemars(with = "Map<String, Value>")]
    pub causes: BTreeMap<Cause, i64>,
    /// Percent of tasks that have ended, 0 to 100.
    pub progress: f64,
    pub average_task_time: Option<f64>,
    pub total_execution_time: f64,
    /// Tasks per second over the last minute.
    pub throughput: f64,
    /// Seconds.
    pub eta: Option<f64>,
    pub version: String,
    pub protocol: u32,
    pub pid: u32,
    /// Seconds.
    pub uptime: f64,
    pub home: String,
    /// When gates are declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Map<String, Value>>>")]
    pub gates: Option<Vec<GateInfo>>,
    /// The batch that was asked for, or in detail the latest ten, the latest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Map<String, Value>>>")]
    pub batches: Option<Vec<BatchInfo>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    pub tasks: Option<BTreeMap<Status, Vec<Task>>>,
}

/// A gate in `status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GateInfo {
    pub gate: String,
    /// When it is open.
    pub rule: String,
    /// Null: it was not looked at yet, for nothing waited.
    pub open: Option<bool>,
    /// What was seen at the last look.
    pub found: Option<String>,
    /// Since when it is open, or closed.
    pub since: Option<String>,
    /// What becomes of what runs while it is closed.
    pub running: Hold,
}

/// A batch in `status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BatchInfo {
    pub batch_id: BatchId,
    pub name: Option<String>,
    pub created_at: String,
    pub counts: Counts,
    /// What is added to it is paused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// The sums in `results`: the counts of the tasks that were asked for; the times without regard to `filter_status`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    #[serde(flatten)]
    pub counts: Counts,
    pub total_execution_time: f64,
    pub average_task_time: Option<f64>,
}

/// `data` of `results`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ResultsData {
    pub summary: Summary,
    pub tasks: Vec<Task>,
    pub next_cursor: Option<i64>,
}

/// `data` of `logs`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LogsData {
    /// Bytes that are not UTF-8 are replaced.
    pub text: String,
    pub next_offset: i64,
    /// Bytes of the stream so far.
    pub size: i64,
    /// Whether the attempt has ended, so that there will be no more.
    pub ended: bool,
    /// Bytes that were not kept (the log's cap, or a full disk).
    pub dropped: i64,
    pub attempt: u32,
    /// With `search`: where each line of `text` begins; of a long one, the part that is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<Vec<i64>>,
}

/// `data` of `update`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Updated {
    pub updated: Vec<TaskId>,
    pub not_updated: Vec<NotDone>,
}

/// A task that was left as it was, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotDone {
    pub task_id: TaskId,
    pub reason: String,
}

/// `data` of `export`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Exported {
    /// Absolute.
    pub file: String,
    pub exported: u64,
    pub bytes: u64,
}

/// `data` of `backup`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BackedUp {
    /// Absolute.
    pub file: String,
    pub bytes: u64,
}

/// `data` of `clear`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Cleared {
    pub cleared: u64,
    pub remaining: i64,
    /// Nothing was changed: it says what would be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// With `dry_run`: the first 1000 of the tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
}

/// `data` of `cancel`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Cancelled {
    pub cancelled_count: u64,
    /// At most 1000.
    pub cancelled: Vec<TaskId>,
    /// At most 1000.
    pub not_cancelled: Vec<NotDone>,
    /// Nothing was changed: it says what would be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// `data` of `pause` and `resume`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    /// Of the executor.
    pub state: RunState,
    /// Whether the executor is paused now.
    pub paused: bool,
    /// Tasks that were paused, or go on; 0 for the executor.
    pub count: u64,
    /// At most 1000.
    pub tasks: Vec<TaskId>,
    /// At most 1000.
    pub not_changed: Vec<NotDone>,
}

/// `data` of `retry`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Requeued {
    pub requeued: u64,
    /// At most 1000.
    pub not_requeued: Vec<NotDone>,
    /// Nothing was changed: it says what would be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// With `dry_run`: the first 1000 of the tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
}

/// `data` of `functions`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Functions {
    pub functions: Vec<FunctionInfo>,
}

/// A function and its parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FunctionInfo {
    pub name: String,
    pub description: String,
    pub params: Vec<ParamInfo>,
}

/// A parameter of a function.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ParamInfo {
    pub name: String,
    pub r#type: String,
    pub default: Value,
    pub description: String,
}
