//! `start`: run what is queued.

use clap::Args;
use serde_json::{Map, Value};

use crate::args::{insert, number, number_or_none};
use crate::context::Context;
use crate::exit;
use crate::failure::Failure;

/// Flags of `start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// How many may run at once [default: 5]
    #[arg(long, short = 'j', value_name = "N", value_parser = number, allow_negative_numbers = true)]
    max_concurrent: Option<Value>,
    /// Seconds for the whole run; then what still runs goes back to the queue; none: no limit
    #[arg(long, value_name = "S", value_parser = number_or_none, allow_negative_numbers = true)]
    timeout: Option<Value>,
    /// Stay running for tasks to come
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    keep: Option<bool>,
    /// Stop after so many failed tasks; none: no limit
    #[arg(long, value_name = "N", value_parser = number_or_none, allow_negative_numbers = true)]
    max_failures: Option<Value>,
}

/// Starts the executor.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &StartArgs) -> Result<u8, Failure> {
    let mut request = Map::new();
    insert(&mut request, "max_concurrent", args.max_concurrent.as_ref());
    insert(&mut request, "timeout", args.timeout.as_ref());
    insert(&mut request, "keep", args.keep);
    insert(&mut request, "max_failures", args.max_failures.as_ref());
    context.print_message(&context.ask("start", request)?)?;
    Ok(exit::DONE)
}
