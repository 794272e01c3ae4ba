//! What all lists have: rows, one of them selected, and which of them are shown.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::top::look::Look;
use crate::top::model::cursor::Cursor;
use crate::views::text::wrapped;

/// Draws the rows that fit, each by `row`; where keys go to the list the selected one is reversed.
pub fn draw(
    cells: &mut Buffer,
    area: Rect,
    cursor: &mut Cursor,
    keys: &[i64],
    focused: bool,
    mut row: impl FnMut(&mut Buffer, Rect, i64),
) {
    cursor.show(keys, area.height.into());
    let selected = cursor.row(keys).filter(|_| focused);
    let shown = keys.iter().enumerate().skip(cursor.first);
    for ((index, key), y) in shown.zip(area.y..area.bottom()) {
        let line = Rect { y, height: 1, ..area };
        row(cells, line, *key);
        if selected == Some(index) {
            cells.set_style(line, Look::selected());
        }
    }
}

/// What stands in the place of rows.
pub fn nothing(look: Look, cells: &mut Buffer, area: Rect, said: &str) {
    let room = area.width.saturating_sub(2).max(10);
    for (line, y) in wrapped(said, room.into()).iter().zip(area.y..area.bottom()) {
        look.put(cells, (area.x + 1, y), area.width.saturating_sub(1), line, Look::faint());
    }
}

/// Writes texts beside each other, each in so many columns and a blank; a negative width is a text set right, 0 takes the rest.
pub fn columns(look: Look, cells: &mut Buffer, line: Rect, texts: &[(i16, &str, Style)]) {
    let mut x = line.x;
    for (width, text, style) in texts {
        let columns = match width.unsigned_abs() {
            0 => line.right().saturating_sub(x),
            columns => columns.min(line.right().saturating_sub(x)),
        };
        let length = u16::try_from(ratatui::text::Span::raw(*text).width()).unwrap_or(u16::MAX);
        let indent = if *width < 0 { columns.saturating_sub(length) } else { 0 };
        look.put(cells, (x + indent, line.y), columns - indent, text, *style);
        x = (x + columns + 1).min(line.right());
    }
}
