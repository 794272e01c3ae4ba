//! Many tasks, a line each.

use batch_executor::protocol::Task;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, Row, Table, Width};

use super::{status_cell, table as new_table, text};

/// What a column shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Id,
    Status,
    Name,
    Function,
    Priority,
    Tries,
    Time,
    Outcome,
    Batch,
    Waited,
    Retries,
    Interruptions,
    Timeout,
    ExitCode,
    Signal,
    Error,
    Reason,
    Created,
    Started,
    Finished,
}

use Column::{Function, Id, Name, Outcome, Priority, Status, Time, Tries};

/// Below so many columns of the terminal there is room for what matters most alone.
const NARROW: usize = 60;
/// From so many columns of the terminal on.
const LAYOUTS: &[(usize, &[Column])] = &[
    (100, &[Id, Status, Name, Function, Priority, Tries, Time, Outcome]),
    (NARROW, &[Id, Status, Name, Tries, Time, Outcome]),
    (0, &[Id, Status, Name, Outcome]),
];

/// A table of tasks with what each came to; what does not fit is cut off, `show` has it all.
/// `columns`: which; none: as many of the usual ones as the terminal has room for.
pub fn table(tasks: &[Task], columns: &[Column]) -> Table {
    let width = super::width();
    let layout = LAYOUTS.iter().find(|(from, _)| width.is_none_or(|width| width >= *from));
    let usual = layout.map_or::<&[Column], _>(&[], |(_, columns)| columns);
    let is_usual = columns.is_empty();
    let is_narrow = width.is_some_and(|width| width < NARROW);
    let columns = if is_usual { usual } else { columns };
    let mut table = new_table();
    table.set_header(columns.iter().map(|column| column.heading(is_usual)));
    table.set_truncation_indicator("…");
    // No cell has one (it would have been made visible), so that what is too long is cut where the room ends and not between words.
    table.set_delimiter('\u{1f}');
    for task in tasks {
        let mut row: Row = columns.iter().map(|column| column.cell(task, is_narrow)).collect::<Vec<_>>().into();
        row.max_height(1);
        table.add_row(row);
    }
    for (index, column) in columns.iter().enumerate() {
        let Some(shown) = table.column_mut(index) else { continue };
        shown.set_padding((0, 2));
        if column.is_number() {
            shown.set_cell_alignment(CellAlignment::Right);
        }
        match (column, width) {
            (Outcome | Column::Error | Column::Reason, _) | (_, None) => {}
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
    /// All, in the order of the help.
    pub const ALL: &'static [Self] = &[
        Id,
        Status,
        Name,
        Function,
        Self::Batch,
        Priority,
        Tries,
        Time,
        Self::Waited,
        Outcome,
        Self::Error,
        Self::Reason,
        Self::ExitCode,
        Self::Signal,
        Self::Retries,
        Self::Interruptions,
        Self::Timeout,
        Self::Created,
        Self::Started,
        Self::Finished,
    ];

    /// What `--columns` calls it: a field of filters, or `tries` and `result`, what it came to in a line.
    pub const fn name(self) -> &'static str {
        match self {
            Id => "id",
            Status => "status",
            Name => "name",
            Function => "function",
            Priority => "priority",
            Tries => "tries",
            Time => "runtime",
            Outcome => "result",
            Self::Batch => "batch",
            Self::Waited => "waited",
            Self::Retries => "retries",
            Self::Interruptions => "interruptions",
            Self::Timeout => "timeout",
            Self::ExitCode => "exit_code",
            Self::Signal => "signal",
            Self::Error => "error",
            Self::Reason => "reason",
            Self::Created => "created",
            Self::Started => "started",
            Self::Finished => "finished",
        }
    }

    /// The column of a name.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|column| column.name().eq_ignore_ascii_case(name.trim())).copied();
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|column| column.name()).collect();
            format!("the columns are {}", names.join(", "))
        })
    }

    const fn is_number(self) -> bool {
        matches!(
            self,
            Tries
                | Time
                | Self::Waited
                | Self::Retries
                | Self::Interruptions
                | Self::Timeout
                | Self::ExitCode
                | Self::Signal
        )
    }

    /// The usual ones have names of their own.
    fn heading(self, usual: bool) -> String {
        match self {
            Id => "ID".to_owned(),
            Time if usual => "Time".to_owned(),
            Outcome if usual => "Outcome".to_owned(),
            named => {
                let name = named.name().replace('_', " ");
                let (first, rest) = name.split_at(1);
                first.to_uppercase() + rest
            }
        }
    }

    fn cell(self, task: &Task, is_narrow: bool) -> Cell {
        // What was wrong rather than the exit code, where there is no room for both.
        let short = |why: String| match why.strip_prefix("exit code ").and_then(|rest| rest.split_once(": ")) {
            Some((_, telling)) if is_narrow => telling.to_owned(),
            _ => why,
        };
        let seconds = |value: Option<f64>| Cell::new(text::or_dash(value.map(text::seconds)));
        let number = |value: Option<i32>| Cell::new(text::or_dash(value.map(|value| value.to_string())));
        let when = |value: Option<&str>| Cell::new(text::or_dash(value.map(text::when)));
        let line = |value: Option<&String>| Cell::new(text::or_dash(value.map(|value| text::first_line(value))));
        match self {
            Id => Cell::new(task.task_id),
            Status => status_cell(task.status),
            Name => Cell::new(text::first_line(&task.name)),
            Function => Cell::new(text::first_line(&task.function)),
            Priority => Cell::new(task.priority.as_str()),
            Tries => Cell::new(tries(task)),
            Time => seconds(task.execution_time),
            Outcome => Cell::new(short(text::outcome(task))),
            Self::Batch => Cell::new(task.batch_id),
            Self::Waited => seconds(task.wait_time),
            Self::Retries => Cell::new(task.retry_count),
            Self::Interruptions => Cell::new(task.interruptions),
            Self::Timeout => seconds(task.timeout),
            Self::ExitCode => number(task.exit_code),
            Self::Signal => number(task.signal),
            Self::Error => Cell::new(text::or_dash(task.error.as_deref().map(|error| short(text::reason(error))))),
            Self::Reason => line(task.reason.as_ref()),
            Self::Created => Cell::new(text::when(&task.created_at)),
            Self::Started => when(task.started_at.as_deref()),
            Self::Finished => when(task.finished_at.as_deref()),
        }
    }
}

/// How many attempts were begun, as far as the task itself says.
fn tries(task: &Task) -> u32 {
    u32::from(task.started_at.is_some()) + task.retry_count + task.interruptions
}
