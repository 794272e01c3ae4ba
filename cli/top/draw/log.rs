//! What a task writes.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::top::look::Look;
use crate::top::model::log::found;
use crate::top::model::page::LogPage;

/// Draws it.
pub fn draw(page: &mut LogPage, look: Look, cells: &mut Buffer, area: Rect) {
    let log = &mut page.log;
    let attempt = log.attempt.map(|attempt| format!(", attempt {attempt}")).unwrap_or_default();
    let state = match (log.ended, log.follows()) {
        (true, _) => "has ended",
        (false, true) => "follows",
        (false, false) => "stands still; G follows",
    };
    let sought =
        if log.sought.is_empty() { String::new() } else { format!(" {} lines with {:?}", log.matches(), log.sought) };
    let name = format!("Log of {}{attempt}", log.task_id);
    super::title(look, cells, Rect { height: 1, ..area }, &name, &format!("{state}{sought} {}", page.name), true);
    let area = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    log.area = (area.height.into(), area.width.into());
    if let Some(said) = log.said.as_deref().or(if log.is_empty() { Some("nothing was written yet") } else { None }) {
        super::list::nothing(look, cells, area, said);
        return;
    }
    let (lines, from_top) = log.window(area.height.into());
    let mut rows: Vec<String> = Vec::new();
    for line in lines {
        rows.extend(look.rows(line, area.width));
    }
    let first = if from_top { 0 } else { rows.len().saturating_sub(area.height.into()) };
    for (row, y) in rows.iter().skip(first).zip(area.y..area.bottom()) {
        look.put(cells, (area.x, y), area.width, row, Style::new());
        for (from, to) in found(row, &log.sought) {
            let before = row.get(..from).unwrap_or_default();
            let x = area.x + u16::try_from(ratatui::text::Span::raw(before).width()).unwrap_or(0);
            look.put(cells, (x, y), area.right() - x, row.get(from..to).unwrap_or_default(), Look::selected());
        }
    }
}
