//! `results`: the tasks and what they came to.

use batch_executor::client::Answer;
use batch_executor::protocol::ResultsData;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::args::{TaskIds, insert, number};
use crate::context::{Context, accepted, data, request};
use crate::exit;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::views;

/// Flags of `results`.
#[derive(Debug, Args)]
pub struct ResultsArgs {
    #[command(flatten)]
    tasks: TaskIds,
    /// Only tasks in this state: queued, running, completed, failed, cancelled
    #[arg(long, value_name = "STATUS")]
    filter_status: Option<String>,
    /// Of this batch alone
    #[arg(long, value_name = "ID")]
    batch_id: Option<i64>,
    /// Tasks a page [default: 1000]
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    limit: Option<Value>,
    /// Where the page begins: an earlier page's next_cursor
    #[arg(long, value_name = "CURSOR", value_parser = number)]
    cursor: Option<Value>,
    /// All pages; with --json one response a line
    #[arg(long)]
    all: bool,
    /// The daemon's own text instead of a table: text, json, summary, csv
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Prints the results, page by page with `--all`; ids alone with `--quiet`.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &ResultsArgs) -> Result<u8, Failure> {
    let mut parameters = Map::new();
    let ids = args.tasks.all();
    insert(&mut parameters, "task_ids", (!ids.is_empty()).then(|| json!(ids)));
    insert(&mut parameters, "filter_status", args.filter_status.as_deref());
    insert(&mut parameters, "batch_id", args.batch_id);
    insert(&mut parameters, "limit", args.limit.as_ref());
    insert(&mut parameters, "cursor", args.cursor.as_ref());
    insert(&mut parameters, "format", args.format.as_deref());
    let mut client = context.client()?;
    loop {
        let answer = accepted(client.call_until_answered(&request("results", parameters.clone())?))?;
        let page: ResultsData = data(&answer)?;
        print_page(context, args, &answer, &page)?;
        match page.next_cursor {
            Some(cursor) if args.all => parameters.insert("cursor".to_owned(), json!(cursor)),
            _ => return Ok(exit::DONE),
        };
    }
}

fn print_page(context: &Context, args: &ResultsArgs, answer: &Answer, page: &ResultsData) -> Result<(), Failure> {
    if context.quiet && !context.json {
        let mut out = Screen::out();
        for task in &page.tasks {
            writeln!(out, "{}", task.task_id)?;
        }
        return Ok(out.flush()?);
    }
    if args.format.is_some() {
        return context.print(answer, |out| Ok(writeln!(out.data(), "{}", answer.response.message.trim_end())?));
    }
    context.print(answer, |out| {
        if !page.tasks.is_empty() {
            out.table(&views::tasks::table(&page.tasks))?;
        }
        if let (Some(cursor), false) = (page.next_cursor, args.all) {
            writeln!(out, "there are more: --cursor {cursor}, or --all")?;
        }
        if args.all && page.next_cursor.is_some() {
            return Ok(());
        }
        Ok(writeln!(out, "{}", views::status::counts(&page.summary.counts))?)
    })
}
