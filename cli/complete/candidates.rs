//! What the running daemon knows: its tasks, batches and functions.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use batch_executor::client::Connection;
use batch_executor::filter::FIELDS;
use batch_executor::home::Home;
use batch_executor::protocol::{Functions, StatusData};
use batch_executor::task::Status;
use batch_executor::visible::visible_line;
use clap_complete::engine::CompletionCandidate;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::views::tasks::Column;

/// How long a person at the prompt waits for a daemon that does not answer.
const PATIENCE: Duration = Duration::from_millis(300);
/// How much of a name is shown, in characters.
const SHOWN: usize = 60;
/// The states of tasks, those that people mean most first, and the commands that are only for some of them.
const STATES: &[(Status, &[&str])] = &[
    (Status::Running, &["cancel", "wait"]),
    (Status::Queued, &["cancel", "wait", "update"]),
    (Status::Failed, &["retry"]),
    (Status::Completed, &[]),
    (Status::Cancelled, &["retry"]),
];
const ONLY_SOME: &[&str] = &["cancel", "wait", "update", "retry"];

/// Task ids: those that run, those that are next, those that ended last.
pub fn tasks(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(StatusData { tasks: Some(mut tasks), .. }) = ask(json!({"action": "status", "detailed": true})) else {
        return Vec::new();
    };
    let command = words().find(|word| ONLY_SOME.contains(&word.as_str()));
    let is_meant = |commands: &[&str]| command.as_ref().is_none_or(|command| commands.contains(&command.as_str()));
    let states = STATES.iter().filter(|(_, commands)| is_meant(commands)).map(|(state, _)| state);
    let found = states.flat_map(|state| tasks.remove(state).unwrap_or_default());
    // People write 12 or task_12.
    let prefix = if typed.to_string_lossy().starts_with('t') { "task_" } else { "" };
    let ids = found.map(|task| {
        let about = format!("{}: {}", task.status, visible_line(&task.name));
        described(format!("{prefix}{}", task.task_id), &about)
    });
    beginning_with(typed, ids)
}

/// The ids of the latest batches.
pub fn batches(typed: &OsStr) -> Vec<CompletionCandidate> {
    let status: Option<StatusData> = ask(json!({"action": "status", "detailed": true}));
    let ids = status.and_then(|status| status.batches).into_iter().flatten().map(|batch| {
        let left = batch.counts.queued + batch.counts.running;
        let about = format!("{left} of {} left: {}", batch.counts.total, visible_line(&batch.name.unwrap_or_default()));
        described(batch.batch_id.to_string(), about.trim_end_matches([' ', ':']))
    });
    beginning_with(typed, ids)
}

/// The names of functions.
pub fn functions(typed: &OsStr) -> Vec<CompletionCandidate> {
    let known: Option<Functions> = ask(json!({"action": "functions"}));
    let functions = known.into_iter().flat_map(|known| known.functions);
    beginning_with(typed, functions.map(|function| described(function.name, &visible_line(&function.description))))
}

/// The fields of filters.
pub fn fields() -> Vec<CompletionCandidate> {
    FIELDS.iter().map(|field| described(field.name.to_owned(), &field.about.replace('`', ""))).collect()
}

/// The columns of `results`.
pub fn columns() -> Vec<CompletionCandidate> {
    Column::ALL.iter().map(|column| CompletionCandidate::new(column.name())).collect()
}

fn described(value: String, about: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(about.chars().take(SHOWN).collect::<String>().into()))
}

fn beginning_with(typed: &OsStr, found: impl Iterator<Item = CompletionCandidate>) -> Vec<CompletionCandidate> {
    let typed = typed.as_encoded_bytes();
    found.filter(|candidate| candidate.get_value().as_encoded_bytes().starts_with(typed)).collect()
}

/// The data of an answer of the daemon that runs now, if it comes in time.
fn ask<T: DeserializeOwned + Send + 'static>(request: Value) -> Option<T> {
    let (tell, told) = mpsc::channel();
    // Whatever hangs (a stopped daemon, a home on a network), the shell does not.
    std::thread::spawn(move || tell.send(answer(&request)));
    told.recv_timeout(PATIENCE).ok()?
}

fn answer<T: DeserializeOwned>(request: &Value) -> Option<T> {
    let home = Home::locate(typed_home().as_deref()).ok()?;
    // A connection to a socket that a service manager holds would start the daemon.
    let pid = std::fs::read_to_string(home.lock()).ok()?;
    let name = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("comm")).ok()?;
    if name.trim_end() != super::PROGRAM {
        return None;
    }
    let answer = Connection::connect(&home).ok()?.call(request).ok()?;
    serde_json::from_value(answer.response.data?).ok()
}

/// The words of the line that is typed.
fn words() -> impl Iterator<Item = String> {
    std::env::args_os().skip_while(|word| word != "--").skip(1).map(|word| word.to_string_lossy().into_owned())
}

/// The home that the line names.
fn typed_home() -> Option<PathBuf> {
    let mut words = words();
    let home = words.find_map(|word| word.strip_prefix("--home").map(ToOwned::to_owned))?;
    let home = match home.strip_prefix('=') {
        Some(value) => value.to_owned(),
        // Bash makes words of their own of `=` and what follows.
        None => words.find(|word| word != "=")?,
    };
    match home.strip_prefix("~/") {
        Some(below) => std::env::home_dir().map(|folder| folder.join(below)),
        None => Some(home.into()),
    }
}
