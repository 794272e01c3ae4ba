//! What every command has: the home, the settings, the way to the daemon, the way to the user.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use batch_executor::client::{Answer, Client, ClientError, Starter, passed_environment};
use batch_executor::config::{Loaded, Overrides, Settings};
use batch_executor::home::Home;
use batch_executor::platform;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::args::{EnvironmentArgs, Global};
use crate::exit;
use crate::failure::Failure;
use crate::screen::{Screen, say};

/// What every command has.
pub struct Context {
    pub json: bool,
    pub quiet: bool,
    pub home: Home,
    /// The home was given by flag or variable.
    pub own_home: bool,
    pub config: Option<PathBuf>,
    pub settings: Settings,
    autostart: bool,
}

impl Context {
    /// Finds the home and loads the settings.
    ///
    /// # Errors
    /// A bad configuration or no usable home.
    pub fn new(global: &Global) -> Result<Self, Failure> {
        let home = Home::locate(global.home.as_deref())?;
        let settings = Loaded::load(global.config.as_deref(), &Overrides::default())?.settings;
        Ok(Self {
            json: global.json,
            quiet: global.quiet,
            home,
            own_home: global.home.is_some() || std::env::var_os("BATCH_EXECUTOR_HOME").is_some(),
            config: global.config.clone(),
            autostart: settings.autostart && !global.no_autostart,
            settings,
        })
    }

    /// A client that starts the daemon when none answers, unless that was forbidden.
    ///
    /// # Errors
    /// When the path of this program is unknown.
    pub fn client(&self) -> Result<Client, Failure> {
        let starter = if self.autostart { Some(self.starter()?) } else { None };
        Ok(Client::new(self.home.clone(), starter))
    }

    /// A client for commands that never start a daemon.
    pub fn client_of_running(&self) -> Client {
        Client::new(self.home.clone(), None)
    }

    fn starter(&self) -> Result<Starter, Failure> {
        let program = platform::this_program()
            .map_err(|error| Failure::new(exit::INTERNAL, format!("cannot find this program itself: {error}")))?;
        let config = self.config.as_deref().map(std::path::absolute).transpose();
        let config = config.map_err(|error| Failure::file("find", "the working directory", &error))?;
        let warn =
            if self.json || self.quiet { |_: &str| {} } else { |warning: &str| say(&format!("warning: {warning}")) };
        Ok(Starter { program, config, env_pass: self.settings.env_pass.clone(), warn })
    }

    /// One request, its `cwd` added; a refusal is a failure.
    ///
    /// # Errors
    /// A refusal, or no answer.
    pub fn ask(&self, action: &str, parameters: Map<String, Value>) -> Result<Answer, Failure> {
        accepted(self.client()?.call(&request(action, parameters)?))
    }

    /// As [`Self::ask`] for a request that may be sent twice: it only reads, or carries a key.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn ask_until_answered(&self, action: &str, parameters: Map<String, Value>) -> Result<Answer, Failure> {
        accepted(self.client()?.call_until_answered(&request(action, parameters)?))
    }

    /// The environment that goes with the tasks that this client adds.
    ///
    /// # Errors
    /// A name without a value here.
    pub fn environment(&self, args: &EnvironmentArgs) -> Result<BTreeMap<String, String>, Failure> {
        let mut environment = if args.env_all {
            passed_environment(&["*".to_owned()])
        } else {
            passed_environment(&self.settings.env_pass)
        };
        for wanted in &args.env {
            match wanted.split_once('=') {
                Some((name, value)) => environment.insert(name.to_owned(), value.to_owned()),
                None => match std::env::var(wanted) {
                    Ok(value) => environment.insert(wanted.clone(), value),
                    Err(error) => return Err(Failure::usage(format!("--env {wanted}: {error}"))),
                },
            };
        }
        Ok(environment)
    }

    /// Prints an answer: its line with `--json`, nothing with `--quiet`, else what `people` writes.
    /// Warnings go to standard error.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn print(
        &self,
        answer: &Answer,
        people: impl FnOnce(&mut Screen) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut out = Screen::out();
        if self.json {
            out.json(&answer.line)?;
            return Ok(out.flush()?);
        }
        if !self.quiet {
            people(&mut out)?;
            out.flush()?;
        }
        self.warn(answer.response.warnings.as_deref().unwrap_or_default());
        Ok(())
    }

    /// Prints an answer whose message says all.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn print_message(&self, answer: &Answer) -> Result<(), Failure> {
        self.print(answer, |out| Ok(writeln!(out, "{}", answer.response.message.trim_end())?))
    }

    /// Prints an object made here in the shape of an answer, or `people`'s text.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn print_own(
        &self,
        own: &OwnAnswer,
        people: impl FnOnce(&mut Screen) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut out = Screen::out();
        if self.json {
            out.json(&serde_json::to_string(own).map_err(io::Error::from)?)?;
        } else if !self.quiet {
            people(&mut out)?;
        }
        Ok(out.flush()?)
    }

    /// Warnings for a person, on standard error.
    pub fn warn(&self, warnings: &[String]) {
        if !self.json && !self.quiet {
            for warning in warnings {
                say(&format!("warning: {warning}"));
            }
        }
    }

    /// Progress for a person, on standard error.
    pub fn tell(&self, text: &str) {
        if !self.json && !self.quiet {
            say(text);
        }
    }

    /// Whether a bar may be drawn.
    pub fn draws_bars(&self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }
}

/// Prints the id of what was made, for `--quiet`.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_id(id: i64) -> Result<(), Failure> {
    let mut out = Screen::out();
    writeln!(out, "{id}")?;
    Ok(out.flush()?)
}

/// An answer of the program's own, in the shape of the daemon's.
#[derive(Debug, Serialize)]
pub struct OwnAnswer {
    pub ok: bool,
    pub action: &'static str,
    pub message: String,
    pub data: Value,
    pub warnings: Vec<String>,
}

impl OwnAnswer {
    /// An answer that says yes.
    pub fn new(action: &'static str, message: impl Into<String>, data: Value) -> Self {
        Self { ok: true, action, message: message.into(), data, warnings: Vec::new() }
    }
}

/// A request object with this client's working directory.
///
/// # Errors
/// When the working directory has gone or cannot be written as JSON.
pub fn request(action: &str, mut parameters: Map<String, Value>) -> Result<Value, Failure> {
    parameters.insert("action".to_owned(), json!(action));
    parameters.insert("cwd".to_owned(), json!(working_directory()?));
    Ok(Value::Object(parameters))
}

/// The answer, if the daemon did what was asked.
///
/// # Errors
/// A refusal, or no answer.
pub fn accepted(outcome: Result<Answer, ClientError>) -> Result<Answer, Failure> {
    let answer = outcome?;
    if !answer.response.ok {
        return Err(Failure::Refused(Box::new(answer)));
    }
    // This program sends only fields that it knows itself.
    let ignored = answer.response.warnings.iter().flatten().find(|warning| warning.starts_with("unknown field `"));
    match ignored {
        Some(warning) => Err(Failure::ignored(warning)),
        None => Ok(answer),
    }
}

/// What the answer's `data` say.
///
/// # Errors
/// When they are not what this version expects.
pub fn data<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    let data = answer.response.data.as_ref().unwrap_or(&Value::Null);
    T::deserialize(data)
        .map_err(|error| Failure::unexpected(answer.response.action.as_deref().unwrap_or_default(), &error))
}

/// Where in PATH a program is.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_program = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(is_program)
}

/// This client's working directory.
///
/// # Errors
/// When it has gone or is not UTF-8.
pub fn working_directory() -> Result<String, Failure> {
    let path = std::env::current_dir().map_err(|error| Failure::file("find", "the working directory", &error))?;
    path.into_os_string()
        .into_string()
        .map_err(|path| Failure::new(exit::REFUSED, format!("the working directory {} is not UTF-8", path.display())))
}
