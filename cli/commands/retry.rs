//! `retry`: put failed or cancelled tasks back into the queue.

use clap::Args;
use serde_json::{Map, Value};

use crate::args::{TaskIds, insert, number, number_or_none};
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
    /// Only tasks that match, such as "status=failed and runtime>30s" (`results --help` has the fields)
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Seconds that an attempt may take from now on, or none [default: as it was]
    #[arg(long, value_name = "SECONDS", value_parser = number_or_none)]
    timeout: Option<Value>,
    /// How often a failed attempt is tried again from now on [default: as it was]
    #[arg(long, value_name = "N", value_parser = number)]
    max_retries: Option<Value>,
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
    insert(&mut request, "filter", args.filter.as_deref());
    insert(&mut request, "dry_run", args.dry_run.then_some(true));
    insert(&mut request, "timeout", args.timeout.as_ref());
    insert(&mut request, "max_retries", args.max_retries.as_ref());
    if !named && args.batch_id.is_none() && args.filter_status.is_none() && args.filter.is_none() {
        return Err(Failure::usage(
            "which tasks? batch-executor retry ID…, or --filter-status failed, or --filter FILTER",
        ));
    }
    context.print_message(&context.ask("retry", request)?)?;
    Ok(exit::DONE)
}
