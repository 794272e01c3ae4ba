//! Tasks that were looked for.

use batch_executor::protocol::Task;
use batch_executor::task::Status;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::list;
use crate::top::look::Look;
use crate::top::model::page::FoundPage;
use crate::views::text;

/// Draws it; gives where the rows are.
pub fn draw(page: &mut FoundPage, look: Look, cells: &mut Buffer, area: Rect) -> Rect {
    let listed = i64::try_from(page.tasks.len()).unwrap_or(i64::MAX);
    let said = match page.total {
        Some(total) if total > listed => format!("the first {listed} of {total}"),
        Some(total) => total.to_string(),
        None if page.said.is_some() => String::new(),
        None => "asking".to_owned(),
    };
    let name = if page.sought.is_empty() { "All tasks".to_owned() } else { format!("Found {:?}", page.sought) };
    super::title(look, cells, Rect { height: 1, ..area }, &name, &said, true);
    let area = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    if let Some(said) = &page.said {
        list::nothing(look, cells, area, said);
        return Rect { height: 0, ..area };
    }
    let keys = page.keys();
    if keys.is_empty() && page.total.is_some() {
        list::nothing(look, cells, area, "there are none");
    }
    let ids = keys.last().map_or(4, |id| i16::try_from(id.to_string().len()).unwrap_or(i16::MAX).max(4));
    let (mut cursor, tasks) = (page.cursor, &page.tasks);
    list::draw(cells, area, &mut cursor, &keys, true, |cells, line, key| {
        if let Ok(at) = tasks.binary_search_by_key(&key, |task| task.task_id)
            && let Some(task) = tasks.get(at)
        {
            row(look, cells, line, task, ids);
        }
    });
    page.cursor = cursor;
    area
}

fn row(look: Look, cells: &mut Buffer, line: Rect, task: &Task, ids: i16) {
    let style = match task.status {
        Status::Failed | Status::Cancelled => look.bad(),
        Status::Running | Status::Completed => look.good(),
        Status::Queued => Style::new(),
    };
    let id = task.task_id.to_string();
    let took = task.execution_time.map(text::seconds).unwrap_or_default();
    let mut texts = vec![(9, task.status.as_str(), style), (-ids, id.as_str(), Style::new())];
    if line.width >= 70 {
        texts.push((-10, took.as_str(), Look::faint()));
    }
    let name = i16::try_from(line.width * 3 / 10).unwrap_or(i16::MAX).max(8);
    texts.push((name, task.name.as_str(), Style::new()));
    let said = text::outcome(task);
    texts.push((0, said.as_str(), Look::faint()));
    list::columns(look, cells, line, &texts);
}
