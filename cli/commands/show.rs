//! `show`: one task with its attempts.

use batch_executor::protocol::Task;
use batch_executor::task::TaskId;
use clap::Args;
use serde_json::{Map, json};

use crate::args::task_id;
use crate::context::{Context, data};
use crate::exit;
use crate::failure::Failure;
use crate::views;

/// Flags of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The task: 12 or task_12
    #[arg(value_name = "ID", value_parser = task_id)]
    task_id: TaskId,
}

/// Prints a task and why each of its attempts ended.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &ShowArgs) -> Result<u8, Failure> {
    let mut request = Map::new();
    request.insert("task_id".to_owned(), json!(args.task_id));
    let answer = context.ask_until_answered("show", request)?;
    context.print(&answer, |out| Ok(views::task::write(out, &data::<Task>(&answer)?)?))?;
    Ok(exit::DONE)
}
