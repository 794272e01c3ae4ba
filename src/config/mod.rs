//! The settings: file, environment and flags over the table in `settings.rs`, from which `config` and the guide come too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use toml::Spanned;

use crate::task::{LIMITS, Limits};

mod gates;
mod hooks;
mod secrets;
mod settings;

use secrets::SecretTable;
pub use settings::{Declared, Nodejs, Python, SETTINGS, Setting, Settings, UserFunction};

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
    /// Who said what is not the default.
    said: BTreeMap<&'static str, String>,
}

/// Where a setting's value came from.
#[derive(Debug, Clone)]
pub struct Origin {
    pub name: String,
    pub value: Value,
    pub origin: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionTable {
    command: Vec<String>,
    timeout: Option<f64>,
    max_concurrent: Option<u32>,
    #[serde(default)]
    warm: bool,
    #[serde(default)]
    limits: Map<String, Value>,
}

/// The file's tables, with the lines of their names; the settings beside them are not looked at.
#[derive(Deserialize)]
struct Tables {
    #[serde(default)]
    functions: BTreeMap<Spanned<String>, FunctionTable>,
    #[serde(default)]
    secrets: BTreeMap<Spanned<String>, SecretTable>,
    #[serde(default)]
    runtimes: RuntimesTable,
    #[serde(default)]
    gates: BTreeMap<Spanned<String>, toml::Value>,
    #[serde(default)]
    hooks: BTreeMap<Spanned<String>, toml::Table>,
}

/// `[runtimes]`: what makes an interpreter start faster.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RuntimesTable {
    python: Option<Spanned<Python>>,
    nodejs: Option<Nodejs>,
}

impl Loaded {
    /// Flag, environment, file, default: the first that says something.
    ///
    /// # Errors
    /// When the file or a value cannot be understood; exit code 78.
    pub fn load(config_flag: Option<&Path>, flags: &Overrides) -> Result<Self, ConfigError> {
        let mut settings = Settings::default();
        let mut said = BTreeMap::new();
        if let Some((path, text)) = read_file(config_flag)? {
            apply_file(&mut settings, &mut said, &path, &text)?;
        }
        for setting in SETTINGS {
            let variable = setting.variable();
            if let Ok(text) = std::env::var(&variable) {
                apply(&mut settings, setting, &text, &variable)?;
                said.insert(setting.name, format!("environment ({variable})"));
            }
            if let Some(text) = flags.0.get(setting.name) {
                apply(&mut settings, setting, text, &format!("--{}", setting.name.replace('_', "-")))?;
                said.insert(setting.name, "flag".to_owned());
            }
        }
        Ok(Self { settings, said })
    }

    /// Every setting with its value and origin.
    pub fn origins(&self) -> Vec<Origin> {
        let Self { settings, said } = self;
        let mut origins: Vec<Origin> = SETTINGS
            .iter()
            .map(|setting| Origin {
                name: setting.name.to_owned(),
                value: (setting.get)(settings),
                origin: said.get(setting.name).cloned().unwrap_or_else(|| "default".to_owned()),
            })
            .collect();
        origins.extend(settings.functions.iter().map(|(name, function)| Origin {
            name: format!("functions.{name}"),
            value: json!(function.command),
            origin: "file".to_owned(),
        }));
        origins.extend(settings.secrets.iter().map(|(name, source)| Origin {
            name: format!("secrets.{name}"),
            value: secrets::shown(source),
            origin: "file".to_owned(),
        }));
        origins.extend(settings.gates.iter().map(|gate| Origin {
            name: format!("gates.{}", gate.name),
            value: json!(gate.rule.to_string()),
            origin: "file".to_owned(),
        }));
        origins.extend(settings.hooks.iter().map(|hook| Origin {
            name: format!("hooks.{}", hook.name),
            value: hooks::shown(hook),
            origin: "file".to_owned(),
        }));
        if settings.python != Python::default() {
            let Python { warm, imports } = &settings.python;
            let value = json!({"warm": warm, "imports": imports});
            origins.push(Origin { name: "runtimes.python".to_owned(), value, origin: "file".to_owned() });
        }
        if settings.nodejs != Nodejs::default() {
            let Nodejs { warm } = &settings.nodejs;
            let value = json!({"warm": warm});
            origins.push(Origin { name: "runtimes.nodejs".to_owned(), value, origin: "file".to_owned() });
        }
        origins
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
    said: &mut BTreeMap<&'static str, String>,
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
    let tables: Tables = toml::from_str(text).map_err(unreadable)?;
    for (name, function) in tables.functions {
        let place = at(name.span().start);
        apply_function(settings, &place, name.into_inner(), function)?;
    }
    for (name, secret) in tables.secrets {
        let place = at(name.span().start);
        let source =
            secret.source().map_err(|what| ConfigError(format!("{place}: `secrets.{}` {what}", name.get_ref())))?;
        settings.secrets.insert(name.into_inner(), source);
    }
    if let Some(python) = tables.runtimes.python {
        let place = at(python.span().start);
        settings.python = python.into_inner();
        let is_name =
            |name: &String| name.split('.').all(|part| !part.is_empty() && !part.contains(char::is_whitespace));
        if let Some(name) = settings.python.imports.iter().find(|name| !is_name(name)) {
            return Err(ConfigError(format!(
                "{place}: `runtimes.python.imports` has {name:?}, which is no module's name"
            )));
        }
    }
    settings.nodejs = tables.runtimes.nodejs.unwrap_or_default();
    settings.gates = gates::gates(tables.gates, at)?;
    settings.hooks = hooks::hooks(tables.hooks, &settings.secrets, at)?;
    for (key, value) in table {
        let place = at(key.span().start);
        let name = key.get_ref().as_str();
        if ["functions", "gates", "hooks", "secrets", "runtimes"].contains(&name) {
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
        said.insert(setting.name, format!("file ({place})"));
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
    let limits = match Limits::read(&table.limits) {
        Ok((limits, unknown)) if unknown.is_empty() => limits,
        Ok((_, unknown)) => {
            return wrong(&format!("has the unknown limit `{}`; they are {}", unknown[0], LIMITS.join(", ")));
        }
        Err(error) => return wrong(&format!("is not understood: {error}")),
    };
    let FunctionTable { command, timeout, max_concurrent, warm, .. } = table;
    settings.functions.insert(name, UserFunction { command, timeout, max_concurrent, limits, warm });
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
