//! A task with every attempt, why it ended, its error and its parameters.

use batch_executor::protocol::Task;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use serde_json::Value;

use crate::top::look::{Look, untabbed};
use crate::top::model::page::TaskPage;
use crate::views::task::{fields, what_happened, why};
use crate::views::text::wrapped;

/// The width of the labels.
const LABEL: u16 = 12;
/// The most of a parameter or a result that is shown, in lines.
const MOST_LINES: usize = 200;

/// A label and a text beside it.
type Row = (String, String, Style);

/// Draws it.
pub fn draw(page: &mut TaskPage, look: Look, cells: &mut Buffer, area: Rect) {
    let said = page.task.as_ref().map_or_else(String::new, |task| task.status.to_string());
    super::title(look, cells, Rect { height: 1, ..area }, &format!("Task {}", page.task_id), &said, true);
    let area = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let Some(task) = &page.task else {
        let said = page.said.as_deref().unwrap_or("asking");
        super::list::nothing(look, cells, area, said);
        return;
    };
    let rows = rows(task, look, area.width);
    page.scroll.show(rows.len(), area.height.into());
    for ((label, text, style), y) in rows.iter().skip(page.scroll.first).zip(area.y..area.bottom()) {
        look.put(cells, (area.x + 1, y), area.width.saturating_sub(1), label, Look::faint());
        let x = area.x + 1 + LABEL;
        if !text.is_empty() {
            look.put(cells, (x, y), area.right().saturating_sub(x), text, *style);
        }
    }
}

fn rows(task: &Task, look: Look, width: u16) -> Vec<Row> {
    let mut rows = Vec::new();
    let room = width.saturating_sub(LABEL + 2).max(10);
    let mut add = |label: &str, text: &str, style: Style| {
        let mut label = label.to_owned();
        for line in text.lines().take(MOST_LINES) {
            // Between words; what is wider than it has characters is cut where the row ends.
            let parts = wrapped(&look.tame(&untabbed(line)), room.into());
            for row in parts.iter().flat_map(|part| look.rows(part, room)) {
                rows.push((std::mem::take(&mut label), row, style));
            }
        }
        if !label.is_empty() {
            rows.push((label, String::new(), style));
        }
    };
    let params = task.params.as_object().filter(|params| !params.is_empty());
    for (name, value) in fields(task) {
        let style = if name == "error" { look.bad() } else { Style::new() };
        add(name, &value, style);
    }
    if task.attempts.iter().flatten().next().is_some() {
        add("", " ", Style::new());
    }
    for attempt in task.attempts.iter().flatten() {
        add(&format!("attempt {}", attempt.attempt), &what_happened(attempt), Style::new());
        if let Some(why) = why(attempt) {
            add("", &why, look.bad());
        }
    }
    if params.is_some() {
        add("", " ", Style::new());
        add("parameters", "", Style::new());
    }
    for (name, value) in params.into_iter().flatten() {
        add(name, &shown(value, room), Style::new());
    }
    if let Some(result) = task.result.as_ref().filter(|result| result.get("exit_code").is_none()) {
        add("result", &shown(result, room), Style::new());
    }
    rows
}

/// Text as it is, anything else as JSON: in one line where it has room.
fn shown(value: &Value, room: u16) -> String {
    let line = match value {
        Value::String(text) => return text.clone(),
        other => other.to_string(),
    };
    if line.len() <= room.into() { line } else { serde_json::to_string_pretty(value).unwrap_or(line) }
}
