//! What changes tasks that are in the queue: `update`, `clear`, `cancel`, `retry`.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::is_false;
use crate::filter::Filter;
use crate::task::{BatchId, Priority, Status, TaskId};

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
