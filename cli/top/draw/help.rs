//! All keys, and what the signs mean.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::top::keys::HELP;
use crate::top::look::Look;
use crate::top::model::page::Scroll;
use crate::views::text::wrapped;

/// What stands before a row.
const SIGNS: &[(&str, &str)] = &[
    (">", "runs"),
    ("!", "runs three times as long as tasks do on average"),
    ("=", "is suspended, and goes on where it was"),
    ("x", "has failed"),
    ("~", "an attempt failed, the task is tried again"),
    ("C H M L", "critical, high, medium, low priority"),
];

/// Draws it.
pub fn draw(scroll: &mut Scroll, look: Look, cells: &mut Buffer, area: Rect) {
    super::title(look, cells, Rect { height: 1, ..area }, "Help", "", true);
    let area = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let column = if area.width >= ONE_LINE { 16 } else { 3 };
    let mut lines: Vec<(&str, String)> = Vec::new();
    for (key, does) in HELP.iter().chain([&("", "")]).chain(SIGNS) {
        let room = usize::from(area.width.saturating_sub(column + 2).max(10));
        let is_beside = area.width >= ONE_LINE;
        if !is_beside && !key.is_empty() {
            lines.push((key, String::new()));
        }
        for (number, row) in wrapped(does, room).into_iter().enumerate() {
            lines.push((if is_beside && number == 0 { key } else { "" }, row));
        }
        if does.is_empty() {
            lines.push(("", String::new()));
        }
    }
    scroll.show(lines.len(), area.height.into());
    for ((key, does), y) in lines.iter().skip(scroll.first).zip(area.y..area.bottom()) {
        look.put(cells, (area.x + 1, y), area.width.saturating_sub(1), key, look.good().patch(Look::strong()));
        if !does.is_empty() {
            let x = area.x + 1 + column;
            look.put(cells, (x, y), area.right().saturating_sub(x), does, Style::new());
        }
    }
}

/// From this width on a key and what it does are in one line.
const ONE_LINE: u16 = 60;
