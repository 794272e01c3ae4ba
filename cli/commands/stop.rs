//! `stop`: start no more tasks.

use clap::Args;
use serde_json::{Map, json};

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;

/// Flags of `stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// End running tasks too; they go back to the queue, no retry used
    #[arg(long, conflicts_with = "graceful")]
    now: bool,
    /// Whether running tasks may finish
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value_t = true,
          action = clap::ArgAction::Set)]
    graceful: bool,
    /// Return only when nothing runs
    #[arg(long)]
    wait: bool,
}

/// Stops the executor.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &StopArgs) -> Result<u8, Failure> {
    let mut request = Map::new();
    request.insert("graceful".to_owned(), json!(args.graceful && !args.now));
    request.insert("wait".to_owned(), json!(args.wait));
    context.print_message(&context.ask("stop", request)?)?;
    Ok(exit::DONE)
}
