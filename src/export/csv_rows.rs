//! Tasks as CSV (RFC 4180). What a spreadsheet would run as a formula is defused.

use std::io;

use csv::{QuoteStyle, Terminator, Writer, WriterBuilder};

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

/// Makes one row after another in the same buffer.
#[derive(Default)]
pub(super) struct CsvRows {
    row: Vec<u8>,
}

impl CsvRows {
    /// The row of a task, its line end included.
    pub(super) fn row(&mut self, task: &Task, attempts: bool) -> io::Result<&[u8]> {
        self.row.clear();
        let mut writer = writer(&mut self.row);
        write(&mut writer, task, attempts)?;
        writer.flush()?;
        drop(writer);
        Ok(&self.row)
    }
}

fn writer<W: io::Write>(to: W) -> Writer<W> {
    WriterBuilder::new().terminator(Terminator::CRLF).quote_style(QuoteStyle::Necessary).from_writer(to)
}

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
    let mut rows = CsvRows::default();
    for task in tasks {
        // Writing to memory does not fail.
        if let Ok(row) = rows.row(task, false) {
            text.extend_from_slice(row);
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn write<W: io::Write>(writer: &mut Writer<W>, task: &Task, attempts: bool) -> io::Result<()> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    let whole = |value: Option<i32>| value.map(|v| v.to_string()).unwrap_or_default();
    let mut cells = vec![
        task.task_id.to_string(),
        harmless(task.name.clone()),
        harmless(task.function.clone()),
        task.status.to_string(),
        task.priority.to_string(),
        task.created_at.clone(),
        text(&task.started_at),
        text(&task.finished_at),
        number(task.execution_time),
        number(task.wait_time),
        task.retry_count.to_string(),
        harmless(task.result.as_ref().map(ToString::to_string).unwrap_or_default()),
        harmless(text(&task.error)),
        task.batch_id.to_string(),
        whole(task.exit_code),
        whole(task.signal),
        task.interruptions.to_string(),
    ];
    if attempts {
        cells.push(serde_json::to_string(&task.attempts)?);
    }
    writer.write_record(cells).map_err(io::Error::other)
}

/// Prefixes what a spreadsheet would run.
fn harmless(mut cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@']) {
        cell.insert(0, '\'');
    }
    cell
}
