//! The requests: one struct per action. Times are seconds, absent means the default of `CONTRACT`.
//!
//! The client serializes them; the daemon makes them with [`super::parse_line`], which checks every
//! field, so a value here is within its range.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::task::{BatchId, Priority, Status, TaskId};

/// One request line: the action with what surrounds it.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// A string or number, echoed in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    /// The client's working directory, absolute; else the peer process's own is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Goes with the tasks that the request adds. Never logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    pub action: Action,
}

impl From<Action> for Request {
    fn from(action: Action) -> Self {
        Self { id: None, cwd: None, environment: None, action }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    Add(Box<Add>),
    AddBatch(Box<AddBatch>),
    Start(Start),
    Stop(Stop),
    Status(StatusRequest),
    Results(Results),
    Show(Show),
    Logs(Logs),
    Update(Box<Update>),
    Export(Export),
    Backup(Backup),
    Clear(Clear),
    Cancel(Cancel),
    Retry(Retry),
    Wait(Wait),
    Functions(Empty),
    /// Ends the daemon in order (`daemon stop`). Beyond the contract's table.
    Shutdown(Shutdown),
    /// Replaces the daemon by the program now installed (`daemon restart`).
    Restart(Empty),
    /// What `doctor` asks the daemon: versions, database health, limits, interpreters.
    Health(Empty),
}

impl Action {
    /// The name on the wire of every action, in the order of the documentation.
    pub const NAMES: &'static [&'static str] = &[
        "add",
        "add_batch",
        "start",
        "stop",
        "status",
        "results",
        "show",
        "logs",
        "update",
        "export",
        "backup",
        "clear",
        "cancel",
        "retry",
        "wait",
        "functions",
        "shutdown",
        "restart",
        "health",
    ];

    /// The name on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "add",
            Self::AddBatch(_) => "add_batch",
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Status(_) => "status",
            Self::Results(_) => "results",
            Self::Show(_) => "show",
            Self::Logs(_) => "logs",
            Self::Update(_) => "update",
            Self::Export(_) => "export",
            Self::Backup(_) => "backup",
            Self::Clear(_) => "clear",
            Self::Cancel(_) => "cancel",
            Self::Retry(_) => "retry",
            Self::Wait(_) => "wait",
            Self::Functions(_) => "functions",
            Self::Shutdown(_) => "shutdown",
            Self::Restart(_) => "restart",
            Self::Health(_) => "health",
        }
    }
}

/// An action without parameters.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Empty {}

/// The fields of a task as they are written; also an element of `add_batch`'s `tasks` and `defaults`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewTask {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permanent_exit_codes: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Value>,
}

/// `add`: one task. The task's own fields stay JSON until [`super::parse_spec`] checks them, so
/// that `add` and `add_batch` share one rule.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Add {
    #[serde(flatten)]
    pub task: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_key: Option<String>,
}

/// `add_batch`: many tasks.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AddBatch {
    /// Not empty; each is checked by [`super::parse_spec`].
    pub tasks: Vec<Value>,
    /// The batch's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Append to this earlier batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// Fields (and `cwd`, `env`) for every task that does not set them.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub defaults: Map<String, Value>,
    /// One bad task refuses all.
    #[serde(skip_serializing_if = "is_false")]
    pub atomic: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_key: Option<String>,
    /// Further parts of this batch will follow, so it is not done yet whatever its tasks say.
    #[serde(skip_serializing_if = "is_false")]
    pub more: bool,
    /// The key holds only while its batch is not done: then the request adds nothing and answers
    /// with that batch; once it is done (or cleared) the request adds anew. What `run FILE` sends.
    #[serde(skip_serializing_if = "is_false")]
    pub resume: bool,
}

/// `start`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Start {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// Seconds for the whole run. `Some(None)` is an explicit null: no deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<bool>,
    /// `Some(None)` is an explicit null: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<Option<u32>>,
}

/// `stop`.
#[derive(Debug, Clone, Serialize)]
pub struct Stop {
    pub graceful: bool,
    pub wait: bool,
}

/// `status`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StatusRequest {
    #[serde(skip_serializing_if = "is_false")]
    pub detailed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
}

/// What shape `results`' `message` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultsFormat {
    #[default]
    Text,
    Json,
    Summary,
    Csv,
}

/// `results`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Results {
    pub format: ResultsFormat,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    /// 1 to 100000; default 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// As an earlier answer's `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<i64>,
}

/// `show`.
#[derive(Debug, Clone, Serialize)]
pub struct Show {
    pub task_id: TaskId,
}

/// Which stream `logs` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    #[default]
    Both,
    Stdout,
    Stderr,
}

/// `logs`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Logs {
    pub task_id: TaskId,
    /// From 1; default the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    pub stream: LogStream,
    /// In bytes of the stream; negative: from the end.
    pub offset: i64,
    /// Bytes; default 65536, 1 to 16 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Wait up to 30 s for more.
    #[serde(skip_serializing_if = "is_false")]
    pub follow: bool,
}

/// `update`: the fields that are `Some` change.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Update {
    pub task_ids: Vec<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// `Some(None)` is an explicit null: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<f64>,
}

/// The formats of `export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    #[default]
    Json,
    Csv,
    Jsonl,
}

impl ExportFormat {
    /// The word on the wire and the file's extension.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// `export`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Export {
    pub format: ExportFormat,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    #[serde(skip_serializing_if = "is_false")]
    pub attempts: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub overwrite: bool,
}

/// `backup`. Beyond the contract's table.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Backup {
    pub output_file: String,
    #[serde(skip_serializing_if = "is_false")]
    pub overwrite: bool,
}

/// `clear`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Clear {
    /// An ended state; default all three.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// Seconds since the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<f64>,
}

/// `cancel`: exactly one of the three. `task_id` and `task_ids` differ in how an unknown id is
/// answered: alone it is `not_found`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cancel {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
}

/// `retry`: `task_id`, `task_ids`, or `filter_status` and/or `batch_id`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Retry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
}

/// `wait`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Wait {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// `shutdown`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Shutdown {
    /// Seconds between SIGTERM and SIGKILL; default the setting `grace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_false(value: &bool) -> bool {
    !value
}
