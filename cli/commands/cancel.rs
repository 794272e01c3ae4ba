//! `cancel`: end running tasks and take queued ones out.

use clap::Args;
use serde_json::Map;

use crate::args::{TaskIds, insert};
use crate::context::Context;
use crate::exit;
use crate::failure::Failure;

/// Flags of `cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    #[command(flatten)]
    tasks: TaskIds,
    /// All of this batch that have not ended
    #[arg(long, value_name = "ID")]
    batch_id: Option<i64>,
}

/// Cancels tasks.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &CancelArgs) -> Result<u8, Failure> {
    let mut request = Map::new();
    let named = args.tasks.insert_into(&mut request);
    insert(&mut request, "batch_id", args.batch_id);
    if !named && args.batch_id.is_none() {
        return Err(Failure::usage("which tasks? batch-executor cancel ID…, or --batch-id ID"));
    }
    context.print_message(&context.ask("cancel", request)?)?;
    Ok(exit::DONE)
}
