//! `hooks`: who is told when something happens, and how that went; a test.

use batch_executor::protocol::HooksData;
use clap::{Args, Subcommand};
use serde_json::Map;

use crate::args::insert;
use crate::context::{Context, data};
use crate::exit;
use crate::failure::Failure;
use crate::views;

/// Flags of `hooks`.
#[derive(Debug, Args)]
#[command(after_help = "\
Hooks are declared in the configuration, which is read when the daemon starts:
  [hooks.phone]
  on = [\"batch_ended\", \"task_failed\"]
  url = \"https://ntfy.sh/my-topic\"
  text = \"{{text}}\"

  batch-executor daemon restart        the daemon reads it
  batch-executor hooks test phone      an example is sent now")]
pub struct HooksArgs {
    #[command(subcommand)]
    order: Option<Order>,
}

/// What to do with a hook.
#[derive(Debug, Subcommand)]
enum Order {
    /// Tell a hook an example now, and show how that went; exit code 1 if it could not be told
    Test {
        /// The hook: NAME of [hooks.NAME]
        name: String,
    },
}

/// Lists the hooks, or tests one.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &HooksArgs) -> Result<u8, Failure> {
    let Some(Order::Test { name }) = &args.order else {
        let answer = context.ask_until_answered("hooks", Map::new())?;
        let known: HooksData = data(&answer)?;
        context.print(&answer, |out| {
            if known.hooks.is_empty() {
                writeln!(out, "{}", answer.response.message)?;
            }
            Ok(views::hooks::write(out, &known.hooks)?)
        })?;
        return Ok(exit::DONE);
    };
    let mut request = Map::new();
    insert(&mut request, "test", Some(name));
    let answer = context.ask("hooks", request)?;
    let tested: HooksData = data(&answer)?;
    context.print_message(&answer)?;
    let last = tested.hooks.first().and_then(|hook| hook.last.as_ref());
    Ok(if last.is_some_and(|last| last.state == "delivered") { exit::DONE } else { exit::TASKS_FAILED })
}
