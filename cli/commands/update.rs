//! `update`: change queued tasks.

use clap::Args;
use serde_json::{Map, Value};

use crate::args::{TaskFields, TaskIds, insert};
use crate::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::params::params;

/// Flags of `update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    #[command(flatten)]
    tasks: TaskIds,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// New parameters, as a JSON object; they replace the old ones
    #[arg(long, value_name = "JSON")]
    params: Option<String>,
    /// One of the new parameters: JSON where it is valid JSON, else text
    #[arg(short = 'p', long = "param", value_name = "KEY=VALUE")]
    pairs: Vec<String>,
    #[command(flatten)]
    fields: TaskFields,
}

/// Changes the given fields.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &UpdateArgs) -> Result<u8, Failure> {
    let mut request = Map::new();
    if !args.tasks.insert_into(&mut request) {
        return Err(Failure::usage("which tasks? batch-executor update ID… --priority high"));
    }
    insert(&mut request, "name", args.name.as_deref());
    if args.params.is_some() || !args.pairs.is_empty() {
        let params = params(args.params.as_deref(), &args.pairs).map_err(Failure::usage)?;
        request.insert("params".to_owned(), Value::Object(params));
    }
    args.fields.insert_into(&mut request);
    context.print_message(&context.ask_until_answered("update", request)?)?;
    Ok(exit::DONE)
}
