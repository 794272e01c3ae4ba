//! Many tasks, a line each.

use batch_executor::protocol::Task;
use comfy_table::{Cell, CellAlignment, Table};

use super::{status_cell, table as new_table, text};

/// A table of tasks with what each came to.
pub fn table(tasks: &[Task]) -> Table {
    let mut table = new_table(&["ID", "Name", "Function", "Status", "Priority", "Attempts", "Time", "Outcome"]);
    for task in tasks {
        table.add_row(vec![
            Cell::new(task.task_id).set_alignment(CellAlignment::Right),
            Cell::new(text::first_line(&task.name)),
            Cell::new(text::first_line(&task.function)),
            status_cell(task.status),
            Cell::new(task.priority.as_str()),
            Cell::new(attempts(task)).set_alignment(CellAlignment::Right),
            Cell::new(text::or_dash(task.execution_time.map(text::seconds))).set_alignment(CellAlignment::Right),
            Cell::new(text::outcome(task)),
        ]);
    }
    table
}

/// How many attempts were begun, as far as the task itself says.
fn attempts(task: &Task) -> u32 {
    u32::from(task.started_at.is_some()) + task.retry_count + task.interruptions
}
