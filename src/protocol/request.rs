//! The requests: one struct per action. Times are seconds, absent means the default of `CONTRACT`.
//!
//! The client serializes them; the daemon makes them with [`super::parse_line`], which checks every
//! field, so a value here is within its range.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::hooks::HooksRequest;
use super::watch::Watch;
use crate::filter::{Filter, Sort};
use crate::task::{BatchId, Hold, Priority, Status, TaskId};

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
    /// Beyond the contract's table, as `resume`.
    Pause(Pause),
    Resume(Resume),
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
    /// What has happened. Beyond the contract's table.
    Watch(Watch),
    /// Ends the daemon in order (`daemon stop`). Beyond the contract's table.
    Shutdown(Shutdown),
    /// Replaces the daemon by the program now installed (`daemon restart`).
    Restart(Empty),
    /// What `doctor` asks the daemon: versions, database health, limits, interpreters.
    Health(Empty),
    /// How the queue stands, as OpenMetrics text in `message`.
    Metrics(Empty),
    /// Who is told when something happens, and how that went; or a test of one.
    Hooks(HooksRequest),
}

impl Action {
    /// The name on the wire of every action, in the order of the documentation.
    pub const NAMES: &'static [&'static str] = &[
        "add",
        "add_batch",
        "start",
        "stop",
        "pause",
        "resume",
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
        "watch",
        "shutdown",
        "restart",
        "health",
        "metrics",
        "hooks",
    ];

    /// The name on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "add",
            Self::AddBatch(_) => "add_batch",
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
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
            Self::Watch(_) => "watch",
            Self::Shutdown(_) => "shutdown",
            Self::Restart(_) => "restart",
            Self::Health(_) => "health",
            Self::Metrics(_) => "metrics",
            Self::Hooks(_) => "hooks",
        }
    }
}

/// An action without parameters.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Empty {}

/// The fields of a task as they are written; also an element of `add_batch`'s `tasks` and `defaults`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct NewTask {
    /// What it is called in lists, 1 to 4096 bytes. Example: "resize 0417.jpg"
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What runs it: `command`, `code_execution`, `custom_function`, `simulate` or one of the user's own; `functions` lists them with their parameters
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub function: Option<String>,
    /// The function's parameters. Examples: {"argv": ["make", "test"]} for `command`, {"runtime": "terminal", "code": "a | b"} for `code_execution` of lines for sh (or python, nodejs)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    /// Higher goes first, before all that is queued and after what runs; default medium
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Priority>")]
    pub priority: Option<Value>,
    /// How often a failed attempt is tried again, 0 to 1000; default 3
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u32>", range(max = 1000))]
    pub max_retries: Option<Value>,
    /// Seconds that an attempt may take, above 0; null or absent: any time. Example: 600
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    pub timeout: Option<Value>,
    /// Seconds before the first retry, doubled each time up to 300, give or take a tenth; default 1
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    pub retry_delay: Option<Value>,
    /// Exit codes after which there is no retry. Example: `[2]`
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<u8>>")]
    pub permanent_exit_codes: Option<Value>,
    /// Seconds before it may run; default 0
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    pub delay: Option<Value>,
    /// What it may take of the machine: memory and cpu (seconds), open_files, nice, ionice, umask, cpus, processes. Example: {"memory": "2G"}
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    pub limits: Option<Value>,
}

/// `add`: one task. The task's own fields stay JSON until [`super::parse_spec`] checks them, so
/// that `add` and `add_batch` share one rule.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Add {
    #[serde(flatten)]
    #[schemars(with = "NewTask")]
    pub task: Map<String, Value>,
    /// A text of your own, at most 200 bytes: sent again with the same key, nothing is added twice and the first answer comes again. Send one whenever a call may be repeated
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_key: Option<String>,
}

/// `add_batch`: many tasks.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct AddBatch {
    /// The tasks, at least one, with the fields of `add`; `name` defaults to `Task N`. Bad ones are listed in `errors`, the others are added
    #[schemars(with = "Vec<NewTask>")]
    pub tasks: Vec<Value>,
    /// The batch's name. Example: "thumbnails"
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Append to this earlier batch
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// Fields for every task that does not set them, and `cwd` (an absolute path) and `env` for its process. Example: {"timeout": 600, "cwd": "/home/me"}
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schemars(default)]
    pub defaults: Map<String, Value>,
    /// One bad task refuses all
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub atomic: bool,
    /// As in `add`: sent again with the same key, nothing is added twice
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_key: Option<String>,
    /// Further parts of this batch will follow
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub more: bool,
    /// The key holds only while its batch is not done; after that the request adds anew
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub resume: bool,
}

/// `start`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Start {
    /// How many tasks may run at once, 1 to 10000; default 5 (on a phone 3) whenever it starts anew. While it runs, this changes it
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_concurrent: Option<u32>,
    /// Seconds for the whole run; then running tasks go back to the queue. Null: none
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Option<f64>>,
    /// Stay running when all tasks have ended, for those that are added later; default false: then they need another `start`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<bool>,
    /// Stop after so many failed tasks; null: never
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<Option<u32>>,
}

/// `stop`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Stop {
    /// Let running tasks finish; false ends them and puts them back into the queue
    #[schemars(default = "yes")]
    pub graceful: bool,
    /// Answer only when nothing runs any more
    #[schemars(default)]
    pub wait: bool,
}

/// `status`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct StatusRequest {
    /// Also the latest ten batches and ten tasks of each state
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub detailed: bool,
    /// Count the tasks of this batch alone
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// As in `results`
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub filter: Option<Filter>,
}

/// What shape `results`' `message` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResultsFormat {
    #[default]
    Text,
    Json,
    Summary,
    Csv,
}

/// `results`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Results {
    /// The shape of the text alone
    #[schemars(default)]
    pub format: ResultsFormat,
    /// Only tasks in this state. Example: "failed"
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_status: Option<Status>,
    /// Only tasks of this batch
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// Only these tasks
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    /// At most so many tasks, 1 to 100000
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100000))]
    pub limit: Option<u32>,
    /// The next page: `next_cursor` of the one before
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<i64>,
    /// Only tasks that match. Example: "status=failed and (function=python or runtime>30s)"
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub filter: Option<Filter>,
    /// By a field, the largest first with `-` before it; one page. Example: "-runtime"
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub sort: Option<Sort>,
}

/// `show`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Show {
    /// The task. Example: 12
    pub task_id: TaskId,
}

/// Which stream `logs` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    #[default]
    Both,
    Stdout,
    Stderr,
}

/// `logs`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Logs {
    /// The task. Example: 12
    pub task_id: TaskId,
    /// Which attempt, from 1; default the latest
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub attempt: Option<u32>,
    /// What it wrote to standard output, to standard error, or both in their order
    #[schemars(default)]
    pub stream: LogStream,
    /// Where to begin, in bytes; negative: from the end. Example: -4000 for the last 4000 bytes
    #[schemars(default)]
    pub offset: i64,
    /// At most so many bytes, 1 to 16777216; default 65536
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub limit: Option<u32>,
    /// Wait up to 30 seconds for more if there is nothing yet
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub follow: bool,
    /// Only lines with this text (no pattern), from `offset` on; each one's own offset is in `matches`. Example: "Error"
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// With `search`: so many lines before and after each, too, 0 to 100
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub context: Option<u32>,
}

/// `update`: the fields that are `Some` change.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Update {
    /// The queued tasks to change. Example: `[12, 13]`
    pub task_ids: Vec<TaskId>,
    /// The new name
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The new parameters, all of them
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    /// Higher goes first
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// How often a failed attempt is tried again, 0 to 1000
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000))]
    pub max_retries: Option<u32>,
    /// Seconds that an attempt may take, above 0; null: any time
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Option<f64>>,
    /// Seconds before the first retry
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<f64>,
    /// Seconds from now before it may run; 0: at once
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<f64>,
}

/// The formats of `export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
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
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Export {
    /// Of the file
    #[schemars(default)]
    pub format: ExportFormat,
    /// Where to; default batch_results_DATE_TIME.EXT in the working directory. Example: "/tmp/night.csv"
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_file: Option<String>,
    /// Only tasks in this state
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_status: Option<Status>,
    /// Only tasks of this batch
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// Every attempt with how it ended, too (in CSV as JSON in a cell)
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub attempts: bool,
    /// Replace the file if it is there
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub overwrite: bool,
    /// As in `results`
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub filter: Option<Filter>,
}

/// `backup`. Beyond the contract's table.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Backup {
    /// Where to. Example: "/tmp/queue-backup.db"
    pub output_file: String,
    /// Replace the file if it is there
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub overwrite: bool,
}

/// The states that `clear` takes.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it stands in the schema alone")]
enum Ended {
    Completed,
    Failed,
    Cancelled,
}

/// The states that `retry` takes.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it stands in the schema alone")]
enum Again {
    Failed,
    Cancelled,
}

/// `clear`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Clear {
    /// Only tasks that ended so; default all that have ended
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ended>")]
    pub filter_status: Option<Status>,
    /// Only tasks of this batch
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// Only tasks that ended so many seconds ago. Example: 86400
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<f64>,
    /// As in `results`
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub filter: Option<Filter>,
    /// Only say what would be done
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub dry_run: bool,
}

/// `cancel`: exactly one of the three, or a filter, alone or with one of them. `task_id` and `task_ids` differ in how an unknown id is
/// answered: alone it is `not_found`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Cancel {
    /// One task. Exactly one of the three is given, or a filter
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Several tasks
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    /// All tasks of a batch that have not ended
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// As in `results`
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub filter: Option<Filter>,
    /// Only say what would be done
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub dry_run: bool,
}

/// `pause`: one of the three, or none: the executor.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Pause {
    /// One task. Without any: the executor, so that nothing starts
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Several tasks
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    /// All tasks of a batch that have not ended, and those that come
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// What becomes of what runs: `pause` (SIGSTOP), `leave` it, or `end` it and queue it again; default pause
    pub running: Hold,
}

/// `resume`: as `pause`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Resume {
    /// One task. Without any: the executor
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Several tasks
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    /// All tasks of a batch
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
}

/// `retry`: `task_id`, `task_ids`, or `filter_status` and/or `batch_id`; or a filter, alone or with them.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Retry {
    /// One task. Either this, or `task_ids`, or `filter_status` and `batch_id`, or a filter
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Several tasks
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    /// All that are failed, or all that are cancelled
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Again>")]
    pub filter_status: Option<Status>,
    /// Those of this batch
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// Seconds that an attempt may take from now on, above 0; null: any time. Default: as it was
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Option<f64>>,
    /// How often a failed attempt is tried again from now on, 0 to 1000. Default: as it was
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000))]
    pub max_retries: Option<u32>,
    /// As in `results`
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub filter: Option<Filter>,
    /// Only say what would be done
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub dry_run: bool,
}

/// `wait`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Wait {
    /// This batch; default all tasks, earlier ones too
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// These tasks
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    /// Seconds that the call may take; past it the tasks go on
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// As in `results`
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub filter: Option<Filter>,
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

const fn yes() -> bool {
    true
}
