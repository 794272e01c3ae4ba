//! Where attempts run: the local backend, through the keeper.
//!
//! A backend launches waves of attempts, finds them again after a crash, ends one when told and
//! gives an ordered stream of starts and ends that may come late and twice; the queue accepts each
//! once, by claim. Nothing here knows SQL.

use serde_json::Value;

use crate::task::{ClaimId, Order, TaskId};

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
    /// The order that ended it; decides the outcome. None: it ended by itself.
    pub order: Option<Order>,
    pub verdict: Verdict,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
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
