//! Many tasks, a line each.

use batch_executor::protocol::Task;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, Row, Table, Width};

use super::{status_cell, table as new_table, text};

/// What a column shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Id,
    Status,
    Name,
    Function,
    Priority,
    Tries,
    Time,
    Outcome,
}

use Column::{Function, Id, Name, Outcome, Priority, Status, Time, Tries};

/// From so many columns of the terminal on.
const LAYOUTS: &[(usize, &[Column])] = &[
    (100, &[Id, Status, Name, Function, Priority, Tries, Time, Outcome]),
    (60, &[Id, Status, Name, Tries, Time, Outcome]),
    (0, &[Id, Status, Name, Outcome]),
];

/// A table of tasks with what each came to; what does not fit is cut off, `show` has it all.
pub fn table(tasks: &[Task]) -> Table {
    let width = super::width();
    let layout = LAYOUTS.iter().find(|(from, _)| width.is_none_or(|width| width >= *from));
    let columns = layout.map_or::<&[Column], _>(&[], |(_, columns)| columns);
    let mut table = new_table();
    table.set_header(columns.iter().map(|column| column.heading()));
    table.set_truncation_indicator("…");
    for task in tasks {
        let mut row: Row = columns.iter().map(|column| column.cell(task)).collect::<Vec<_>>().into();
        row.max_height(1);
        table.add_row(row);
    }
    for (index, column) in columns.iter().enumerate() {
        let Some(shown) = table.column_mut(index) else { continue };
        shown.set_padding((0, 2));
        if [Tries, Time].contains(column) {
            shown.set_cell_alignment(CellAlignment::Right);
        }
        match (column, width) {
            (Outcome, _) | (_, None) => {}
            (Name, Some(width)) => {
                let most = u16::try_from(width / 3).unwrap_or(u16::MAX);
                shown.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(most)));
            }
            _ => {
                shown.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    }
    table
}

impl Column {
    const fn heading(self) -> &'static str {
        match self {
            Id => "ID",
            Status => "Status",
            Name => "Name",
            Function => "Function",
            Priority => "Priority",
            Tries => "Tries",
            Time => "Time",
            Outcome => "Outcome",
        }
    }

    fn cell(self, task: &Task) -> Cell {
        match self {
            Id => Cell::new(task.task_id),
            Status => status_cell(task.status),
            Name => Cell::new(text::first_line(&task.name)),
            Function => Cell::new(text::first_line(&task.function)),
            Priority => Cell::new(task.priority.as_str()),
            Tries => Cell::new(tries(task)),
            Time => Cell::new(text::or_dash(task.execution_time.map(text::seconds))),
            Outcome => Cell::new(text::outcome(task)),
        }
    }
}

/// How many attempts were begun, as far as the task itself says.
fn tries(task: &Task) -> u32 {
    u32::from(task.started_at.is_some()) + task.retry_count + task.interruptions
}
