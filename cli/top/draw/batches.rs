//! The latest batches, and how far they are.

use batch_executor::protocol::BatchInfo;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::header::bar;
use super::list;
use crate::top::look::Look;
use crate::top::model::Model;
use crate::top::model::page::Panel;

/// Cells of a batch's bar.
const BAR: u16 = 10;

/// From this width on what is said of it is words.
const WORDS: u16 = 48;

/// Draws it; gives where the rows are.
pub fn draw(model: &mut Model, look: Look, cells: &mut Buffer, area: Rect) -> Rect {
    let keys = model.keys(Panel::Batches);
    if keys.is_empty() {
        list::nothing(
            look,
            cells,
            area,
            if model.batches.is_empty() { "no batches" } else { "none of them is listed" },
        );
    }
    let mut cursor = *model.cursor(Panel::Batches);
    let focused = model.focus == Panel::Batches;
    list::draw(cells, area, &mut cursor, &keys, focused, |cells, line, key| {
        if let Some(batch) = model.batches.iter().find(|batch| batch.batch_id == key) {
            row(look, cells, line, batch);
        }
    });
    *model.cursor(Panel::Batches) = cursor;
    area
}

fn row(look: Look, cells: &mut Buffer, line: Rect, batch: &BatchInfo) {
    let counts = &batch.counts;
    let ended = counts.completed + counts.failed + counts.cancelled;
    let id = batch.batch_id.to_string();
    list::columns(look, cells, line, &[(-4, &id, Style::new())]);
    let is_wide = line.width >= WORDS;
    let cells_of_bar = if is_wide { BAR } else { BAR / 2 };
    bar(look, cells, Rect { x: line.x + 5, width: cells_of_bar.min(line.width.saturating_sub(5)), ..line }, counts);
    let failed = match (counts.failed, is_wide) {
        (0, _) => String::new(),
        (failed, true) => format!(" {failed} failed"),
        (failed, false) => format!(" x{failed}"),
    };
    let paused = match (batch.paused, is_wide) {
        (false, _) => "",
        (true, true) => " paused",
        (true, false) => " =",
    };
    let used = 6 + cells_of_bar;
    let rest = Rect { x: line.x + used, width: line.width.saturating_sub(used), ..line };
    let done = if is_wide { format!("{ended} of {}", counts.total) } else { format!("{ended}/{}", counts.total) };
    let x = look.put(cells, (rest.x, rest.y), rest.width, &done, Style::new());
    let x = look.put(cells, (x, rest.y), rest.right().saturating_sub(x), &format!("{failed}{paused}"), look.bad());
    let name = batch.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
    look.put(cells, (x, rest.y), rest.right().saturating_sub(x), &name, Style::new());
}
