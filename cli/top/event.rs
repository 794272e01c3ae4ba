//! What `watch` tells, as far as it is shown here.

use batch_executor::task::{BatchId, Outcome, Status, TaskId};
use serde::Deserialize;

/// `data` of `watch`.
#[derive(Debug, Deserialize)]
pub struct Watched {
    pub events: Vec<Event>,
    /// The number to go on with.
    pub next: i64,
    /// Numbers that are no longer kept.
    pub gap: Option<serde_json::Value>,
}

/// One event; what is absent does not belong to its kind, or the task is gone.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    pub at: String,
    pub event: Kind,
    pub task_id: Option<TaskId>,
    pub attempt: Option<u32>,
    pub batch_id: Option<BatchId>,
    pub name: Option<String>,
    pub function: Option<String>,
    pub outcome: Option<Outcome>,
    pub status: Option<Status>,
    pub error: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Started,
    Ended,
    Paused,
    Resumed,
    Gate,
    Executor,
    /// A daemon began: what ran before it may have ended.
    DaemonStarted,
    #[serde(other)]
    Other,
}
