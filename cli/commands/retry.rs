//! `retry`: put failed or cancelled tasks back into the queue.

use clap::Args;
use serde_json::Map;

use crate::args::{TaskIds, insert};
use crate::context::Context;
use crate::exit;
use crate::failure::Failure;

/// Flags of `retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    #[command(flatten)]
    tasks: TaskIds,
    /// All in this state: failed or cancelled
    #[arg(long, value_name = "STATUS")]
    filter_status: Option<String>,
    /// Of this batch alone
    #[arg(long, value_name = "ID")]
    batch_id: Option<i64>,
}

/// Queues tasks again.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &RetryArgs) -> Result<u8, Failure> {
    let mut request = Map::new();
    let named = args.tasks.insert_into(&mut request);
    insert(&mut request, "filter_status", args.filter_status.as_deref());
    insert(&mut request, "batch_id", args.batch_id);
    if !named && args.batch_id.is_none() && args.filter_status.is_none() {
        return Err(Failure::usage("which tasks? batch-executor retry ID…, or --filter-status failed"));
    }
    context.print_message(&context.ask("retry", request)?)?;
    Ok(exit::DONE)
}
