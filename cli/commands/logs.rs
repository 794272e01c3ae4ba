//! `logs`: what a task wrote: as it is into a pipe or a file, made visible on a terminal.

use batch_executor::protocol::LogsData;
use batch_executor::task::TaskId;
use clap::Args;
use serde_json::{Map, Value, json};

use super::follow;
use crate::args::{insert, number, task_id};
use crate::context::{Context, accepted, data, request};
use crate::exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::screen::Screen;

/// Flags of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The task: 12 or task_12
    #[arg(value_name = "ID", value_parser = task_id)]
    task_id: TaskId,
    /// Go on as it writes, until it ends
    #[arg(long, short)]
    follow: bool,
    /// Standard output alone
    #[arg(long, conflicts_with_all = ["stderr", "stream"])]
    stdout: bool,
    /// Standard error alone
    #[arg(long, conflicts_with = "stream")]
    stderr: bool,
    /// both, stdout or stderr
    #[arg(long, value_name = "STREAM", default_value = "both")]
    stream: String,
    /// Which attempt, from 1 [default: the latest]
    #[arg(long, value_name = "N", value_parser = number)]
    attempt: Option<Value>,
    /// As it was written, also to a terminal, where else control characters are made visible
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// The last bytes alone
    #[arg(long, value_name = "BYTES", conflicts_with = "offset")]
    tail: Option<u32>,
    /// From this byte on; negative: from the end
    #[arg(long, value_name = "BYTES", value_parser = number, allow_negative_numbers = true)]
    offset: Option<Value>,
    /// At most so many bytes [default: all]
    #[arg(long, value_name = "BYTES", value_parser = number)]
    limit: Option<Value>,
    /// Only lines with this text
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// With --search: so many lines before and after each, too
    #[arg(long, short = 'C', value_name = "LINES", requires = "search")]
    context: Option<u32>,
}

/// Prints what a task wrote; with `--json` one response a line.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &LogsArgs) -> Result<u8, Failure> {
    let mut parameters = first_request(args);
    let mut client = context.client()?;
    // Only a reader that stays needs more than the signal's default: its connection may come and go.
    let interrupt = if args.follow { Some(Interrupt::install()?) } else { None };
    loop {
        let request = request("logs", parameters.clone())?;
        let look = format!("batch-executor logs {} -f", args.task_id);
        let Some(answer) = follow::ask_patiently(&mut client, &request, interrupt.as_ref(), &look)? else { continue };
        let answer = accepted(Ok(answer))?;
        let piece: LogsData = data(&answer)?;
        let mut out = Screen::out();
        match (context.json, args.raw) {
            (true, _) => out.json(&answer.line)?,
            (false, true) => out.raw().write_all(piece.text.as_bytes())?,
            (false, false) => out.data().write_all(piece.text.as_bytes())?,
        }
        out.flush()?;
        drop(out);
        let complete = piece.next_offset >= piece.size;
        let done = if args.follow { piece.ended && complete } else { complete || args.limit.is_some() };
        if done || (piece.text.is_empty() && !args.follow) {
            if piece.dropped > 0 {
                context.warn(&[format!("{} bytes were not kept", piece.dropped)]);
            }
            return Ok(exit::DONE);
        }
        parameters.insert("offset".to_owned(), json!(piece.next_offset));
        // What follows belongs to the attempt that was begun with.
        parameters.insert("attempt".to_owned(), json!(piece.attempt));
    }
}

fn first_request(args: &LogsArgs) -> Map<String, Value> {
    let stream = match (args.stdout, args.stderr) {
        (true, _) => "stdout",
        (_, true) => "stderr",
        _ => &args.stream,
    };
    let mut parameters = Map::new();
    parameters.insert("task_id".to_owned(), json!(args.task_id));
    parameters.insert("stream".to_owned(), json!(stream));
    parameters.insert("follow".to_owned(), json!(args.follow));
    insert(&mut parameters, "attempt", args.attempt.as_ref());
    insert(&mut parameters, "offset", args.offset.as_ref());
    insert(&mut parameters, "offset", args.tail.map(|tail| -i64::from(tail)));
    insert(&mut parameters, "limit", args.limit.as_ref());
    insert(&mut parameters, "search", args.search.as_ref());
    insert(&mut parameters, "context", args.context);
    parameters
}
