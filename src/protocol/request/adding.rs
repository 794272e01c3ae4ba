//! `add` and `add_batch`.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::is_false;
use crate::task::{BatchId, Priority};

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

/// `add`: one task. The task's own fields stay JSON until [`crate::protocol::parse_spec`] checks them, so
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
