//! The domain: what a task is, its states, how an attempt can end and what follows from it.
//!
//! Pure: no I/O, no clock, no randomness, nothing of ours imported.

mod limits;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use limits::{Exit, IoNice, LIMITS, Limits, bytes};

/// The id of a task: ascending, never reused.
pub type TaskId = i64;
/// The id of an `add_batch` call (an `add` is a batch of one).
pub type BatchId = i64;
/// The id of one claim of a task for one attempt: ascending, never reused, unique over all tasks.
/// A task that was claimed and given back without having started gets a new one.
pub type ClaimId = i64;

/// What may be there before a task's process is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prepared {
    /// Forks of its interpreter, which has imported these modules; where there is none it starts as any other.
    Forks { imports: Vec<String> },
    /// Processes of its interpreter that were started ahead, each for one task; where there is none it starts as any other.
    Ahead,
    /// A worker, which takes one task after the other, each as a line of its stdin, and answers each by a line of
    /// its stdout.
    Worker,
}

/// How urgent a task is. Higher first, then lower task id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Low,
    #[default]
    Medium,
    High,
    Critical,
}

/// The state that a user sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Waits for a slot, a due time or a `start`. Leads to `Running` or, by `cancel`, to `Cancelled`.
    Queued,
    /// Has an attempt with a slot. Leads to every other state.
    Running,
    /// Succeeded; final.
    Completed,
    /// Out of retries or a permanent error. Leads to `Queued`, by `retry` only.
    Failed,
    /// Cancelled by request. Leads to `Queued`, by `retry` only.
    Cancelled,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Completed,
    Failed,
    TimedOut,
    Cancelled,
    /// Lost with the keeper or the machine.
    Interrupted,
    /// Ended by `stop`, the deadline or `daemon stop`; back in the queue.
    Stopped,
}

/// Why an attempt was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    KeeperLost,
    Reboot,
    Killed,
    Stopped,
    Deadline,
    OutOfMemory,
    Cancelled,
    TimedOut,
}

/// The state of the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    Stopped,
    Running,
    /// Starts nothing; becomes `Stopped` when the last running task has ended.
    Stopping,
}

/// What becomes of what runs when nothing more is to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// It goes on to its end.
    Leave,
    /// It is suspended (SIGSTOP), and goes on later where it was.
    #[default]
    Pause,
    /// It is ended and goes back to the queue, no retry used.
    End,
}

/// Gives an enum its wire names in both directions and its list of allowed words.
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// All values, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The allowed words, for messages.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The code in the database: the place in [`Self::ALL`].
            pub const fn code(self) -> i64 {
                self as i64
            }

            /// The value of a code of the database.
            pub fn from_code(code: i64) -> Option<Self> {
                usize::try_from(code).ok().and_then(|i| Self::ALL.get(i).copied())
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "enum": Self::WORDS})
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = ();

            /// Any letter case is accepted.
            fn from_str(word: &str) -> Result<Self, ()> {
                Self::ALL.iter().copied().find(|v| v.as_str().eq_ignore_ascii_case(word)).ok_or(())
            }
        }
    };
}

words!(Priority { Low = "low", Medium = "medium", High = "high", Critical = "critical" });
words!(Status {
    Queued = "queued",
    Running = "running",
    Completed = "completed",
    Failed = "failed",
    Cancelled = "cancelled",
});
words!(Outcome {
    Completed = "completed",
    Failed = "failed",
    TimedOut = "timed_out",
    Cancelled = "cancelled",
    Interrupted = "interrupted",
    Stopped = "stopped",
});
words!(Cause {
    KeeperLost = "keeper_lost",
    Reboot = "reboot",
    Killed = "killed",
    Stopped = "stopped",
    Deadline = "deadline",
    OutOfMemory = "out_of_memory",
    Cancelled = "cancelled",
    TimedOut = "timed_out",
});
words!(Hold { Leave = "leave", Pause = "pause", End = "end" });
words!(RunState { Stopped = "stopped", Running = "running", Stopping = "stopping" });

impl Cause {
    /// Whether nobody ordered it.
    pub const fn is_a_loss(self) -> bool {
        matches!(self, Self::KeeperLost | Self::Reboot | Self::Killed | Self::OutOfMemory)
    }
}

impl Status {
    /// Whether a task in this state has ended.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// The default of `max_retries`.
pub const DEFAULT_MAX_RETRIES: u32 = 3;
/// The most that `max_retries` may be.
pub const MAX_RETRIES_LIMIT: u32 = 1000;
/// The default of `retry_delay`, in milliseconds.
pub const DEFAULT_RETRY_DELAY_MS: i64 = 1000;
/// The default of `max_concurrent`.
pub const DEFAULT_MAX_CONCURRENT: u32 = 5;
/// The most that `max_concurrent` may be.
pub const MAX_CONCURRENT_LIMIT: u32 = 10_000;
/// No delay before a retry is longer than this (before jitter), in milliseconds.
const RETRY_DELAY_CEILING_MS: f64 = 300_000.0;

/// A task as it was asked for: checked, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSpec {
    /// Not empty.
    pub name: String,
    /// The function's name, known or not; not empty.
    pub function: String,
    pub params: Map<String, Value>,
    pub priority: Priority,
    /// 0 to [`MAX_RETRIES_LIMIT`].
    pub max_retries: u32,
    /// What an attempt may take, in milliseconds; above 0.
    pub timeout_ms: Option<i64>,
    /// Before the first retry, in milliseconds.
    pub retry_delay_ms: i64,
    /// Exit codes after which there is no retry.
    pub permanent_exit_codes: Vec<i32>,
    /// Before it may run, in milliseconds; 0 means at once.
    pub delay_ms: i64,
    pub limits: Limits,
}

/// When and how often a failed attempt is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    pub max_retries: u32,
    pub retry_delay_ms: i64,
}

impl RetryPolicy {
    /// Milliseconds before retry number `retry` (from 1): doubles each time up to 300 s, then
    /// ±20 % by `jitter` (from -1 to 1).
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "at most 360,000 ms")]
    pub fn delay_ms(self, retry: u32, jitter: f64) -> i64 {
        let doubled = self.retry_delay_ms as f64 * 2f64.powi(retry.saturating_sub(1).min(64) as i32);
        // A first delay above the ceiling is what the user asked for; only the doubling is bounded.
        let ceiling = RETRY_DELAY_CEILING_MS.max(self.retry_delay_ms as f64);
        (doubled.min(ceiling) * (1.0 + 0.2 * jitter.clamp(-1.0, 1.0))) as i64
    }
}

/// Why an attempt was told to end. Cancel beats every other order; else the first one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// `cancel`.
    Cancel,
    /// The attempt's own time limit.
    Timeout,
    /// `stop` with `graceful: false`, `max_failures`, or `daemon stop`.
    Stop,
    /// The run's deadline.
    Deadline,
}
