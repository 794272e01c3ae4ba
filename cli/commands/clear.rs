//! `clear`: remove tasks that have ended.

use clap::Args;
use serde_json::{Map, Value};

use crate::args::{insert, number};
use crate::context::Context;
use crate::exit;
use crate::failure::Failure;

/// Flags of `clear`.
#[derive(Debug, Args)]
pub struct ClearArgs {
    /// Only tasks in this state: completed, failed, cancelled [default: all three]
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
    /// Only tasks that ended more than so many seconds ago
    #[arg(long, value_name = "S", value_parser = number, allow_negative_numbers = true)]
    older_than: Option<Value>,
}

/// Removes ended tasks.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &ClearArgs) -> Result<u8, Failure> {
    let mut request = Map::new();
    insert(&mut request, "filter_status", args.filter_status.as_deref());
    insert(&mut request, "batch_id", args.batch_id);
    insert(&mut request, "filter", args.filter.as_deref());
    insert(&mut request, "dry_run", args.dry_run.then_some(true));
    insert(&mut request, "older_than", args.older_than.as_ref());
    context.print_message(&context.ask("clear", request)?)?;
    Ok(exit::DONE)
}
