//! The table of settings: name, what is allowed, default. Where values come from is the room's `mod.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cgroup;
use crate::gate::Gate;
use crate::hooks::Hook;
use crate::secret::Source;
use crate::task::{self, Limits, Prepared};

/// A function that the user declared under `[functions.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct UserFunction {
    /// Program and arguments; not empty.
    pub command: Vec<String>,
    /// Seconds an attempt may take.
    pub timeout: Option<f64>,
    /// How many may run at once, within the executor's own cap.
    pub max_concurrent: Option<u32>,
    /// Of its tasks, where they do not set their own.
    pub limits: Limits,
    /// Whether a process takes one task after the other.
    pub warm: bool,
}

/// What is declared under `[runtimes.python]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Python {
    /// Whether tasks run in forks of a prepared interpreter.
    pub warm: bool,
    /// The modules that it has imported.
    pub imports: Vec<String>,
}

impl Python {
    /// What is there before a task in Python, where that is wanted.
    pub fn prepared(&self) -> Option<Prepared> {
        self.warm.then(|| Prepared::Forks { imports: self.imports.clone() })
    }
}

/// What is declared under `[runtimes.nodejs]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nodejs {
    /// Whether tasks run in processes that were started ahead.
    pub warm: bool,
}

impl Nodejs {
    /// What is there before a task in Node.js, where that is wanted.
    pub fn prepared(&self) -> Option<Prepared> {
        self.warm.then_some(Prepared::Ahead)
    }
}

/// The effective settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Seconds between SIGTERM and SIGKILL.
    pub grace: f64,
    /// Whether a client starts a daemon when none answers.
    pub autostart: bool,
    /// Whether Android's wake lock is held while there is work.
    pub wake_lock: bool,
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
    /// What must stay free on the home's disk, in bytes.
    pub min_free_bytes: u64,
    /// How long a `request_key` is remembered, in days.
    pub request_key_days: f64,
    /// How long a completed task is kept, in days; none: for ever.
    pub keep_completed_days: Option<f64>,
    /// How many completed tasks are kept; none: all.
    pub keep_completed_count: Option<u32>,
    /// How many events are kept for those who watch.
    pub keep_events: u32,
    /// The number of interruptions at which a task fails.
    pub max_interruptions: u32,
    /// Names of the client's environment that go with its tasks; a final `*` matches the rest of a name.
    pub env_pass: Vec<String>,
    /// Where tasks get control groups of their own.
    pub cgroups: cgroup::Wanted,
    /// Where the metrics are kept for node_exporter; none: nowhere.
    pub metrics_file: Option<PathBuf>,
    /// A `tracing` filter.
    pub log_level: String,
    /// The size at which `HOME/daemon.log` is rotated, in bytes.
    pub daemon_log_bytes: u64,
    pub functions: BTreeMap<String, UserFunction>,
    /// Where the values of secrets come from.
    pub secrets: BTreeMap<String, Source>,
    pub python: Python,
    pub nodejs: Nodejs,
    /// Conditions under which nothing starts.
    pub gates: Vec<Gate>,
    /// Who is told when something happens.
    pub hooks: Vec<Hook>,
}

/// What a configuration declares beside its settings.
#[derive(Debug, Clone, Copy)]
pub struct Declared<'a> {
    pub functions: &'a BTreeMap<String, UserFunction>,
    pub secrets: &'a BTreeMap<String, Source>,
    pub python: &'a Python,
    pub nodejs: &'a Nodejs,
}

impl Settings {
    /// What is declared beside the settings.
    pub const fn declared(&self) -> Declared<'_> {
        let Self { functions, secrets, python, nodejs, .. } = self;
        Declared { functions, secrets, python, nodejs }
    }
}

/// One line of the table.
pub struct Setting {
    pub name: &'static str,
    /// What is allowed, for messages and the reference.
    pub allowed: &'static str,
    pub description: &'static str,
    pub(super) set: fn(&mut Settings, &str) -> Option<()>,
    pub(super) get: fn(&Settings) -> Value,
}

impl Setting {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("BATCH_EXECUTOR_{}", self.name.to_uppercase())
    }
}

const BYTES: &str = "a number of bytes, 1KiB, 1MiB or 1GiB at a time";

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "grace",
        allowed: "seconds from 0 to 86400",
        description: "between SIGTERM and SIGKILL: stop, cancel, timeout, `daemon stop`",
        set: |s, text| within(text, 0.0, 86_400.0).map(|v| s.grace = v),
        get: |s| json!(s.grace),
    },
    Setting {
        name: "autostart",
        allowed: "true or false",
        description: "whether a client starts a daemon when none answers",
        set: |s, text| text.parse().ok().map(|v| s.autostart = v),
        get: |s| json!(s.autostart),
    },
    Setting {
        name: "wake_lock",
        allowed: "true or false",
        description: "on Termux: whether the wake lock is held while there is work, and released after it",
        set: |s, text| text.parse().ok().map(|v| s.wake_lock = v),
        get: |s| json!(s.wake_lock),
    },
    Setting {
        name: "max_request_bytes",
        allowed: BYTES,
        description: "the longest request line",
        set: |s, text| bytes(text, 1024).map(|v| s.max_request_bytes = v),
        get: |s| json!(s.max_request_bytes),
    },
    Setting {
        name: "max_page_bytes",
        allowed: BYTES,
        description: "where a page of `results` ends early",
        set: |s, text| bytes(text, 1024).map(|v| s.max_page_bytes = v),
        get: |s| json!(s.max_page_bytes),
    },
    Setting {
        name: "max_connections",
        allowed: "a whole number from 1 to 100000",
        description: "connections at once; one more is answered `busy`",
        set: |s, text| count(text, 1, 100_000).map(|v| s.max_connections = v),
        get: |s| json!(s.max_connections),
    },
    Setting {
        name: "output_keep_bytes",
        allowed: BYTES,
        description: "what a result keeps of each stream, head and tail",
        set: |s, text| bytes(text, 0).map(|v| s.output_keep_bytes = v),
        get: |s| json!(s.output_keep_bytes),
    },
    Setting {
        name: "log_cap_bytes",
        allowed: BYTES,
        description: "the cap of an attempt's log file",
        set: |s, text| bytes(text, 64 * 1024).map(|v| s.log_cap_bytes = v),
        get: |s| json!(s.log_cap_bytes),
    },
    Setting {
        name: "min_free_bytes",
        allowed: BYTES,
        description: "what must stay free on the home's disk: below it nothing is added or started; at most an eighth of the disk, 0 is no floor",
        set: |s, text| bytes(text, 0).map(|v| s.min_free_bytes = v),
        get: |s| json!(s.min_free_bytes),
    },
    Setting {
        name: "request_key_days",
        allowed: "days from 0 to 3650",
        description: "how long a `request_key` is remembered",
        set: |s, text| within(text, 0.0, 3650.0).map(|v| s.request_key_days = v),
        get: |s| json!(s.request_key_days),
    },
    Setting {
        name: "keep_completed_days",
        allowed: "days above 0 to 36500, or none",
        description: "how long a completed task is kept; then it is removed as `clear` does",
        set: |s, text| {
            or_none(text, |text| within(text, f64::MIN_POSITIVE, 36_500.0)).map(|v| s.keep_completed_days = v)
        },
        get: |s| s.keep_completed_days.map_or_else(|| json!("none"), |v| json!(v)),
    },
    Setting {
        name: "keep_completed_count",
        allowed: "a whole number from 1 to 4000000000, or none",
        description: "how many completed tasks are kept, the latest; up to 100 more while tasks run",
        set: |s, text| or_none(text, |text| count(text, 1, 4_000_000_000)).map(|v| s.keep_completed_count = v),
        get: |s| s.keep_completed_count.map_or_else(|| json!("none"), |v| json!(v)),
    },
    Setting {
        name: "keep_events",
        allowed: "a whole number from 1000 to 100000000",
        description: "how many events are kept for `watch`, the latest; a few hundred more meanwhile",
        set: |s, text| count(text, 1000, 100_000_000).map(|v| s.keep_events = v),
        get: |s| json!(s.keep_events),
    },
    Setting {
        name: "max_interruptions",
        allowed: "a whole number from 1 to 1000",
        description: "the number of interruptions at which a task fails",
        set: |s, text| count(text, 1, 1000).map(|v| s.max_interruptions = v),
        get: |s| json!(s.max_interruptions),
    },
    Setting {
        name: "env_pass",
        allowed: "names, a final * matches the rest; a list in the file, with commas elsewhere",
        description: "the client's variables that go with its tasks",
        set: |s, text| {
            s.env_pass = text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
            Some(())
        },
        get: |s| json!(s.env_pass),
    },
    Setting {
        name: "cgroups",
        allowed: "auto, off, or a folder of the control groups",
        description: "where each task gets a control group of its own",
        set: |s, text| text.parse().ok().map(|v| s.cgroups = v),
        get: |s| json!(s.cgroups.to_string()),
    },
    Setting {
        name: "metrics_file",
        allowed: "an absolute path, or none",
        description: "a file of metrics for node_exporter, written when something has changed, every 15 s at most",
        set: |s, text| {
            or_none(text, |text| Some(PathBuf::from(text)).filter(|path| path.is_absolute()))
                .map(|v| s.metrics_file = v)
        },
        get: |s| s.metrics_file.as_ref().map_or_else(|| json!("none"), |path| json!(path)),
    },
    Setting {
        name: "log_level",
        allowed: "a tracing filter such as info or batch_executor=debug",
        description: "what the daemon logs",
        set: |s, text| text.parse::<tracing_subscriber::EnvFilter>().ok().map(|_| text.clone_into(&mut s.log_level)),
        get: |s| json!(s.log_level),
    },
    Setting {
        name: "daemon_log_bytes",
        allowed: BYTES,
        description: "the size at which HOME/daemon.log is begun anew",
        set: |s, text| bytes(text, 4096).map(|v| s.daemon_log_bytes = v),
        get: |s| json!(s.daemon_log_bytes),
    },
];

fn within(text: &str, low: f64, high: f64) -> Option<f64> {
    text.parse().ok().filter(|v| (low..=high).contains(v))
}

fn count(text: &str, low: u32, high: u32) -> Option<u32> {
    text.parse().ok().filter(|v| (low..=high).contains(v))
}

/// A value, or `none`.
fn or_none<T>(text: &str, value: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text == "none" { Some(None) } else { value(text).map(Some) }
}

fn bytes(text: &str, low: u64) -> Option<u64> {
    task::bytes(text).filter(|value| *value >= low)
}

impl Default for Settings {
    fn default() -> Self {
        let env_pass = [
            "PATH",
            "LANG",
            "LC_*",
            "TZ",
            "VIRTUAL_ENV",
            "CONDA_PREFIX",
            "PYTHONPATH",
            "NODE_PATH",
            "LD_LIBRARY_PATH",
            "LD_PRELOAD",
            "PREFIX",
            "TMPDIR",
        ];
        Self {
            grace: 10.0,
            autostart: true,
            wake_lock: false,
            max_request_bytes: 64 << 20,
            max_page_bytes: 16 << 20,
            max_connections: 512,
            output_keep_bytes: 1 << 20,
            log_cap_bytes: 1 << 30,
            min_free_bytes: 64 << 20,
            request_key_days: 7.0,
            keep_completed_days: None,
            keep_completed_count: None,
            keep_events: 100_000,
            max_interruptions: 5,
            env_pass: env_pass.map(str::to_owned).to_vec(),
            cgroups: cgroup::Wanted::Auto,
            metrics_file: None,
            log_level: "info".to_owned(),
            daemon_log_bytes: 8 << 20,
            functions: BTreeMap::new(),
            secrets: BTreeMap::new(),
            python: Python::default(),
            nodejs: Nodejs::default(),
            gates: Vec::new(),
            hooks: Vec::new(),
        }
    }
}
