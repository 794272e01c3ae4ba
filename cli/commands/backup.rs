//! `backup`: a copy of the queue.

use clap::Args;
use serde_json::{Map, json};

use super::export::check_target;
use crate::context::Context;
use crate::exit;
use crate::failure::Failure;

/// Flags of `backup`.
#[derive(Debug, Args)]
#[command(after_help = "To restore it into a home where no daemon runs:
  rm -f HOME/queue.db-*; install -D -m 600 FILE HOME/queue.db")]
pub struct BackupArgs {
    /// The file to write
    file: String,
    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
}

/// Copies the queue.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &BackupArgs) -> Result<u8, Failure> {
    if args.file == "-" {
        return Err(Failure::usage("a backup needs a file, and cannot go to standard output"));
    }
    check_target(context, &args.file)?;
    let request =
        Map::from_iter([("output_file".to_owned(), json!(args.file)), ("overwrite".to_owned(), json!(args.overwrite))]);
    context.print_message(&context.ask("backup", request)?)?;
    Ok(exit::DONE)
}
