//! What people see: tables, bars, times. As wide as the terminal, colour on a terminal only.

pub mod bar;
pub mod functions;
pub mod hooks;
pub mod status;
pub mod summary;
pub mod task;
pub mod tasks;
pub mod text;

use std::io::{self, IsTerminal};

use batch_executor::task::Status;
use batch_executor::visible::visible;
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Color, ContentArrangement, Table};

use crate::screen::{Screen, colours};

/// The columns that there are: the terminal's, else those of `COLUMNS`; None: as many as it takes.
pub fn width() -> Option<usize> {
    let terminal = io::stdout().is_terminal().then(|| Table::new().width()).flatten();
    let asked_for = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.or_else(asked_for).map(usize::from)
}

/// A table without lines, no wider than [`width`].
fn table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if let Some(width) = width() {
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX)).set_content_arrangement(ContentArrangement::Dynamic);
    }
    if !colours() {
        table.force_no_tty();
    }
    table
}

/// A label of so many columns and its text; where that is too long it goes on below itself.
///
/// # Errors
/// When `out` cannot be written.
pub fn field(out: &mut Screen, columns: usize, label: &str, text: &str) -> io::Result<()> {
    let room = width().map_or(usize::MAX, |width| width.saturating_sub(columns).max(20));
    let mut label = label;
    for line in text::wrapped(&visible(text), room) {
        writeln!(out, "{}", format!("{label:<columns$}{line}").trim_end())?;
        label = "";
    }
    Ok(())
}

/// A cell with a state in its colour.
fn status_cell(status: Status) -> Cell {
    let colour = match status {
        Status::Queued => Color::Reset,
        Status::Running => Color::Blue,
        Status::Completed => Color::Green,
        Status::Failed => Color::Red,
        Status::Cancelled => Color::Yellow,
    };
    Cell::new(status.as_str()).fg(colour)
}
