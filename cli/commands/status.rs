//! `status`: how far it is.

use std::time::Duration;

use batch_executor::client::Answer;
use batch_executor::protocol::StatusData;
use clap::Args;
use serde_json::{Map, Value, json};

use super::watch::Events;
use crate::args::insert;
use crate::context::{Context, data};
use crate::exit;
use crate::failure::Failure;
use crate::screen;
use crate::views;

/// The least time between two looks, however much happens.
const BREATH: Duration = Duration::from_millis(500);

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// With the first tasks of each state
    #[arg(long, short)]
    detailed: bool,
    /// Of this batch alone
    #[arg(long, value_name = "ID")]
    batch_id: Option<i64>,
    /// Show it anew whenever something happens, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
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
    if args.follow {
        return follow(context, &request);
    }
    print(context, &context.ask_until_answered("status", request)?)?;
    Ok(exit::DONE)
}

fn follow(context: &Context, request: &Map<String, Value>) -> Result<u8, Failure> {
    let mut events = Events::new(context, None, None, |_| "batch-executor status -f".to_owned())?;
    let clears = !context.json && screen::is_terminal();
    loop {
        // What happens while it is shown is told at once after it.
        events.skip_to_now()?;
        let answer = events.ask("status", request.clone())?;
        if clears {
            screen::clear()?;
        }
        print(context, &answer)?;
        std::thread::sleep(BREATH);
        events.next_page(true)?;
    }
}

fn print(context: &Context, answer: &Answer) -> Result<(), Failure> {
    context.print(answer, |out| Ok(views::status::write(out, &data::<StatusData>(answer)?)?))
}
