//! `wait`: until tasks have ended.

use std::time::{Duration, Instant};

use batch_executor::protocol::{Counts, StatusData};
use clap::Args;
use serde_json::{Map, json};

use super::follow::{self, Waited};
use crate::args::{TaskIds, insert};
use crate::context::{Context, data};
use crate::exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::views;

/// Flags of `wait`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    #[command(flatten)]
    tasks: TaskIds,
    /// All tasks of this batch
    #[arg(long, value_name = "ID")]
    batch_id: Option<i64>,
    /// Only tasks that match, such as "status=failed and runtime>30s" (`results --help` has the fields)
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Give up after so many seconds, with exit code 124; the tasks go on
    #[arg(long, value_name = "S", value_parser = seconds, allow_negative_numbers = true)]
    timeout: Option<Duration>,
}

/// Waits; 0 when every selected task has completed, 1 when one failed or was cancelled.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &WaitArgs) -> Result<u8, Failure> {
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut selection = Map::new();
    let ids = args.tasks.all();
    insert(&mut selection, "task_ids", (!ids.is_empty()).then(|| json!(ids)));
    insert(&mut selection, "batch_id", args.batch_id);
    insert(&mut selection, "filter", args.filter.as_deref());
    let mut client = context.client()?;
    client.connection()?;
    let interrupt = Interrupt::install()?;
    match follow::wait(context, &mut client, &selection, deadline, &interrupt, "batch-executor status")? {
        Waited::TimedOut => Err(Failure::new(exit::TIMED_OUT, "the timeout ran out; the tasks go on")
            .hint("look at them with: batch-executor status")
            .details(json!({"reason": "timeout"}))),
        Waited::Answer(answer) if !answer.response.ok => Err(Failure::Refused(answer)),
        Waited::Answer(answer) => {
            let status: StatusData = data(&answer)?;
            context.print(&answer, |out| Ok(writeln!(out, "{}", views::status::counts(&status.counts))?))?;
            Ok(exit_code(&status.counts))
        }
    }
}

/// Whether all completed.
pub fn exit_code(counts: &Counts) -> u8 {
    if counts.failed + counts.cancelled > 0 { exit::TASKS_FAILED } else { exit::DONE }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        // What no clock can hold is for ever, and a year is as good.
        .map(|timeout| timeout.min(Duration::from_secs(365 * 86_400)))
        .ok_or_else(|| "a number of seconds is needed, 0 or more".to_owned())
}
