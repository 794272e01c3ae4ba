//! `daemon`: be it, end it, replace it, ask for it.

use std::time::{Duration, Instant};

use batch_executor::client::process::Identity;
use batch_executor::client::{ClientError, Connection};
use batch_executor::protocol::StatusData;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::serve::{self, ServeArgs};
use crate::args::{insert, number};
use crate::context::{Context, OwnAnswer, accepted, data, request};
use crate::exit;
use crate::failure::Failure;
use crate::views::text;

/// Flags of `daemon`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DaemonArgs {
    #[command(subcommand)]
    action: Option<DaemonAction>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// What to do with the running daemon; none of these starts one.
#[derive(Debug, Subcommand)]
enum DaemonAction {
    /// End it: running tasks go back to the queue, the executor's state is kept
    Stop {
        /// Seconds between SIGTERM and SIGKILL [default: the setting grace]
        #[arg(long, value_name = "S", value_parser = number, allow_negative_numbers = true)]
        grace: Option<Value>,
    },
    /// Its pid, version, uptime and home
    Status,
    /// Replace it by the program now installed, under running tasks
    Restart,
}

/// Runs the daemon, or does something with the one that runs.
///
/// # Errors
/// What [`Failure`] says; exit 69 when there is none to stop or ask.
pub fn run(context: &Context, args: &DaemonArgs) -> Result<u8, Failure> {
    match &args.action {
        None => serve::run(context, &args.serve),
        Some(DaemonAction::Stop { grace }) => stop(context, grace.as_ref()),
        Some(DaemonAction::Status) => status(context),
        Some(DaemonAction::Restart) => restart(context),
    }
}

/// Returns when the new program serves.
fn restart(context: &Context) -> Result<u8, Failure> {
    let asked = Instant::now();
    let mut client = context.client_of_running();
    accepted(client.call(&request("restart", Map::new())?))?;
    let status = loop {
        let answer = accepted(client.call_until_answered(&json!({"action": "status"})))?;
        let status: StatusData = data(&answer)?;
        // The program before may still have answered; it has been up for longer.
        if status.uptime < asked.elapsed().as_secs_f64() {
            break status;
        }
        pause();
    };
    let message =
        format!("the daemon was replaced: now version {}, pid {}; running tasks go on.", status.version, status.pid);
    let data = json!({"pid": status.pid, "version": status.version, "protocol": status.protocol});
    let answer = OwnAnswer::new("restart", message, data);
    context.print_own(&answer, |out| writeln!(out, "{}", answer.message))?;
    Ok(exit::DONE)
}

fn stop(context: &Context, grace: Option<&Value>) -> Result<u8, Failure> {
    let status = accepted(context.client_of_running().call_until_answered(&json!({"action": "status"})))?;
    let daemon = Identity::of(data::<StatusData>(&status)?.pid);
    let lives = || daemon.is_some_and(Identity::lives);
    let mut parameters = Map::new();
    insert(&mut parameters, "grace", grace);
    let request = request("shutdown", parameters)?;
    let answer = loop {
        match Connection::connect(&context.home).and_then(|mut connection| connection.call(&request)) {
            // It is just being replaced by another program, or on its way out already.
            Err(ClientError::Lost(_) | ClientError::Unreachable { .. }) if lives() => pause(),
            Err(ClientError::Lost(_) | ClientError::Unreachable { .. }) => break None,
            outcome => break Some(accepted(outcome)?),
        }
    };
    while lives() {
        pause();
    }
    match answer {
        Some(answer) => context.print_message(&answer)?,
        None => {
            let answer = OwnAnswer::new("shutdown", "the daemon has ended", json!({}));
            context.print_own(&answer, |out| writeln!(out, "{}", answer.message))?;
        }
    }
    Ok(exit::DONE)
}

/// Between two looks at a process that is about to end.
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

fn status(context: &Context) -> Result<u8, Failure> {
    let answer = accepted(context.client_of_running().call(&json!({"action": "status"})))?;
    context.print(&answer, |out| {
        let status: StatusData = data(&answer)?;
        writeln!(out, "pid      {}", status.pid)?;
        writeln!(out, "version  {} (protocol {})", status.version, status.protocol)?;
        writeln!(out, "uptime   {}", text::seconds(status.uptime))?;
        Ok(writeln!(out, "home     {}", status.home)?)
    })?;
    Ok(exit::DONE)
}
