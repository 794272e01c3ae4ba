//! Tasks as CSV (RFC 4180). What a spreadsheet would run as a formula is defused.

use std::borrow::Cow;
use std::io;

use csv::{QuoteStyle, Terminator, Writer, WriterBuilder};
use serde::Serialize;

use crate::protocol::Task;

/// The columns; those after `Error` are ours.
const COLUMNS: &[&str] = &[
    "Task ID",
    "Name",
    "Function",
    "Status",
    "Priority",
    "Created At",
    "Started At",
    "Completed At",
    "Execution Time",
    "Wait Time",
    "Retry Count",
    "Result",
    "Error",
    "Batch ID",
    "Exit Code",
    "Signal",
    "Interruptions",
];

/// The header row.
pub(super) fn header(attempts: bool) -> Vec<u8> {
    let mut line = COLUMNS.join(",");
    if attempts {
        line.push_str(",Attempts");
    }
    line.push_str("\r\n");
    line.into_bytes()
}

/// A page of tasks as CSV text, with its header.
pub fn csv_text(tasks: &[Task]) -> String {
    let mut text = header(false);
    // Writing to memory does not fail.
    let _ = write(&mut text, tasks, false);
    String::from_utf8_lossy(&text).into_owned()
}

/// The rows of tasks, each with its line end.
pub(super) fn write<J: Serialize>(to: impl io::Write, tasks: &[Task<J>], attempts: bool) -> io::Result<()> {
    let mut writer =
        WriterBuilder::new().terminator(Terminator::CRLF).quote_style(QuoteStyle::Necessary).from_writer(to);
    for task in tasks {
        write_row(&mut writer, task, attempts)?;
    }
    writer.flush()
}

fn write_row<J: Serialize>(writer: &mut Writer<impl io::Write>, task: &Task<J>, attempts: bool) -> io::Result<()> {
    let number = |value: Option<f64>| Cow::Owned(value.map(|v| v.to_string()).unwrap_or_default());
    let whole = |value: Option<i32>| Cow::Owned(value.map(|v| v.to_string()).unwrap_or_default());
    let result = task.result.as_ref().map(serde_json::to_string).transpose()?.unwrap_or_default();
    let cells: [Cow<'_, str>; COLUMNS.len()] = [
        task.task_id.to_string().into(),
        harmless(&task.name),
        harmless(&task.function),
        task.status.as_str().into(),
        task.priority.as_str().into(),
        task.created_at.as_str().into(),
        task.started_at.as_deref().unwrap_or_default().into(),
        task.finished_at.as_deref().unwrap_or_default().into(),
        number(task.execution_time),
        number(task.wait_time),
        task.retry_count.to_string().into(),
        harmless(&result),
        harmless(task.error.as_deref().unwrap_or_default()),
        task.batch_id.to_string().into(),
        whole(task.exit_code),
        whole(task.signal),
        task.interruptions.to_string().into(),
    ];
    for cell in &cells {
        writer.write_field(cell.as_bytes()).map_err(io::Error::other)?;
    }
    if attempts {
        writer.write_field(serde_json::to_vec(&task.attempts)?).map_err(io::Error::other)?;
    }
    writer.write_record(None::<&[u8]>).map_err(io::Error::other)
}

/// Prefixes what a spreadsheet would run.
fn harmless(cell: &str) -> Cow<'_, str> {
    if cell.starts_with(['=', '+', '-', '@']) { format!("'{cell}").into() } else { cell.into() }
}
