//! What the named functions mean: checks at `add`, the process to start, the result to keep.
//!
//! Nothing here starts a process or touches the queue; the only I/O is looking up programs and writing
//! long code to `HOME/run/`.

mod check;
mod interpret;
mod lookup;
mod prepare;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

pub use check::check;
pub use interpret::{answered, interpret};
pub use prepare::{Context, prepare};

pub use crate::attempt::{Attempt, Environment};
use crate::config::UserFunction;
use crate::protocol::{FunctionInfo, ParamInfo};
use crate::secret::Wanted;
use crate::task::{Limits, Prepared};

/// The built-in functions.
pub const BUILT_IN: &[&str] = &["simulate", "code_execution", "command", "custom_function"];
/// The runtimes of `code_execution`.
pub const RUNTIMES: &[&str] = &["python", "nodejs", "terminal"];

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
    pub limits: Limits,
    /// What may be there before it.
    pub prepared: Option<Prepared>,
    /// Variables whose values are read when it starts.
    pub secrets: Vec<Wanted>,
    /// The attempt's own time limit, where the function's declaration sets a shorter one.
    pub timeout_ms: Option<i64>,
}

/// The known functions with their parameters, for the action `functions`.
pub fn known(functions: &BTreeMap<String, UserFunction>) -> Vec<FunctionInfo> {
    let param = |name: &str, kind: &str, default: Value, description: &str| ParamInfo {
        name: name.to_owned(),
        r#type: kind.to_owned(),
        default,
        description: description.to_owned(),
    };
    let surroundings = || {
        vec![
            param("cwd", "text", Value::Null, "working directory; default: the client's at `add`"),
            param(
                "env",
                "object",
                json!({}),
                "variables on top of the environment; a value is text or {\"secret\": \"NAME\"}",
            ),
            param("stdin", "text", Value::Null, "what the process reads"),
        ]
    };
    let with = |mut own: Vec<ParamInfo>| {
        own.extend(surroundings());
        own
    };
    let function = |name: &str, description: &str, params| FunctionInfo {
        name: name.to_owned(),
        description: description.to_owned(),
        params,
    };
    let mut all = vec![
        function(
            "simulate",
            "waits, without a process; for trying things out",
            vec![
                param("duration", "number", json!(1.0), "seconds"),
                param("fail", "true, false or number", json!(false), "fail always, or so many attempts"),
            ],
        ),
        function(
            "code_execution",
            "runs code in an interpreter found in PATH",
            with(vec![
                param("runtime", "text", Value::Null, "python, nodejs or terminal; required"),
                param("code", "text", Value::Null, "the program; required"),
            ]),
        ),
        function(
            "command",
            "runs a program, without a shell in between",
            with(vec![param("argv", "list of texts", Value::Null, "the program and its arguments; required")]),
        ),
        function(
            "custom_function",
            "calls `process(**args)` of Python code; its return value, as JSON, is the result",
            with(vec![
                param("code", "text", Value::Null, "Python that defines `process(...)`; required"),
                param("args", "object", json!({}), "keyword arguments"),
            ]),
        ),
    ];
    all.extend(functions.iter().map(|(name, declared)| {
        function(name, &format!("declared in the configuration: {}", declared.command.join(" ")), Vec::new())
    }));
    all
}
