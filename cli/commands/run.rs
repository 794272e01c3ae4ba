//! `run`: add a file's tasks, start, watch, wait, sum up.

use batch_executor::client::Client;
use batch_executor::protocol::{Exported, ResultsData, StatusData, Task};
use batch_executor::task::{BatchId, Status};
use clap::Args;
use serde_json::{Map, Value, json};

use super::add_batch::BatchArgs;
use super::adding::{self, Added, Plan};
use super::follow::{self, Waited};
use super::{export, wait};
use crate::args::{insert, number};
use crate::context::{Context, OwnAnswer, accepted, data, print_id, request};
use crate::exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::request_key;
use crate::screen::Screen;
use crate::tasks_file::{Format, Input};
use crate::views::summary::{self, MAX_ROWS};
use crate::views::text;

/// Flags of `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Typed again with the same file while its batch is not done (after Ctrl-C, a crash, a reboot), it adds nothing
and goes on with that batch. What was queued before runs too, in its order.

Examples:
  batch-executor run tasks.json --max-concurrent 4
  batch-executor run tasks.csv --export results.csv
  generate | batch-executor run - --format jsonl --timeout 3600")]
pub struct RunArgs {
    /// JSON (a list, or {"tasks": […]}), JSON Lines, or CSV with a header; - for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// How it is written [default: by the extension, else by the content]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// How many may run at once [default: 5]
    #[arg(long, short = 'j', value_name = "N", value_parser = number, allow_negative_numbers = true)]
    max_concurrent: Option<Value>,
    /// Seconds for the whole run; then the rest stays queued, and the exit code is 1
    #[arg(long, value_name = "S", value_parser = number, allow_negative_numbers = true)]
    timeout: Option<Value>,
    /// Write the results to a file when all has ended: .json, .csv or .jsonl; - for standard output
    #[arg(long, value_name = "FILE")]
    export: Option<String>,
    /// Add the tasks anew, also when an earlier run of this file is not done
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    batch: BatchArgs,
}

/// Runs a file; 0 when every task of it has completed.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &RunArgs) -> Result<u8, Failure> {
    if let Some(file) = args.export.as_deref() {
        export::check_target(context, file)?;
    }
    let input = Input::open(&args.file, args.format)?;
    let plan = plan(context, args, &input)?;
    let mut client = context.client()?;
    client.connection()?;
    let interrupt = Interrupt::install()?;
    let added = adding::add(context, &mut client, &input, &plan, &interrupt)?;
    let Some(batch) = added.batch_id else {
        return Err(Failure::new(exit::INTERNAL, "the tasks were added to no batch"));
    };
    announce(context, &added, batch)?;
    start(context, &mut client, args)?;

    let selection = Map::from_iter([("batch_id".to_owned(), json!(batch))]);
    let look =
        format!("batch-executor status --batch-id {batch}; go on with: batch-executor run {}", input.quoted_name());
    let waited = follow::wait(context, &mut client, &selection, None, &interrupt, &look)?;
    let Waited::Answer(answer) = waited else {
        return Err(Failure::new(exit::TIMED_OUT, "the waiting ran out of time"));
    };
    let ended = answer.response.ok;
    if !ended && follow::reason(&answer) != Some("executor_stopped") {
        return Err(Failure::Refused(answer));
    }
    let status: StatusData = data(&accepted(client.call_until_answered(&request("status", selection)?))?)?;
    // The run is told of also when its export fails.
    let exported = args.export.as_deref().map(|file| export_batch(context, &mut client, batch, file)).transpose();
    report(context, args, &mut client, &added, &status, exported.as_ref().ok().cloned().flatten().flatten(), ended)?;
    exported?;
    Ok(match wait::exit_code(&status.counts) {
        exit::DONE if !ended => exit::TASKS_FAILED,
        exit::DONE if added.bad > 0 => exit::REFUSED,
        code => code,
    })
}

/// The key is the file's own, so that the same command finds its batch again.
fn plan(context: &Context, args: &RunArgs, input: &Input) -> Result<Plan, Failure> {
    let environment = context.environment(&args.batch.environment)?;
    let mut key = format!("run:{}", input.fingerprint()?);
    if args.again {
        key = format!("{key}:{}", request_key::random(request_key::OWN));
    }
    let mut plan = Plan::new(input, args.batch.fields()?, &environment, key);
    args.batch.complete(&mut plan)?;
    plan.resume = true;
    Ok(plan)
}

fn announce(context: &Context, added: &Added, batch: BatchId) -> Result<(), Failure> {
    if context.quiet && !context.json {
        return print_id(batch);
    }
    if added.repeated {
        context.tell(&format!("batch {batch} was added before and is not done: going on with it"));
    } else {
        context.tell(&added.message());
    }
    context.warn(&added.warnings);
    added.tell_bad(context);
    Ok(())
}

fn start(context: &Context, client: &mut Client, args: &RunArgs) -> Result<(), Failure> {
    let mut parameters = Map::new();
    insert(&mut parameters, "max_concurrent", args.max_concurrent.as_ref());
    insert(&mut parameters, "timeout", args.timeout.as_ref());
    let answer = accepted(client.call_until_answered(&request("start", parameters)?))?;
    context.tell(&answer.response.message);
    context.warn(answer.response.warnings.as_deref().unwrap_or_default());
    Ok(())
}

/// None: it went to standard output.
fn export_batch(
    context: &Context,
    client: &mut Client,
    batch: BatchId,
    file: &str,
) -> Result<Option<Exported>, Failure> {
    let mut parameters = Map::new();
    insert(&mut parameters, "format", export::format_of(file));
    parameters.insert("batch_id".to_owned(), json!(batch));
    if file == "-" {
        return export::to_stdout(context, parameters).map(|()| None);
    }
    parameters.insert("output_file".to_owned(), json!(file));
    // It was named for this run: the results of an earlier one are what it replaces.
    parameters.insert("overwrite".to_owned(), json!(true));
    data(&accepted(client.call_until_answered(&request("export", parameters)?))?).map(Some)
}

fn report(
    context: &Context,
    args: &RunArgs,
    client: &mut Client,
    added: &Added,
    status: &StatusData,
    exported: Option<Exported>,
    ended: bool,
) -> Result<(), Failure> {
    let message = summary::headline(added.batch_id.unwrap_or_default(), status, ended);
    let mut fields = added.data();
    fields["status"] = json!(status);
    fields["exported"] = json!(exported);
    let mut answer = OwnAnswer::new("run", message, fields);
    answer.warnings.clone_from(&added.warnings);
    let rows = if context.json || context.quiet { Vec::new() } else { worst_first(client, added, status)? };
    let tell = |out: &mut Screen| {
        summary::write(out, &answer.message, &rows, status, added.batch_id.unwrap_or_default())?;
        match &exported {
            Some(exported) => writeln!(out, "exported: {} to {}", text::tasks(exported.exported), exported.file),
            None => Ok(()),
        }
    };
    if args.export.as_deref() == Some("-") {
        // Standard output has the results.
        return if context.quiet { Ok(()) } else { Ok(tell(&mut Screen::err())?) };
    }
    context.print_own(&answer, tell)
}

/// As many tasks as the summary shows, those that need a look first.
fn worst_first(client: &mut Client, added: &Added, status: &StatusData) -> Result<Vec<Task>, Failure> {
    let counts = &status.counts;
    let order = [
        (Status::Failed, counts.failed),
        (Status::Cancelled, counts.cancelled),
        (Status::Running, counts.running),
        (Status::Queued, counts.queued),
        (Status::Completed, counts.completed),
    ];
    let mut rows: Vec<Task> = Vec::new();
    for (state, count) in order {
        let room = MAX_ROWS.saturating_sub(rows.len());
        if count == 0 || room == 0 {
            continue;
        }
        let parameters = Map::from_iter([
            ("batch_id".to_owned(), json!(added.batch_id)),
            ("filter_status".to_owned(), json!(state)),
            ("limit".to_owned(), json!(room)),
        ]);
        let page: ResultsData = data(&accepted(client.call_until_answered(&request("results", parameters)?))?)?;
        rows.extend(page.tasks);
    }
    Ok(rows)
}
