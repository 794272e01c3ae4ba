//! What the named functions mean: checks at `add`, the process to start, the result to keep.
//!
//! A file per function. Nothing here starts a process or touches the queue; the only I/O is looking
//! up programs and writing long code to `HOME/run/`.

use std::path::PathBuf;

pub use crate::attempt::{Attempt, Environment};

/// What running an attempt means.
#[derive(Debug)]
pub enum Work {
    Process(Box<Process>),
    /// A timer; after it the attempt fails if `fails`.
    Simulate {
        duration_ms: i64,
        fails: bool,
    },
    /// Cannot be run at all: one attempt without a process, failed, no retry.
    Unrunnable {
        error: String,
    },
}

/// A process to start.
#[derive(Debug, Default)]
pub struct Process {
    /// Absolute.
    pub program: PathBuf,
    /// With the zeroth.
    pub argv: Vec<String>,
    pub cwd: PathBuf,
    /// On top of the daemon's own and the request's environment: `params.env`, `BATCH_EXECUTOR_*`, …
    pub env: Vec<(String, String)>,
    pub stdin: Vec<u8>,
    /// Gets a pipe for its value (stream 3 of the output), whose number is in `BATCH_EXECUTOR_VALUE_FD`.
    pub value_pipe: bool,
    /// A file under `HOME/run/` to unlink when the attempt has ended.
    pub script: Option<PathBuf>,
    /// The attempt's own time limit, where the function's declaration sets a shorter one.
    pub timeout_ms: Option<i64>,
}
