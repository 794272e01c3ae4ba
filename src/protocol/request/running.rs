//! `start`, `stop`, `pause`, `resume`, and the daemon's own end.

use schemars::JsonSchema;
use serde::Serialize;

use super::yes;
use crate::task::{BatchId, Hold, TaskId};

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

/// `shutdown`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Shutdown {
    /// Seconds between SIGTERM and SIGKILL; default the setting `grace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<f64>,
}
