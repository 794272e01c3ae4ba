//! `status`: how far it is.

use batch_executor::protocol::StatusData;
use clap::Args;
use serde_json::{Map, json};

use crate::args::insert;
use crate::context::{Context, data};
use crate::exit;
use crate::failure::Failure;
use crate::views;

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// With the first tasks of each state
    #[arg(long, short)]
    detailed: bool,
    /// Of this batch alone
    #[arg(long, value_name = "ID")]
    batch_id: Option<i64>,
    /// Only tasks that match, such as "status=failed and runtime>30s" (`results --help` has the fields)
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
}

/// Prints the executor's state and the counts.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &StatusArgs) -> Result<u8, Failure> {
    let mut request = Map::new();
    request.insert("detailed".to_owned(), json!(args.detailed));
    insert(&mut request, "batch_id", args.batch_id);
    insert(&mut request, "filter", args.filter.as_deref());
    let answer = context.ask_until_answered("status", request)?;
    context.print(&answer, |out| Ok(views::status::write(out, &data::<StatusData>(&answer)?)?))?;
    Ok(exit::DONE)
}
