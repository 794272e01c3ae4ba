//! What people see: tables, bars, times. Colour on a terminal only.

pub mod bar;
pub mod functions;
pub mod status;
pub mod summary;
pub mod task;
pub mod tasks;
pub mod text;

use std::io::IsTerminal;

use batch_executor::task::Status;
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Color, ContentArrangement, Table};

/// A table with these headings, as wide as the terminal at most.
pub fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(headings.to_vec());
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    if !colours() {
        table.force_no_tty();
    }
    table
}

/// A table of plain text.
pub fn plain_table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = table(headings);
    for row in rows {
        table.add_row(row.iter().map(|cell| text::printable(cell)).collect::<Vec<_>>());
    }
    table
}

/// A cell with a state in its colour.
pub fn status_cell(status: Status) -> Cell {
    let colour = match status {
        Status::Queued => Color::Reset,
        Status::Running => Color::Blue,
        Status::Completed => Color::Green,
        Status::Failed => Color::Red,
        Status::Cancelled => Color::Yellow,
    };
    Cell::new(status.as_str()).fg(colour)
}

/// Whether standard output may have colours (`https://no-color.org`).
fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
