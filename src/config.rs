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

/// Why there are no settings: the message names the file, the setting and what is allowed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Values that flags gave, by setting.
#[derive(Debug, Clone, Default)]
pub struct Overrides(pub BTreeMap<String, String>);

/// The settings and where each came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
}

/// Where a setting's value came from.
#[derive(Debug, Clone)]
pub struct Origin {
    pub name: String,
    pub value: String,
    pub origin: String,
}

impl Loaded {
    /// Flag, environment, file, default: the first that says something.
    ///
    /// # Errors
    /// When the file or a value cannot be understood.
    pub fn load(_config_flag: Option<&std::path::Path>, _flags: &Overrides) -> Result<Self, ConfigError> {
        Ok(Self {
            settings: Settings {
                grace: 10.0,
                autostart: true,
                max_request_bytes: 64 << 20,
                max_page_bytes: 16 << 20,
                max_connections: 512,
                output_keep_bytes: 1 << 20,
                log_cap_bytes: 1 << 30,
                request_key_days: 7.0,
                max_interruptions: 5,
                env_pass: [
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
                ]
                .map(str::to_owned)
                .to_vec(),
                log_level: "info".to_owned(),
                daemon_log_bytes: 8 << 20,
                functions: BTreeMap::new(),
            },
        })
    }

    /// Every setting with its value and origin.
    pub fn origins(&self) -> Vec<Origin> {
        Vec::new()
    }
}
