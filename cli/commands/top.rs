//! `top`: the full-screen live view.

use clap::Args;

use crate::context::Context;
use crate::failure::Failure;
use crate::top::{self, Options};

/// Flags of `top`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  batch-executor top                   all of it; `?` shows the keys
  batch-executor top --batch-id 3      this batch alone
  ssh -t phone batch-executor top      another machine's

Quitting ends nothing: the tasks go on. NO_COLOR is respected, and a locale without UTF-8 gets ASCII.")]
pub struct TopArgs {
    /// This batch alone; `b` shows all again
    #[arg(long, value_name = "ID")]
    batch_id: Option<i64>,
    /// Leave clicks and the wheel to the terminal
    #[arg(long)]
    no_mouse: bool,
}

/// Shows it until the user quits.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &TopArgs) -> Result<u8, Failure> {
    top::run(context, Options { batch: args.batch_id, mouse: !args.no_mouse })
}
