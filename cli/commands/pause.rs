//! `pause` and `resume`: the executor, a batch, or tasks.

use clap::Args;
use serde_json::{Map, Value};

use crate::args::{TaskIds, insert};
use crate::context::Context;
use crate::exit;
use crate::failure::Failure;

/// Flags of `pause`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  batch-executor pause                      nothing starts, and what runs is suspended, until `resume`
  batch-executor pause --running leave      nothing starts; what runs goes on to its end
  batch-executor pause --batch-id 3         this batch alone, and what is added to it
  batch-executor pause 12 13                these tasks alone

A suspended process (SIGSTOP) keeps its memory and its slot; its time limit stands still. The daemon may end and
the machine may boot: what is paused stays paused.")]
pub struct PauseArgs {
    #[command(flatten)]
    tasks: TaskIds,
    /// All of this batch that have not ended, and those that come
    #[arg(long, value_name = "ID")]
    batch_id: Option<i64>,
    /// What becomes of what runs: pause (SIGSTOP), leave, or end (back in the queue, no retry used) [default: pause]
    #[arg(long, value_name = "HOW")]
    running: Option<String>,
}

/// Flags of `resume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  batch-executor resume                     the executor goes on
  batch-executor resume --batch-id 3        the tasks of this batch go on
  batch-executor resume 12                  this task goes on")]
pub struct ResumeArgs {
    #[command(flatten)]
    tasks: TaskIds,
    /// All of this batch
    #[arg(long, value_name = "ID")]
    batch_id: Option<i64>,
}

/// Pauses.
///
/// # Errors
/// What [`Failure`] says.
pub fn pause(context: &Context, args: &PauseArgs) -> Result<u8, Failure> {
    let mut request = about(&args.tasks, args.batch_id);
    insert(&mut request, "running", args.running.as_ref());
    context.print_message(&context.ask("pause", request)?)?;
    Ok(exit::DONE)
}

/// Lets go on.
///
/// # Errors
/// What [`Failure`] says.
pub fn resume(context: &Context, args: &ResumeArgs) -> Result<u8, Failure> {
    context.print_message(&context.ask("resume", about(&args.tasks, args.batch_id))?)?;
    Ok(exit::DONE)
}

/// Tasks, a batch, or neither: the executor.
fn about(tasks: &TaskIds, batch_id: Option<i64>) -> Map<String, Value> {
    let mut request = Map::new();
    tasks.insert_into(&mut request);
    insert(&mut request, "batch_id", batch_id);
    request
}
