//! The settings: one table from which the file, the environment, the flags, `config` and the guide's reference come.

use std::collections::BTreeMap;

/// A function that the user declared under `[functions.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct UserFunction {
    /// Program and arguments; not empty.
    pub command: Vec<String>,
    /// Seconds an attempt may take.
    pub timeout: Option<f64>,
    /// How many may run at once, within the executor's own cap.
    pub max_concurrent: Option<u32>,
}

/// The effective settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Seconds between SIGTERM and SIGKILL.
    pub grace: f64,
    /// Whether a client starts a daemon when none answers.
    pub autostart: bool,
    /// The longest request line, in bytes.
    pub max_request_bytes: u64,
    /// Where a page of `results` ends early, in bytes.
    pub max_page_bytes: u64,
    /// Connections at once; one more is answered `busy`.
    pub max_connections: u32,
    /// Bytes of each stream that the result keeps.
    pub output_keep_bytes: u64,
    /// The cap of an attempt's log file, in bytes.
    pub log_cap_bytes: u64,
    /// How long a `request_key` is remembered, in days.
    pub request_key_days: f64,
    /// The number of interruptions at which a task fails.
    pub max_interruptions: u32,
    /// Names of the client's environment that go with its tasks; a final `*` matches the rest of a name.
    pub env_pass: Vec<String>,
    /// A `tracing` filter.
    pub log_level: String,
    /// The size at which `HOME/daemon.log` is rotated, in bytes.
    pub daemon_log_bytes: u64,
    pub functions: BTreeMap<String, UserFunction>,
}
