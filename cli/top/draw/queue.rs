//! What waits: how much at each priority, and what is next.

use batch_executor::protocol::Task;
use batch_executor::task::Priority;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::list;
use crate::top::look::Look;
use crate::top::model::Model;
use crate::top::model::page::Panel;

/// From this width on priorities are words.
const WORDS: u16 = 44;

/// Draws it; gives where the rows are.
pub fn draw(model: &mut Model, look: Look, cells: &mut Buffer, area: Rect) -> Rect {
    let mut area = area;
    let priorities = priorities(model, area.width);
    if !priorities.is_empty() && area.height > 0 {
        look.put(cells, (area.x + 1, area.y), area.width.saturating_sub(1), &priorities, Style::new());
        area = Rect { y: area.y + 1, height: area.height - 1, ..area };
    }
    let keys = model.keys(Panel::Queue);
    if keys.is_empty() {
        list::nothing(
            look,
            cells,
            area,
            if model.next.is_empty() { "nothing waits" } else { "nothing of it is listed" },
        );
    }
    let ids = keys.iter().max().map_or(4, |id| i16::try_from(id.to_string().len()).unwrap_or(i16::MAX).max(4));
    let mut cursor = *model.cursor(Panel::Queue);
    let focused = model.focus == Panel::Queue;
    list::draw(cells, area, &mut cursor, &keys, focused, |cells, line, key| {
        if let Some(task) = model.next.iter().find(|task| task.task_id == key) {
            row(look, cells, line, task, ids);
        }
    });
    *model.cursor(Panel::Queue) = cursor;
    area
}

/// How many are queued at each priority that has some, the most urgent first.
fn priorities(model: &Model, width: u16) -> String {
    let Some(queued) = &model.priorities else {
        return String::new();
    };
    let said = Priority::ALL.iter().rev().filter_map(|priority| {
        let count = queued.get(priority).filter(|count| **count > 0)?;
        Some(if width >= WORDS { format!("{count} {priority}") } else { format!("{} {count}", letter(*priority)) })
    });
    said.collect::<Vec<_>>().join("  ")
}

fn row(look: Look, cells: &mut Buffer, line: Rect, task: &Task, ids: i16) {
    let style = match task.priority {
        Priority::Critical => look.bad().patch(Look::strong()),
        Priority::High => look.bad(),
        Priority::Medium | Priority::Low => Look::faint(),
    };
    let id = task.task_id.to_string();
    let batch = task.batch_id.to_string();
    let mut texts = vec![(1, letter(task.priority), style), (-ids, id.as_str(), Style::new())];
    if line.width >= 40 {
        texts.push((-4, batch.as_str(), Look::faint()));
    }
    let why = task.reason.as_deref().filter(|why| is_its_own(why)).map(|why| format!(" ({why})")).unwrap_or_default();
    let name = format!("{}{why}", task.name);
    texts.push((0, name.as_str(), Style::new()));
    list::columns(look, cells, line, &texts);
}

/// A priority in a letter.
const fn letter(priority: Priority) -> &'static str {
    match priority {
        Priority::Critical => "C",
        Priority::High => "H",
        Priority::Medium => "M",
        Priority::Low => "L",
    }
}

/// Whether a task waits for something else than all do.
fn is_its_own(why: &str) -> bool {
    ["retry in", "delayed for", "paused"].iter().any(|begin| why.starts_with(begin))
}
