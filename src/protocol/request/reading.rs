//! What only looks: `status`, `results`, `show`, `logs`, `wait`; and what writes files: `export`, `backup`.

use schemars::JsonSchema;
use serde::Serialize;

use super::is_false;
use crate::filter::{Filter, Sort};
use crate::task::{BatchId, Status, TaskId};

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
