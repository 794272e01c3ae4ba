//! Failures as they come, the latest first.

use chrono::{DateTime, Local};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::list;
use crate::top::look::Look;
use crate::top::model::Model;
use crate::top::model::failures::Failure;
use crate::top::model::page::Panel;
use crate::views::text::short_reason;

/// In fewer columns there is no room for an exit code beside what was wrong.
const SHORT: u16 = 70;

/// Draws it; gives where the rows are.
pub fn draw(model: &mut Model, look: Look, cells: &mut Buffer, area: Rect) -> Rect {
    let keys = model.keys(Panel::Failures);
    if keys.is_empty() {
        let said = if model.failures.all().next().is_none() { "nothing has failed" } else { "none of them is listed" };
        list::nothing(look, cells, area, said);
    }
    let mut cursor = *model.cursor(Panel::Failures);
    // As wide as the longest that may be seen, but leaving room for what is said.
    let shown = model.failures.all().take(cursor.first + usize::from(area.height));
    let longest = shown.map(|failure| failure.name.chars().count()).max().unwrap_or(0);
    let name = i16::try_from(longest.clamp(8, usize::from(area.width * 2 / 5).max(8))).unwrap_or(8);
    let focused = model.focus == Panel::Failures;
    list::draw(cells, area, &mut cursor, &keys, focused, |cells, line, key| {
        if let Some(failure) = model.failures.get(key) {
            row(look, cells, line, failure, name);
        }
    });
    *model.cursor(Panel::Failures) = cursor;
    area
}

/// `x`: the task has failed; `~`: it is tried again.
fn row(look: Look, cells: &mut Buffer, line: Rect, failure: &Failure, name: i16) {
    let sign = if failure.again { ("~", Look::faint()) } else { ("x", look.bad().patch(Look::strong())) };
    let at = DateTime::from_timestamp_millis(failure.at).unwrap_or_default().with_timezone(&Local);
    let at = at.format("%H:%M:%S").to_string();
    let id = failure.task_id.to_string();
    let mut texts = vec![(1, sign.0, sign.1)];
    if line.width >= 60 {
        texts.push((8, at.as_str(), Look::faint()));
    }
    texts.push((-i16::try_from(id.len()).unwrap_or(i16::MAX).max(4), id.as_str(), Style::new()));
    texts.push((name, failure.name.as_str(), Style::new()));
    let said = if line.width < SHORT { short_reason(&failure.said) } else { &failure.said };
    texts.push((0, said, look.bad()));
    list::columns(look, cells, line, &texts);
}
