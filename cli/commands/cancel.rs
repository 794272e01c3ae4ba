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
    /// Only tasks that match, such as "status=failed and runtime>30s" (`results --help` has the fields)
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Cancels tasks.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &CancelArgs) -> Result<u8, Failure> {
    let mut request = Map::new();
    let named = args.tasks.insert_into(&mut request);
    insert(&mut request, "batch_id", args.batch_id);
    insert(&mut request, "filter", args.filter.as_deref());
    insert(&mut request, "dry_run", args.dry_run.then_some(true));
    if !named && args.batch_id.is_none() && args.filter.is_none() {
        return Err(Failure::usage("which tasks? batch-executor cancel ID…, or --batch-id ID, or --filter FILTER"));
    }
    context.print_message(&context.ask("cancel", request)?)?;
    Ok(exit::DONE)
}
