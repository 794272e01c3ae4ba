//! `watch`: what has happened, from a number on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::response::Counts;
use crate::task::{BatchId, Cause, Outcome, RunState, Status, TaskId};

/// `watch`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Watch {
    /// The number of the first event that is wanted; default: the next that will happen
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub from: Option<i64>,
    /// At most so many events, 1 to 10000; default 1000
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub limit: Option<u32>,
    /// Wait up to 30 seconds for an event if there is none yet
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub follow: bool,
    /// Only of this batch and its tasks
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
}

/// `data` of `watch`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WatchData {
    #[schemars(with = "Vec<Map<String, Value>>")]
    pub events: Vec<Event>,
    /// The `from` of the next call.
    pub next: i64,
    /// Wanted events that are no longer kept.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub gap: Option<Gap>,
}

/// Numbers of events that are no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub from: i64,
    pub to: i64,
}

/// Something that has happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// From 1, without a hole.
    pub seq: i64,
    /// When it was written.
    pub at: String,
    #[serde(flatten)]
    pub what: Happened,
}

/// What it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happened {
    Added {
        batch_id: BatchId,
        /// How many.
        tasks: i64,
        first_task_id: TaskId,
        last_task_id: TaskId,
    },
    Started(Whose),
    /// An attempt that was told of as started had not begun and was taken back.
    NotStarted(Whose),
    /// An attempt.
    Ended {
        #[serde(flatten)]
        whose: Whose,
        /// What the task is after it; queued: it runs again.
        status: Status,
        outcome: Option<Outcome>,
        cause: Option<Cause>,
        /// At most 1000 characters of it.
        error: Option<String>,
        exit_code: Option<i32>,
        signal: Option<i32>,
        /// Seconds.
        run_time: Option<f64>,
    },
    /// Tasks that were queued; one that runs ends.
    Cancelled(TaskList),
    /// By `retry`.
    Requeued(TaskList),
    Updated(TaskList),
    /// A batch, tasks, or else the executor.
    Paused {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        batch_id: Option<BatchId>,
        #[serde(flatten)]
        tasks: Option<TaskList>,
    },
    /// As `paused`.
    Resumed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        batch_id: Option<BatchId>,
        #[serde(flatten)]
        tasks: Option<TaskList>,
    },
    /// By `clear`.
    Cleared {
        /// How many.
        tasks: u64,
    },
    Executor {
        state: RunState,
        reason: Option<String>,
        max_concurrent: u32,
    },
    /// No task of it is queued or running any more.
    BatchEnded {
        batch_id: BatchId,
        name: Option<String>,
        counts: Counts,
    },
    /// Nothing is queued or running any more.
    Idle,
    Gate {
        gate: String,
        open: bool,
        /// What was seen.
        found: String,
    },
    DaemonStarted {
        version: String,
        /// How the one before ended: `stop`, `restart`, `crash` or `reboot`; null: there was none.
        after: Option<String>,
    },
}

/// An attempt; what is absent went with its task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Whose {
    pub task_id: TaskId,
    /// From 1.
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
}

/// Several tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskList {
    /// How many.
    pub tasks: u64,
    /// At most 100 of them.
    pub task_ids: Vec<TaskId>,
}

impl Happened {
    /// The batch that it is about, if it is about one.
    pub const fn batch_id(&self) -> Option<BatchId> {
        match self {
            Self::Added { batch_id, .. } | Self::BatchEnded { batch_id, .. } => Some(*batch_id),
            Self::Started(whose) | Self::NotStarted(whose) | Self::Ended { whose, .. } => whose.batch_id,
            Self::Paused { batch_id, .. } | Self::Resumed { batch_id, .. } => *batch_id,
            _ => None,
        }
    }
}
