//! Hooks: a command or an HTTP request that tells somebody that a batch has ended, a task has failed, nothing is left to do, a gate
//! has closed, or the daemon has come back after a crash.
//!
//! What the configuration declares is here; `template` fills in what is told, `message` is what is told, both pure. In the daemon
//! `source` reads what has happened, `gather` says what each hook is to tell of it, `runner` has the queue write that down and tells
//! it, `deliver` and `http` do the telling. A delivery is written down in the transaction that moves on in the events, so none is lost
//! or made twice; it is told at least once, for a daemon may die between telling and writing that it has.

#[cfg(feature = "daemon")]
mod deliver;
#[cfg(feature = "daemon")]
mod gather;
#[cfg(feature = "daemon")]
mod http;
#[cfg(feature = "daemon")]
mod message;
#[cfg(feature = "daemon")]
mod runner;
#[cfg(feature = "daemon")]
mod source;
pub mod template;

use std::time::Duration;

use serde_json::Value;

#[cfg(feature = "daemon")]
pub use runner::Hooks;

/// The default of `timeout`.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// The default of `attempts`.
pub const DEFAULT_ATTEMPTS: u32 = 5;

/// A declared hook.
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    pub name: String,
    /// What it tells of; not empty.
    pub on: Vec<On>,
    pub to: Target,
    pub body: Body,
    /// How long one attempt to tell may take.
    pub timeout: Duration,
    /// How often it is tried; at least once.
    pub attempts: u32,
    /// Between two deliveries of the same event; none: as the event has it.
    pub at_most_every: Option<Duration>,
}

impl Hook {
    /// How long what happens is gathered after a delivery, in ms.
    pub fn gathers_ms(&self, event: On) -> i64 {
        let usual = Duration::from_secs(if event == On::TaskFailed { 10 } else { 0 });
        i64::try_from(self.at_most_every.unwrap_or(usual).as_millis()).unwrap_or(i64::MAX)
    }
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// All tasks of a batch have ended.
    BatchEnded,
    /// A task has failed for good.
    TaskFailed,
    /// Nothing is queued or running any more.
    Idle,
    /// A gate has closed.
    GateClosed,
    /// The daemon is back after a crash.
    Crashed,
}

impl On {
    /// Every event, in the order of the documentation.
    pub const ALL: &[Self] = &[Self::BatchEnded, Self::TaskFailed, Self::Idle, Self::GateClosed, Self::Crashed];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BatchEnded => "batch_ended",
            Self::TaskFailed => "task_failed",
            Self::Idle => "idle",
            Self::GateClosed => "gate_closed",
            Self::Crashed => "crashed",
        }
    }

    /// The event of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|on| on.as_str() == word)
    }
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A program with its arguments, in which fields are filled in.
    Command(Vec<String>),
    /// An address that takes a POST.
    Http { url: Given, headers: Vec<(String, Given)> },
}

/// A text of the configuration, or the name of one of its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    Plain(String),
    Secret(String),
}

impl std::fmt::Display for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(text) => f.write_str(text),
            Self::Secret(name) => write!(f, "the secret `{name}`"),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(argv) => f.write_str(&argv.join(" ")),
            Self::Http { url, .. } => url.fmt(f),
        }
    }
}

/// What is sent, with fields filled in.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// All that is told, as a JSON object.
    Whole,
    Json(Value),
    Text(String),
}
