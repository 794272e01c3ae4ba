//! The command line: what is global, what several commands share, and the list of commands.
//!
//! A command's own flags are beside its code, in `commands/`. Ranges and words are the daemon's to
//! check, so that a wrong value is refused in the same sentence wherever it comes from.

use std::ffi::OsString;
use std::path::PathBuf;

use batch_executor::task::TaskId;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::commands::{
    add, add_batch, backup, call, cancel, clear, completions, config, daemon, demo, doctor, export, functions, hooks,
    keeper, logs, man, metrics, pause, report, results, retry, run, selftest, service, show, start, status, stop, top,
    update, wait, watch,
};
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  batch-executor run tasks.json --max-concurrent 4     add, start, watch, wait, sum up
  batch-executor add -- python3 train.py --lr 0.1      one command as a task
  batch-executor start --keep                          run what is queued, and what will come
  batch-executor status                                how far it is
  batch-executor top                                   watch it live, and act on it
  batch-executor logs 12 -f                            what task 12 writes, as it writes it
  batch-executor results --filter-status failed --json | jq '.data.tasks[].error'
  batch-executor retry --filter-status failed          try those again
  batch-executor demo                                  see all of it on a throw-away home

Exit codes: 0 done, 1 a task failed or was cancelled (run, wait), 2 wrong usage, 3 not found, 4 refused,
69 no daemon, 70 internal, 74 storage, 75 try again, 76 version mismatch, 77 not allowed, 78 bad configuration,
124 --timeout ran out, 130/143 interrupted (the tasks go on).";

/// A persistent job daemon: hand it a million tasks, say how many may run at once, go to bed.
#[derive(Debug, Parser)]
#[command(name = "batch-executor", version = batch_executor::version::VERSION, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print the response object on standard output, and nothing else
    #[arg(long, global = true)]
    pub json: bool,
    /// Print ids alone, or nothing
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// The folder with the queue [default: $BATCH_EXECUTOR_HOME, else ~/.local/share/batch-executor]
    #[arg(long, global = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// The configuration [default: $BATCH_EXECUTOR_CONFIG, else ~/.config/batch-executor/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Fail with exit code 69 instead of starting a daemon
    #[arg(long, global = true)]
    pub no_autostart: bool,
    /// Say more on standard error; twice: even more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add the tasks of a file, run them, show progress, wait, sum up: the main job in one command
    Run(run::RunArgs),
    /// Add one task
    Add(Box<add::AddArgs>),
    /// Add the tasks of a file
    AddBatch(add_batch::AddBatchArgs),
    /// Run what is queued
    Start(start::StartArgs),
    /// Let running tasks finish and start no more
    Stop(stop::StopArgs),
    /// Start nothing more for now, and suspend what runs: the executor, a batch, tasks
    Pause(pause::PauseArgs),
    /// Let what is paused go on
    Resume(pause::ResumeArgs),
    /// How far it is
    Status(status::StatusArgs),
    /// Watch it live, full-screen: what runs, what waits, what fails; and act on it
    Top(top::TopArgs),
    /// The tasks and what they came to
    Results(results::ResultsArgs),
    /// One task, with every attempt and why it ended
    Show(show::ShowArgs),
    /// What a task wrote
    Logs(logs::LogsArgs),
    /// Change queued tasks
    Update(update::UpdateArgs),
    /// Write the results to a file
    Export(export::ExportArgs),
    /// How it went: one page with charts, failures and all tasks; or Markdown
    Report(report::ReportArgs),
    /// Copy the queue to a file, while it is in use
    Backup(backup::BackupArgs),
    /// Remove tasks that have ended
    Clear(clear::ClearArgs),
    /// End running tasks and take queued ones out
    Cancel(cancel::CancelArgs),
    /// Put failed or cancelled tasks back into the queue
    Retry(retry::RetryArgs),
    /// Wait until tasks have ended
    Wait(wait::WaitArgs),
    /// What happens, a line of JSON each
    Watch(watch::WatchArgs),
    /// The functions that tasks may name
    Functions(functions::FunctionsArgs),
    /// Serve agents: a Model Context Protocol server on standard input and output
    #[cfg(feature = "mcp")]
    Mcp,
    /// Send a request as JSON and print the response
    Call(call::CallArgs),
    /// Be the daemon, in the foreground; or end it, replace it, ask for it
    Daemon(daemon::DaemonArgs),
    /// Own the processes of the tasks (started by the daemon)
    #[command(hide = true)]
    Keeper(keeper::KeeperArgs),
    /// Read the secrets of an attempt (started by the keeper)
    #[command(hide = true)]
    ReadSecrets,
    /// The effective settings and where each came from
    Config(config::ConfigArgs),
    /// Who is told when something happens, and how that went
    Hooks(hooks::HooksArgs),
    /// How the queue stands, for Prometheus
    Metrics(metrics::MetricsArgs),
    /// Check what the promises rest on, and say what to do
    Doctor(doctor::DoctorArgs),
    /// Break a throw-away daemon on this machine on purpose, and see whether the promises hold
    Selftest(selftest::SelftestArgs),
    /// See it work, live, on a throw-away home
    Demo(demo::DemoArgs),
    /// A completion script for a shell
    Completions(completions::CompletionsArgs),
    /// The manual's pages
    Man(man::ManArgs),
    /// Run the daemon under this machine's service manager
    Service(service::ServiceArgs),
}

/// `add` alone: to define the flags of all commands takes longer than to add a task.
#[derive(Debug, Parser)]
#[command(name = "batch-executor")]
struct Adding {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: AddAlone,
}

#[derive(Debug, Subcommand)]
enum AddAlone {
    Add(Box<add::AddArgs>),
}

impl Cli {
    /// The command line that was typed. What is not a plain `add` is for the whole definition: it has all the help.
    ///
    /// # Errors
    /// When it is not understood, or asks for help or the version.
    pub fn typed() -> Result<Self, clap::Error> {
        let words = || std::env::args_os().skip(1);
        if let Some(cli) = add_of_command(words()) {
            return Ok(cli);
        }
        if words().next().is_some_and(|word| word == "add")
            && let Ok(Adding { global, command: AddAlone::Add(args) }) = Adding::try_parse()
        {
            return Ok(Self { global, command: Some(Command::Add(args)) });
        }
        Self::try_parse()
    }
}

/// `add -- CMD` with at most `--json` or `--quiet` before the dashes, as it stands in loops: its flags need no definition, which
/// takes 0.1 ms of the 1.5 of an `add` (docs/performance.md).
fn add_of_command(mut words: impl Iterator<Item = OsString>) -> Option<Cli> {
    if words.next()? != "add" {
        return None;
    }
    let mut global = Global::default();
    loop {
        match words.next()?.to_str()? {
            "--" => break,
            "--json" if !global.json => global.json = true,
            "--quiet" | "-q" if !global.quiet => global.quiet = true,
            _ => return None,
        }
    }
    let command = words.map(|word| word.into_string().ok()).collect::<Option<Vec<_>>>()?;
    (!command.is_empty()).then(|| Cli { global, command: Some(Command::Add(Box::new(command.into()))) })
}

/// What goes with added tasks from this environment.
#[derive(Debug, Clone, Default, Args)]
pub struct EnvironmentArgs {
    /// Pass one more variable, or set one
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Pass the whole environment (it is stored in the queue)
    #[arg(long)]
    pub env_all: bool,
}

/// Variables that take a secret of the configuration when the task starts.
#[derive(Debug, Clone, Default, Args)]
pub struct SecretArgs {
    /// Set a variable to a secret of the configuration, read when the task starts and masked in what it writes
    #[arg(long, value_name = "VARIABLE=SECRET")]
    secret: Vec<String>,
}

impl SecretArgs {
    /// Adds them to the `env` of parameters or defaults. False: none was given.
    ///
    /// # Errors
    /// One that is not `VARIABLE=SECRET`.
    pub fn insert_into(&self, holder: &mut Map<String, Value>) -> Result<bool, Failure> {
        for pair in &self.secret {
            let Some((variable, name)) = pair.split_once('=').filter(|(v, n)| !v.is_empty() && !n.is_empty()) else {
                return Err(Failure::usage(format!("--secret must be VARIABLE=SECRET, not `{pair}`")));
            };
            // An `env` that is no object is the daemon's to refuse.
            if let Value::Object(env) = holder.entry("env").or_insert_with(|| json!({})) {
                env.insert(variable.to_owned(), json!({ "secret": name }));
            }
        }
        Ok(!self.secret.is_empty())
    }
}

/// The fields of a task that several commands set.
#[derive(Debug, Clone, Default, Args)]
pub struct TaskFields {
    /// low, medium, high or critical
    #[arg(long, value_name = "P")]
    pub priority: Option<String>,
    /// How often a failed attempt is tried again [default: 3]
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    pub max_retries: Option<Value>,
    /// Seconds that an attempt may take; none: any time
    #[arg(long, value_name = "S", value_parser = number_or_none, allow_negative_numbers = true)]
    pub timeout: Option<Value>,
    /// Seconds before the first retry; doubles each time [default: 1]
    #[arg(long, value_name = "S", value_parser = number, allow_negative_numbers = true)]
    pub retry_delay: Option<Value>,
    /// Seconds before it may run
    #[arg(long, value_name = "S", value_parser = number, allow_negative_numbers = true)]
    pub delay: Option<Value>,
}

impl TaskFields {
    /// Adds the given ones to a task or request.
    pub fn insert_into(&self, fields: &mut Map<String, Value>) {
        insert(fields, "priority", self.priority.as_ref());
        insert(fields, "max_retries", self.max_retries.as_ref());
        insert(fields, "timeout", self.timeout.as_ref());
        insert(fields, "retry_delay", self.retry_delay.as_ref());
        insert(fields, "delay", self.delay.as_ref());
    }
}

/// Tasks by id.
#[derive(Debug, Clone, Default, Args)]
pub struct TaskIds {
    /// Task ids: 12 or task_12
    #[arg(value_name = "ID", value_parser = task_id)]
    ids: Vec<TaskId>,
    /// The same, separated by commas
    #[arg(long, visible_alias = "task-id", value_name = "IDS", value_delimiter = ',', value_parser = task_id)]
    task_ids: Vec<TaskId>,
}

impl TaskIds {
    /// All that were given.
    pub fn all(&self) -> Vec<TaskId> {
        self.ids.iter().chain(&self.task_ids).copied().collect()
    }

    /// As `task_id` when it is one, so that an unknown one is an error; else as `task_ids`. False: none was given.
    pub fn insert_into(&self, request: &mut Map<String, Value>) -> bool {
        match self.all().as_slice() {
            [] => return false,
            [one] => request.insert("task_id".to_owned(), json!(one)),
            several => request.insert("task_ids".to_owned(), json!(several)),
        };
        true
    }
}

/// Adds a parameter if it was given.
pub fn insert(parameters: &mut Map<String, Value>, name: &str, value: Option<impl Serialize>) {
    if let Some(value) = value {
        parameters.insert(name.to_owned(), json!(value));
    }
}

/// A task id as people write it.
///
/// # Errors
/// When it is none.
pub fn task_id(text: &str) -> Result<TaskId, String> {
    text.strip_prefix("task_").unwrap_or(text).parse().map_err(|_| "a task id looks like 12 or task_12".to_owned())
}

/// Any JSON number; its range is the daemon's to check.
///
/// # Errors
/// When it is none.
pub fn number(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text.strip_prefix('+').unwrap_or(text)) {
        Ok(value @ Value::Number(_)) => Ok(value),
        // JSON wants a digit before the point; people do not.
        _ => text
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| "a number is needed".to_owned()),
    }
}

/// Any JSON number, or `none` for an explicit null.
///
/// # Errors
/// When it is neither.
pub fn number_or_none(text: &str) -> Result<Value, String> {
    if ["none", "null"].contains(&text) { Ok(Value::Null) } else { number(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_alone_is_understood_as_by_the_definition() {
        for (line, plain) in [
            (&["add", "--", "true"][..], true),
            (&["add", "-q", "--", "echo", "--json", "--", ""], true),
            (&["add", "--json", "--quiet", "--", "-x"], true),
            (&["add", "--priority", "high", "--", "true"], false),
            (&["add", "name", "--", "true"], false),
            (&["add", "-qq", "--", "true"], false),
            (&["add", "--"], false),
            (&["add"], false),
            (&["run", "--", "true"], false),
        ] {
            let understood = add_of_command(line.iter().map(OsString::from));
            assert_eq!(understood.is_some(), plain, "{line:?}");
            if let Some(understood) = understood {
                let defined = Cli::try_parse_from([&["batch-executor"], line].concat()).expect("a valid command line");
                assert_eq!(format!("{understood:?}"), format!("{defined:?}"));
            }
        }
    }

    #[test]
    fn numbers_as_people_write_them() {
        assert_eq!(number("5"), Ok(json!(5)));
        assert_eq!(number("-1"), Ok(json!(-1)));
        assert_eq!(number(".5"), Ok(json!(0.5)));
        assert_eq!(number_or_none("none"), Ok(Value::Null));
        assert!(number("many").is_err() && number("inf").is_err() && number("NaN").is_err());
    }

    #[test]
    fn ids_in_any_form() {
        assert_eq!(task_id("12"), Ok(12));
        assert_eq!(task_id("task_12"), Ok(12));
        assert!(task_id("twelve").is_err());
    }

    #[test]
    fn one_id_is_not_a_list() {
        let mut request = Map::new();
        assert!(TaskIds { ids: vec![3], task_ids: vec![] }.insert_into(&mut request));
        assert_eq!(Value::Object(request), json!({"task_id": 3}));
        let mut request = Map::new();
        assert!(TaskIds { ids: vec![3], task_ids: vec![4] }.insert_into(&mut request));
        assert_eq!(Value::Object(request), json!({"task_ids": [3, 4]}));
    }
}
