//! An attempt on its way between queue, executor and backend: claimed, started, ended.
//!
//! Pure types; what follows from an end is decided in `queue::decide`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::task::{BatchId, Cause, ClaimId, Limits, Order, Priority, TaskId};

/// A claimed attempt, with all that is needed to run it.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub claim: ClaimId,
    pub task_id: TaskId,
    pub batch_id: BatchId,
    /// From 1.
    pub number: u32,
    pub name: String,
    pub function: String,
    pub params: Map<String, Value>,
    pub priority: Priority,
    pub timeout_ms: Option<i64>,
    pub limits: Limits,
    /// For `simulate`'s `fail: N`.
    pub retry_count: u32,
    /// The client's working directory at `add`.
    pub cwd: String,
    /// The request's `environment`; shared by all attempts that have the same.
    pub environment: Arc<Environment>,
}

/// An environment that was stored once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The id in the queue; 0 for the empty one.
    pub id: i64,
    pub variables: BTreeMap<String, String>,
}

/// What happened to an attempt, in the order in which it happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// It has a slot.
    Started {
        claim: ClaimId,
        task_id: TaskId,
        started_at: i64,
    },
    Ended(Box<Ended>),
}

impl Event {
    /// Whose it is.
    pub fn claim(&self) -> ClaimId {
        match self {
            Self::Started { claim, .. } => *claim,
            Self::Ended(ended) => ended.claim,
        }
    }

    /// Whether it is the end of an attempt that somebody else killed.
    pub fn is_outside_kill(&self) -> bool {
        matches!(self, Self::Ended(ended) if ended.outside_kill.is_some())
    }
}

/// The end of an attempt.
#[derive(Debug, Clone)]
pub struct Ended {
    pub claim: ClaimId,
    pub task_id: TaskId,
    /// Wall clock, ms.
    pub started_at: i64,
    /// Wall clock, ms.
    pub finished_at: i64,
    /// Monotonic, ms.
    pub run_ms: i64,
    /// The time limit that it had: the task's or its function's, ms.
    pub timeout_ms: Option<i64>,
    /// The order that ended it; decides the outcome. None: it ended by itself.
    pub order: Option<Order>,
    pub verdict: Verdict,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    /// What is known of a SIGKILL that ended it and that nobody here sent: [`Cause::Killed`] or [`Cause::OutOfMemory`].
    pub outside_kill: Option<Cause>,
    /// User and system, µs.
    pub cpu_us: Option<i64>,
    /// Bytes.
    pub max_rss: Option<i64>,
    pub output: Output,
}

/// What an attempt that nobody ended came to.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Success. None: the result is the plain process result, derived from exit code and output.
    Success { result: Option<Value> },
    /// A failed attempt. `permanent`: no retry helps. `result` as above.
    Failure { error: String, permanent: bool, result: Option<Value> },
}

/// What an attempt wrote.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// The framed log (`crate::keeper::frames`), when it was small enough to travel; empty when nothing was
    /// written or when it is in a file.
    pub frames: Vec<u8>,
    /// It is in `HOME/output/`.
    pub spilled: bool,
    /// Bytes of stdout and stderr that were not kept anywhere.
    pub dropped: i64,
}
