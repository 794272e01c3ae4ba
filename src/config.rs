//! The settings: one table from which the file, the environment, the flags, `config` and the guide's reference come.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use toml::Spanned;

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

/// Why there are no settings: the message names the file, the line, the setting and what is allowed.
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
    origins: Vec<Origin>,
}

/// Where a setting's value came from.
#[derive(Debug, Clone)]
pub struct Origin {
    pub name: String,
    pub value: Value,
    pub origin: String,
}

/// One line of the table.
pub struct Setting {
    pub name: &'static str,
    /// What is allowed, for messages and the reference.
    pub allowed: &'static str,
    pub description: &'static str,
    set: fn(&mut Settings, &str) -> Option<()>,
    get: fn(&Settings) -> Value,
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
        name: "request_key_days",
        allowed: "days from 0 to 3650",
        description: "how long a `request_key` is remembered",
        set: |s, text| within(text, 0.0, 3650.0).map(|v| s.request_key_days = v),
        get: |s| json!(s.request_key_days),
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

/// `1048576`, `1MiB`, `1 MiB`.
fn bytes(text: &str, low: u64) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    let value = number.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    (value >= low).then_some(value)
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
            max_request_bytes: 64 << 20,
            max_page_bytes: 16 << 20,
            max_connections: 512,
            output_keep_bytes: 1 << 20,
            log_cap_bytes: 1 << 30,
            request_key_days: 7.0,
            max_interruptions: 5,
            env_pass: env_pass.map(str::to_owned).to_vec(),
            log_level: "info".to_owned(),
            daemon_log_bytes: 8 << 20,
            functions: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionTable {
    command: Vec<String>,
    timeout: Option<f64>,
    max_concurrent: Option<u32>,
}

/// The file's `[functions.NAME]` tables, with the lines of their names; the settings beside them are not looked at.
#[derive(Deserialize)]
struct Functions {
    #[serde(default)]
    functions: BTreeMap<Spanned<String>, FunctionTable>,
}

impl Loaded {
    /// Flag, environment, file, default: the first that says something.
    ///
    /// # Errors
    /// When the file or a value cannot be understood; exit code 78.
    pub fn load(config_flag: Option<&Path>, flags: &Overrides) -> Result<Self, ConfigError> {
        let mut settings = Settings::default();
        let mut origins: BTreeMap<&str, String> = BTreeMap::new();
        if let Some((path, text)) = read_file(config_flag)? {
            apply_file(&mut settings, &mut origins, &path, &text)?;
        }
        for setting in SETTINGS {
            let variable = setting.variable();
            if let Ok(text) = std::env::var(&variable) {
                apply(&mut settings, setting, &text, &variable)?;
                origins.insert(setting.name, format!("environment ({variable})"));
            }
            if let Some(text) = flags.0.get(setting.name) {
                apply(&mut settings, setting, text, &format!("--{}", setting.name.replace('_', "-")))?;
                origins.insert(setting.name, "flag".to_owned());
            }
        }
        let mut origins: Vec<Origin> = SETTINGS
            .iter()
            .map(|setting| Origin {
                name: setting.name.to_owned(),
                value: (setting.get)(&settings),
                origin: origins.remove(setting.name).unwrap_or_else(|| "default".to_owned()),
            })
            .collect();
        origins.extend(settings.functions.iter().map(|(name, function)| Origin {
            name: format!("functions.{name}"),
            value: json!(function.command),
            origin: "file".to_owned(),
        }));
        Ok(Self { settings, origins })
    }

    /// Every setting with its value and origin.
    pub fn origins(&self) -> Vec<Origin> {
        self.origins.clone()
    }
}

fn apply(settings: &mut Settings, setting: &Setting, text: &str, source: &str) -> Result<(), ConfigError> {
    (setting.set)(settings, text)
        .ok_or_else(|| ConfigError(format!("{source} is {text:?}, but must be {}", setting.allowed)))
}

/// The configuration file: named (then it must be there) or at its default place.
fn read_file(flag: Option<&Path>) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let named = flag.map(Path::to_path_buf).or_else(|| set("BATCH_EXECUTOR_CONFIG"));
    let must = named.is_some();
    let folder = || set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let Some(path) = named.or_else(|| folder().map(|folder| folder.join("batch-executor/config.toml"))) else {
        return Ok(None);
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must => Ok(None),
        Err(error) => Err(ConfigError(format!("the configuration `{}` cannot be read: {error}", path.display()))),
    }
}

fn apply_file(
    settings: &mut Settings,
    origins: &mut BTreeMap<&str, String>,
    path: &Path,
    text: &str,
) -> Result<(), ConfigError> {
    let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let at = |offset: usize| format!("{}:{}", path.display(), line_of(offset));
    let unreadable = |error: toml::de::Error| {
        let place = error.span().map_or_else(|| path.display().to_string(), |span| at(span.start));
        ConfigError(format!("{place}: {}", error.message().replace('\n', " ")))
    };
    let table: BTreeMap<Spanned<String>, Spanned<toml::Value>> = toml::from_str(text).map_err(unreadable)?;
    let functions: Functions = toml::from_str(text).map_err(unreadable)?;
    for (name, function) in functions.functions {
        let place = at(name.span().start);
        apply_function(settings, &place, name.into_inner(), function)?;
    }
    for (key, value) in table {
        let place = at(key.span().start);
        let name = key.get_ref().as_str();
        if name == "functions" {
            continue;
        }
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            let near = SETTINGS.iter().map(|s| (strsim::damerau_levenshtein(name, s.name), s.name)).min();
            let near = near.map_or_else(String::new, |(_, near)| format!("; the nearest is `{near}`"));
            return Err(ConfigError(format!("{place}: unknown setting `{name}`{near}")));
        };
        let given = plain(setting, value.get_ref());
        given.and_then(|given| (setting.set)(settings, &given)).ok_or_else(|| {
            let written: Vec<&str> = text.get(value.span()).unwrap_or_default().split_whitespace().collect();
            ConfigError(format!("{place}: `{name}` is {}, but must be {}", written.join(" "), setting.allowed))
        })?;
        origins.insert(setting.name, format!("file ({place})"));
    }
    Ok(())
}

/// A value of the file as the environment would say it; only a list may be a list.
fn plain(setting: &Setting, value: &toml::Value) -> Option<String> {
    let is_list = (setting.get)(&Settings::default()).is_array();
    match value {
        toml::Value::Array(list) if is_list => {
            Some(list.iter().map(toml::Value::as_str).collect::<Option<Vec<_>>>()?.join(","))
        }
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Array(_) | toml::Value::Table(_) | toml::Value::Datetime(_) => None,
        other => (!is_list).then(|| other.to_string()),
    }
}

/// The names that no declaration may take.
const TAKEN: &[&str] = &["simulate", "code_execution", "command", "custom_function"];

fn apply_function(settings: &mut Settings, place: &str, name: String, table: FunctionTable) -> Result<(), ConfigError> {
    let wrong = |what: &str| Err(ConfigError(format!("{place}: `functions.{name}` {what}")));
    if TAKEN.contains(&name.as_str()) {
        return wrong("has the name of a built-in function; choose another");
    }
    if table.command.first().is_none_or(String::is_empty) {
        return wrong("needs a `command`, a list of texts, the program first");
    }
    if table.timeout.is_some_and(|seconds| !(seconds > 0.0 && seconds <= 1e10)) {
        return wrong("has a `timeout` that is not above 0 and at most 1e10 seconds");
    }
    if table.max_concurrent == Some(0) {
        return wrong("has `max_concurrent` 0, but must allow at least 1");
    }
    let FunctionTable { command, timeout, max_concurrent } = table;
    settings.functions.insert(name, UserFunction { command, timeout, max_concurrent });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        apply_file(&mut settings, &mut BTreeMap::new(), Path::new("c.toml"), text).map_err(|error| error.0)?;
        Ok(settings)
    }

    #[test]
    fn a_file_sets_what_it_names() {
        let text =
            "grace = 2\nlog_cap_bytes = \"2MiB\"\nenv_pass = [\"A\", \"B_*\"]\n[functions.f]\ncommand = [\"x\"]\n";
        let settings = file(text).expect("good");
        assert_eq!((settings.grace, settings.log_cap_bytes), (2.0, 2 << 20));
        assert_eq!(settings.env_pass, ["A", "B_*"]);
        assert_eq!(settings.functions["f"].command, ["x"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert!(file("= nonsense").expect_err("refused").starts_with("c.toml:1: "));
        assert_eq!(
            file("\ngracee = 1").expect_err("refused"),
            "c.toml:2: unknown setting `gracee`; the nearest is `grace`"
        );
        assert_eq!(
            file("grace = -1").expect_err("refused"),
            "c.toml:1: `grace` is -1, but must be seconds from 0 to 86400"
        );
        assert!(file("[functions.command]\ncommand = [\"x\"]").expect_err("refused").contains("built-in"));
    }
}
