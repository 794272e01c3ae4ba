//! `service`: the daemon under the service manager of this machine. Here is what a person asks for; `manager` finds out which manager
//! there is, `files` writes and removes, and each manager's own file says what it wants.

mod files;
mod manager;
mod openrc;
mod runit;
mod systemd;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use batch_executor::client::Connection;
use batch_executor::platform;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::context::{Context, OwnAnswer};
use crate::exit;
use crate::failure::Failure;
use crate::quoting::command_line;
use files::{File, State};
use manager::Manager;

/// How long the manager may take to see what was written; runsvdir(8) looks every five seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// Flags of `service`.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    #[command(subcommand)]
    action: ServiceAction,
    /// systemd, runit, openrc or termux [default: the one that is here]
    #[arg(long, global = true, value_name = "MANAGER")]
    manager: Option<Manager>,
    /// For the machine, not for this user (systemd)
    #[arg(long, global = true)]
    system: bool,
}

/// What to do with it.
#[derive(Debug, Subcommand)]
enum ServiceAction {
    /// Write what the manager wants, and start it
    Install {
        /// Show what would be written and run, and do nothing
        #[arg(long)]
        dry_run: bool,
        /// Replace files that somebody changed
        #[arg(long)]
        force: bool,
        /// Started by the first client, not at once (systemd)
        #[arg(long)]
        on_demand: bool,
    },
    /// End it, and remove what was written
    Uninstall {
        /// Show what would be run and removed, and do nothing
        #[arg(long)]
        dry_run: bool,
        /// Remove files that somebody changed
        #[arg(long)]
        force: bool,
    },
    /// Whether it is installed, and what the manager says of it
    Status,
    /// What the daemon logged
    Logs {
        /// Go on as it logs
        #[arg(long, short)]
        follow: bool,
    },
}

/// What a service is made of.
#[derive(Debug)]
pub struct Plan {
    files: Vec<File>,
    /// What the manager makes when it has seen them, if it is not told of them.
    seen: Option<PathBuf>,
    /// A folder of the service alone, in which the manager keeps things of its own; it goes as a whole.
    folder: Option<PathBuf>,
    /// Commands that start it, once the files are there, and that end it before they go.
    start: Vec<Vec<String>>,
    end: Vec<Vec<String>>,
    /// Shows how it is, and what it logged; the words that make that go on.
    status: Vec<String>,
    logs: Vec<String>,
    follow: &'static str,
    /// What a person should know.
    notes: Vec<String>,
}

/// What a service runs.
#[derive(Debug)]
pub struct Daemon {
    program: String,
    /// A home that is not where the program would look for it.
    home: Option<String>,
    user: String,
    on_demand: bool,
}

/// Installs it, removes it, or shows how it is.
///
/// # Errors
/// What [`Failure`] says; exit 4 when a file was changed by somebody.
pub fn run(context: &Context, args: &ServiceArgs) -> Result<u8, Failure> {
    let manager = args.manager.map_or_else(Manager::here, Ok)?;
    let on_demand = matches!(args.action, ServiceAction::Install { on_demand: true, .. });
    if (args.system || on_demand) && manager != Manager::Systemd {
        return Err(Failure::usage("--system and --on-demand are for systemd"));
    }
    let plan = manager.plan(&daemon(context, args.system, on_demand)?, args.system)?;
    match &args.action {
        ServiceAction::Install { dry_run, force, .. } => install(context, &plan, *dry_run, *force),
        ServiceAction::Uninstall { dry_run, force } => uninstall(context, &plan, *dry_run, *force),
        ServiceAction::Status => status(context, &plan),
        ServiceAction::Logs { follow } => shown(&plan.logs, follow.then_some(plan.follow)),
    }
}

fn daemon(context: &Context, system: bool, on_demand: bool) -> Result<Daemon, Failure> {
    let program = platform::this_program()
        .and_then(std::path::absolute)
        .map_err(|error| Failure::file("find", "this program", &error))?;
    let text = |path: PathBuf| {
        let path = path.into_os_string().into_string();
        path.map_err(|path| Failure::usage(format!("the path {} is not UTF-8", path.display())))
    };
    let sudo = std::env::var("SUDO_USER").ok().filter(|_| system);
    Ok(Daemon {
        program: text(program)?,
        home: if context.own_home && !system { Some(text(context.home.root().to_owned())?) } else { None },
        // Managers that want a user take its number, too, where nobody knows its name.
        user: sudo.or_else(platform::user_name).unwrap_or_else(|| nix::unistd::geteuid().to_string()),
        on_demand,
    })
}

fn install(context: &Context, plan: &Plan, dry_run: bool, force: bool) -> Result<u8, Failure> {
    if dry_run {
        return dry(context, "service_install", plan, &plan.start);
    }
    files::unchanged(&plan.files, force)?;
    if plan.files.iter().any(|file| file.state() == State::Missing) {
        nobody_serves(context)?;
    }
    for file in &plan.files {
        file.write()?;
    }
    let mut said: Vec<String> = plan.files.iter().map(|file| format!("wrote {}", file.path.display())).collect();
    if let Some(seen) = &plan.seen {
        wait_for(seen)?;
    }
    for command in &plan.start {
        carry_out(command)?;
        said.push(format!("ran {}", command_line(command)));
    }
    said.extend(plan.notes.iter().cloned());
    told(context, "service_install", &said)
}

fn uninstall(context: &Context, plan: &Plan, dry_run: bool, force: bool) -> Result<u8, Failure> {
    if dry_run {
        return dry(context, "service_uninstall", plan, &plan.end);
    }
    files::unchanged(&plan.files, force)?;
    let there: Vec<&File> = plan.files.iter().filter(|file| file.state() != State::Missing).collect();
    if there.is_empty() {
        return told(context, "service_uninstall", &["it is not installed; nothing was done".to_owned()]);
    }
    let mut said = Vec::new();
    for command in &plan.end {
        // It may not run, or not be known any more: the files go all the same.
        match carry_out(command) {
            Ok(()) => said.push(format!("ran {}", command_line(command))),
            Err(failure) => said.push(format!("warning: {}", failure.text().0)),
        }
    }
    for file in there {
        file.remove()?;
        said.push(format!("removed {}", file.path.display()));
    }
    if let Some(folder) = plan.folder.as_ref().filter(|folder| folder.exists()) {
        std::fs::remove_dir_all(folder).map_err(|error| Failure::file("remove", &folder.to_string_lossy(), &error))?;
        said.push(format!("removed {}", folder.display()));
    }
    said.push("The queue stays where it is.".to_owned());
    told(context, "service_uninstall", &said)
}

fn status(context: &Context, plan: &Plan) -> Result<u8, Failure> {
    let states: Vec<String> =
        plan.files.iter().map(|file| format!("{}: {}", file.path.display(), file.state().word())).collect();
    told(context, "service_status", &states)?;
    if plan.files.iter().all(|file| file.state() == State::Missing) {
        return Ok(exit::NOT_FOUND);
    }
    shown(&plan.status, None)
}

/// One that a client started would hold the home, and the manager's own would end at once.
fn nobody_serves(context: &Context) -> Result<(), Failure> {
    match Connection::connect(&context.home) {
        Ok(connection) => {
            let pid = connection.peer_pid().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            let said = format!("a daemon serves `{}` already{pid}; nothing was done", context.home.root().display());
            Err(Failure::new(exit::REFUSED, said).hint(
                "batch-executor daemon stop, then install again: what runs goes back to the queue and runs again",
            ))
        }
        Err(_) => Ok(()),
    }
}

/// Says what would be done.
fn dry(context: &Context, action: &'static str, plan: &Plan, commands: &[Vec<String>]) -> Result<u8, Failure> {
    let mut said = Vec::new();
    for file in &plan.files {
        said.push(format!("# {} ({})", file.path.display(), file.state().word()));
        if action == "service_install" {
            said.push(file.contents());
        }
    }
    said.extend(commands.iter().map(|command| format!("$ {}", command_line(command))));
    said.extend(plan.notes.iter().map(|note| format!("# {note}")));
    told(context, action, &said)
}

fn told(context: &Context, action: &'static str, said: &[String]) -> Result<u8, Failure> {
    let answer = OwnAnswer::new(action, said.join("\n"), json!({ "said": said }));
    context.print_own(&answer, |out| writeln!(out, "{}", answer.message))?;
    Ok(exit::DONE)
}

/// Waits until the manager has seen what was written; nothing tells of it.
fn wait_for(seen: &Path) -> Result<(), Failure> {
    let give_up = Instant::now() + PATIENCE;
    while !seen.exists() {
        if Instant::now() >= give_up {
            let said =
                format!("the manager has not seen what was written within {PATIENCE:?}: no `{}`", seen.display());
            return Err(
                Failure::new(exit::REFUSED, said).hint("is runsvdir running, and does it look after that folder?")
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Runs a command of the manager; its words are its user's.
fn carry_out(command: &[String]) -> Result<(), Failure> {
    let run = |error: &dyn std::fmt::Display| {
        let line = command_line(command);
        Failure::new(exit::REFUSED, format!("`{line}` failed: {error}"))
            .hint("what was written is there; put right what is in the way and run it again")
    };
    let [program, arguments @ ..] = command else { return Ok(()) };
    let status = Command::new(program).args(arguments).status().map_err(|error| run(&error))?;
    if status.success() { Ok(()) } else { Err(run(&status)) }
}

/// Runs a command that shows something, and ends as it does.
fn shown(command: &[String], more: Option<&str>) -> Result<u8, Failure> {
    let [program, arguments @ ..] = command else { return Ok(exit::DONE) };
    let status = Command::new(program).args(more).args(arguments).status();
    let status = status.map_err(|error| Failure::file("run", program, &error))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::INTERNAL))
}
