//! `demo`: the program at work on a throw-away home, each command as a person could type it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use batch_executor::platform::this_program;
use clap::Args;

use crate::exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::quoting::command_line;
use crate::screen::Screen;

/// `demo` has no flags of its own.
#[derive(Debug, Args)]
pub struct DemoArgs {}

/// The tasks of the demonstration, in the form of a file.
const TASKS: &str = r#"{"name": "demo", "tasks": [
  {"name": "resize photo 1", "function": "simulate", "params": {"duration": 0.4}},
  {"name": "resize photo 2", "function": "simulate", "params": {"duration": 0.6}},
  {"name": "fails once", "function": "simulate", "params": {"duration": 0.1, "fail": 1}, "retry_delay": 0.2},
  {"name": "never works", "function": "simulate", "params": {"duration": 0.1, "fail": true}, "max_retries": 1,
   "retry_delay": 0.2, "priority": "high"}
]}
"#;

/// What is shown: what for, the words, and the exit codes that belong to it.
const STEPS: &[(&str, &[&str], &[u8])] = &[
    ("a command becomes a task; its output is kept", &["add", "--", "echo", "hello from a task"], &[0]),
    ("a file of tasks becomes a batch", &["add-batch", "tasks.json"], &[0]),
    ("nothing runs until it is told to: at most two at once", &["start", "--max-concurrent", "2"], &[0]),
    ("how far it is", &["status"], &[0]),
    ("wait for all; one of them is made to fail, so the exit code is 1", &["wait", "--timeout", "15"], &[1]),
    ("what they came to", &["results"], &[0]),
    ("what the first one wrote", &["logs", "1"], &[0]),
    ("why one failed, attempt by attempt", &["show", "5"], &[0]),
    ("keep the results", &["export", "--output-file", "results.csv"], &[0]),
    ("clean up what has ended", &["clear"], &[0]),
];

/// Shows it; at the end the daemon has ended and the home is gone.
///
/// # Errors
/// A step that went otherwise than shown here, or an interruption.
pub fn run(_args: &DemoArgs) -> Result<u8, Failure> {
    let folder = tempfile::Builder::new()
        .prefix("bx-demo-")
        .tempdir()
        .map_err(|error| Failure::file("make", "a temporary folder", &error))?;
    let program = this_program().map_err(|error| Failure::file("find", "this program", &error))?;
    let interrupt = Interrupt::install()?;
    let stage = Stage { program, folder: folder.path().to_owned() };
    let tasks = stage.folder.join("tasks.json");
    std::fs::write(&tasks, TASKS).map_err(|error| Failure::file("write", &tasks.to_string_lossy(), &error))?;
    tell("a throw-away home, so that nothing of yours is touched")?;
    typed(&format!("export BATCH_EXECUTOR_HOME={}", stage.home().display()))?;
    tell("some tasks in a file")?;
    typed(&format!("cat tasks.json\n{}", TASKS.trim_end()))?;
    for (purpose, words, expected) in STEPS {
        tell(purpose)?;
        let code = stage.show(words)?;
        if let Some(signal) = interrupt.taken() {
            return Err(Failure::interrupted(signal, "batch-executor demo"));
        }
        if !code.is_some_and(|code| expected.contains(&code)) {
            let line = command_line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
            let ended = code.map_or_else(|| "by a signal".to_owned(), |code| format!("with exit code {code}"));
            return Err(Failure::new(exit::INTERNAL, format!("`batch-executor {line}` ended {ended}")));
        }
    }
    tell("and the daemon ends; with your own home it starts again with the next command")?;
    stage.show(&["daemon", "stop"])?;
    Ok(exit::DONE)
}

/// Where the demonstration takes place. When it is over, so is its daemon.
struct Stage {
    program: PathBuf,
    folder: PathBuf,
}

impl Stage {
    fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// Prints a command as it could be typed and runs it, with its real output.
    fn show(&self, words: &[&str]) -> Result<Option<u8>, Failure> {
        let line = command_line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        typed(&format!("batch-executor {line}"))?;
        let status = command(&self.program, &self.folder, &self.home(), words)
            .status()
            .map_err(|error| Failure::file("run", &self.program.to_string_lossy(), &error))?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let mut stop = command(&self.program, &self.folder, &self.home(), &["daemon", "stop", "--grace", "0"]);
        // After a whole demonstration there is none left to stop, and that is what it says.
        drop(stop.stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

fn command(program: &Path, folder: &Path, home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words).env("BATCH_EXECUTOR_HOME", home).current_dir(folder).stdin(Stdio::null());
    command
}

fn tell(purpose: &str) -> Result<(), Failure> {
    let mut out = Screen::out();
    writeln!(out, "\n# {purpose}")?;
    Ok(out.flush()?)
}

fn typed(line: &str) -> Result<(), Failure> {
    let mut out = Screen::out();
    writeln!(out, "$ {line}")?;
    Ok(out.flush()?)
}
