//! `results`: the tasks and what they came to.

use batch_executor::client::Answer;
use batch_executor::filter::FIELDS;
use batch_executor::protocol::ResultsData;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::args::{TaskIds, insert, number};
use crate::context::{Context, accepted, data, request};
use crate::exit;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::views;
use crate::views::tasks::Column;

/// Flags of `results`.
#[derive(Debug, Args)]
#[command(after_help = filters())]
pub struct ResultsArgs {
    #[command(flatten)]
    tasks: TaskIds,
    /// Only tasks in this state: queued, running, completed, failed, cancelled
    #[arg(long, value_name = "STATUS")]
    filter_status: Option<String>,
    /// Of this batch alone
    #[arg(long, value_name = "ID")]
    batch_id: Option<i64>,
    /// Only tasks that match, such as "status=failed and runtime>30s" (`results --help` has the fields)
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// In the order of a field, the largest first with a - before it: -runtime; one page, of --limit tasks
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Option<String>,
    /// The columns of the table: id, status, runtime, error, …
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', value_parser = Column::of)]
    columns: Vec<Column>,
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

/// What the end of the help says.
fn filters() -> String {
    let fields: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
    let columns: Vec<&str> = Column::ALL.iter().map(|column| column.name()).collect();
    format!(
        "\
Filters are comparisons (= != < <= > >=, ~ contains, !~, in (…)) with and, or, not and parentheses:
  batch-executor results --filter \"status=failed and function=python and runtime>30s\"
  batch-executor results --filter \"error~timeout or exit_code in (1, 2)\" --sort -runtime --limit 10
  batch-executor results --filter \"status=running and runtime>1h\" --columns id,runtime,name

Fields, also for --sort: {}

Columns: {}",
        fields.join(", "),
        columns.join(", ")
    )
}

/// Prints the results, page by page with `--all`; ids alone with `--quiet`.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &ResultsArgs) -> Result<u8, Failure> {
    if !args.columns.is_empty() && (context.json || args.format.is_some()) {
        return Err(Failure::usage(
            "--columns are those of the table: with --json, jq picks fields, and --format has its own",
        ));
    }
    let mut parameters = Map::new();
    let ids = args.tasks.all();
    insert(&mut parameters, "task_ids", (!ids.is_empty()).then(|| json!(ids)));
    insert(&mut parameters, "filter_status", args.filter_status.as_deref());
    insert(&mut parameters, "batch_id", args.batch_id);
    insert(&mut parameters, "filter", args.filter.as_deref());
    insert(&mut parameters, "sort", args.sort.as_deref());
    insert(&mut parameters, "limit", args.limit.as_ref());
    insert(&mut parameters, "cursor", args.cursor.as_ref());
    insert(&mut parameters, "format", args.format.as_deref());
    let mut client = context.client()?;
    let mut first = None;
    loop {
        let answer = accepted(client.call_until_answered(&request("results", parameters.clone())?))?;
        let mut page: ResultsData = data(&answer)?;
        // With a filter the first page alone sums all up.
        let counts = *first.get_or_insert(page.summary.counts);
        if args.filter.is_some() && args.all {
            page.summary.counts = counts;
        }
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
            out.table(&views::tasks::table(&page.tasks, &args.columns))?;
        }
        if let (Some(cursor), false) = (page.next_cursor, args.all) {
            writeln!(out, "there are more: --cursor {cursor}, or --all")?;
        }
        let shown = i64::try_from(page.tasks.len()).unwrap_or(i64::MAX);
        if args.sort.is_some() && page.next_cursor.is_none() && shown < page.summary.counts.total {
            writeln!(out, "these are the first {shown}; --limit N shows more")?;
        }
        if args.all && page.next_cursor.is_some() {
            return Ok(());
        }
        Ok(writeln!(out, "{}", views::status::counts(&page.summary.counts))?)
    })
}
