//! The program `batch-executor`: the companion CLI, and the daemon as one of its commands.
#![cfg_attr(all(target_os = "linux", target_env = "gnu", not(test)), no_main)]

mod args;
mod commands;
mod complete;
mod context;
mod exit;
mod failure;
mod interrupt;
mod linked;
mod logging;
#[cfg(feature = "mcp")]
mod mcp;
mod params;
mod quoting;
mod report;
mod request_key;
mod screen;
mod tasks_file;
mod top;
mod views;

use batch_executor::visible::visible;

use clap::CommandFactory;

use crate::args::Cli;
use crate::failure::Failure;
use crate::screen::{Screen, say};

const HELP: &str = "batch-executor --help";

#[cfg(not(all(target_os = "linux", target_env = "gnu", not(test))))]
fn main() -> std::process::ExitCode {
    program().into()
}

/// The whole program; gives its exit code.
fn program() -> u8 {
    if complete::answered() {
        return exit::DONE;
    }
    let cli = match Cli::typed() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let json = cli.global.json;
    let Some(command) = cli.command else {
        let help = || Cli::command().print_long_help().map(|()| exit::DONE).map_err(Failure::from);
        return report(if json { Err(Failure::usage("which command?").hint(HELP)) } else { help() }, json);
    };
    logging::start(cli.global.verbose, &command);
    report(commands::dispatch(&cli.global, command), json)
}

/// A command line that is not understood, or a wish for help or the version.
fn misused(error: &clap::Error) -> u8 {
    let json = std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json");
    if !json || !error.use_stderr() {
        let plain = error.to_string();
        if visible(&plain) == plain {
            // When nobody reads it, the exit code still says it.
            drop(error.print());
        } else {
            say(plain.trim_end());
        }
        return if error.use_stderr() { exit::USAGE } else { exit::DONE };
    }
    let text = error.to_string();
    let said = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    report(Err(Failure::usage(said).hint(HELP)), true)
}

/// Says why it failed, if it did, and gives the exit code.
fn report(outcome: Result<u8, Failure>, json: bool) -> u8 {
    let failure = match outcome {
        Ok(code) => return code,
        Err(failure) => failure,
    };
    if matches!(failure, Failure::OutputClosed) {
        return exit::DONE;
    }
    if json {
        // When nobody reads it, the exit code still says it.
        drop(Screen::out().json(&failure.json()));
    } else {
        let (message, hint) = failure.text();
        say(&format!("batch-executor: {message}"));
        if let Some(hint) = hint {
            say(&format!("hint: {hint}"));
        }
    }
    failure.exit()
}
