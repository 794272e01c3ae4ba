//! The program `batch-executor`: the companion CLI, and the daemon as one of its commands.

mod args;
mod commands;
mod context;
mod exit;
mod failure;
mod interrupt;
mod logging;
mod params;
mod quoting;
mod request_key;
mod tasks_file;
mod views;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::Cli;
use crate::failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.global.json;
    let Some(command) = cli.command else {
        return report(Cli::command().print_long_help().map(|()| exit::DONE).map_err(Failure::from), json);
    };
    logging::start(cli.global.verbose, &command);
    report(commands::dispatch(&cli.global, command), json)
}

/// Says why it failed, if it did, and gives the exit code.
fn report(outcome: Result<u8, Failure>, json: bool) -> ExitCode {
    let failure = match outcome {
        Ok(code) => return ExitCode::from(code),
        Err(failure) => failure,
    };
    if matches!(failure, Failure::OutputClosed) {
        return ExitCode::from(exit::DONE);
    }
    if json {
        // When nobody reads it, the exit code still says it.
        drop(writeln!(std::io::stdout(), "{}", failure.json()));
    } else {
        let (message, hint) = failure.text();
        context::say(&format!("batch-executor: {message}"));
        if let Some(hint) = hint {
            context::say(&format!("hint: {hint}"));
        }
    }
    ExitCode::from(failure.exit())
}
