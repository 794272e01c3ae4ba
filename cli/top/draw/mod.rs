//! Cells of what the model knows: a file for each part of the screen. Pure.

mod batches;
mod failures;
mod foot;
mod found;
mod header;
mod help;
mod list;
mod log;
mod places;
mod queue;
mod slots;
mod task;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::look::Look;
use super::model::Model;
use super::model::page::{Page, Panel};

pub use places::Places;

/// Narrower or lower than this, there is one panel at a time.
const ONE_PANEL: (u16, u16) = (70, 12);
/// From this width on all panels are there at once.
const ALL_PANELS: u16 = 120;

/// How many batches the daemon lists.
const LATEST: usize = 10;

/// Draws all of it. Gives where what is.
pub fn draw(model: &mut Model, look: Look, cells: &mut Buffer) -> Places {
    let mut places = Places::default();
    let area = cells.area;
    let Some(body) = area.height.checked_sub(1) else { return places };
    foot::draw(model, look, cells, Rect { y: area.y + body, height: 1, ..area });
    let area = Rect { height: body, ..area };
    let mut pages = std::mem::take(&mut model.pages);
    match pages.last_mut() {
        None => {
            let used = header::draw(model, look, cells, area);
            let rest = Rect { y: area.y + used, height: area.height - used, ..area };
            panels(model, look, cells, rest, &mut places);
        }
        Some(Page::Task(page)) => task::draw(page, look, cells, area),
        Some(Page::Log(page)) => log::draw(page, look, cells, area),
        Some(Page::Found(page)) => places.found = Some(found::draw(page, look, cells, area)),
        Some(Page::Help(scroll)) => help::draw(scroll, look, cells, area),
    }
    model.pages = pages;
    places
}

fn panels(model: &mut Model, look: Look, cells: &mut Buffer, area: Rect, places: &mut Places) {
    if matches!(model.focus, Panel::Queue | Panel::Batches) {
        model.left = model.focus;
    } else if model.left == Panel::Slots {
        model.left = Panel::Queue;
    }
    if area.width < ONE_PANEL.0 || area.height < ONE_PANEL.1 {
        let Some(height) = area.height.checked_sub(1) else { return };
        tabs(model, look, cells, Rect { height: 1, ..area }, places);
        panel(model.focus, model, look, cells, Rect { y: area.y + 1, height, ..area }, places);
        return;
    }
    // A line each for the title and the columns, and one in which more is said.
    let wanted = model.slots.all().len().max(3) + 3;
    let above = u16::try_from(wanted).unwrap_or(u16::MAX).min(area.height * 3 / 5);
    titled(Panel::Slots, model, look, cells, Rect { height: above, ..area }, places);
    let below = Rect { y: area.y + above, height: area.height - above, ..area };
    let parts: &[(Panel, u16)] = if area.width >= ALL_PANELS {
        &[(Panel::Queue, 30), (Panel::Batches, 26), (Panel::Failures, 44)]
    } else {
        &[(model.left, 46), (Panel::Failures, 54)]
    };
    let mut x = below.x;
    for (index, (which, percent)) in parts.iter().enumerate() {
        let is_last = index + 1 == parts.len();
        // A column between two panels stays blank.
        let width = if is_last { below.right() - x } else { below.width * percent / 100 };
        titled(*which, model, look, cells, Rect { x, width: width - u16::from(!is_last), ..below }, places);
        x += width;
    }
}

/// A panel below its title.
fn titled(which: Panel, model: &mut Model, look: Look, cells: &mut Buffer, area: Rect, places: &mut Places) {
    let Some(height) = area.height.checked_sub(1) else { return };
    panel(which, model, look, cells, Rect { y: area.y + 1, height, ..area }, places);
    let (line, focused) = (Rect { height: 1, ..area }, model.focus == which);
    let said = format!("{}{}", said(which, model), hidden(which, model));
    title(look, cells, line, which.title(), &said, focused);
    places.tabs.push((which, line));
}

/// Which rows are shown, where not all are.
fn hidden(which: Panel, model: &mut Model) -> String {
    let (rows, cursor) = (model.keys(which).len(), *model.cursor(which));
    let is_looked_at = which == Panel::Slots || which == model.focus;
    if rows <= cursor.shown || cursor.shown == 0 || !is_looked_at {
        return String::new();
    }
    format!(", rows {} to {}", cursor.first + 1, (cursor.first + cursor.shown).min(rows))
}

fn panel(which: Panel, model: &mut Model, look: Look, cells: &mut Buffer, area: Rect, places: &mut Places) {
    let rows = match which {
        Panel::Slots => slots::draw(model, look, cells, area),
        Panel::Queue => queue::draw(model, look, cells, area),
        Panel::Batches => batches::draw(model, look, cells, area),
        Panel::Failures => failures::draw(model, look, cells, area),
    };
    places.lists.push((which, rows));
}

/// What a title says beside the name.
fn said(which: Panel, model: &Model) -> String {
    let status = model.status.as_ref();
    match which {
        Panel::Slots => status.map_or_else(String::new, |status| {
            let sort = model.sort.said();
            format!("{} of {} busy, {sort}", model.slots.busy(), status.max_concurrent)
        }),
        Panel::Queue => status.map_or_else(String::new, |status| status.counts.queued.to_string()),
        Panel::Batches if model.batches.len() >= LATEST => format!("the latest {LATEST}"),
        Panel::Batches => model.batches.len().to_string(),
        Panel::Failures => status.map_or_else(String::new, |status| status.counts.failed.to_string()),
    }
}

/// A line across with a name in it; in brackets: keys go here.
fn title(look: Look, cells: &mut Buffer, area: Rect, name: &str, said: &str, focused: bool) {
    rule(look, cells, area.x, 1, area.y);
    let (name, style) = if focused {
        (format!("[{name}]"), look.good().patch(Look::strong()))
    } else {
        (format!(" {name} "), Look::strong())
    };
    let mut x = put(look, cells, (area.x + 1, area.y), area.right(), &name, style);
    if !said.is_empty() {
        x = put(look, cells, (x, area.y), area.right(), &format!(" {said} "), Style::new());
    }
    rule(look, cells, x, area.right().saturating_sub(x), area.y);
}

fn rule(look: Look, cells: &mut Buffer, x: u16, width: u16, y: u16) {
    cells.set_stringn(x, y, look.rule().repeat(width.into()), width.into(), Look::faint());
}

/// All panels' names in one line.
fn tabs(model: &Model, look: Look, cells: &mut Buffer, area: Rect, places: &mut Places) {
    let counted = |which| match which {
        Panel::Slots => format!(" {}", model.slots.busy()),
        Panel::Queue | Panel::Failures => format!(" {}", said(which, model)),
        Panel::Batches => format!(" {}", model.batches.len()),
    };
    let wanted: usize = Panel::ALL.iter().map(|which| which.title().len() + counted(*which).len() + 2).sum();
    let is_tight = wanted > area.width.into();
    let mut x = area.x;
    for which in Panel::ALL {
        // The header has the numbers, too.
        let said = if is_tight && model.focus != which { String::new() } else { counted(which) };
        let (name, style) = if model.focus == which {
            (format!("[{}{said}]", which.title()), look.good().patch(Look::strong()))
        } else {
            (format!(" {}{said} ", which.title()), Style::new())
        };
        let end = put(look, cells, (x, area.y), area.right(), &name, style);
        places.tabs.push((which, Rect { x, width: end - x, ..area }));
        x = end;
    }
    rule(look, cells, x, area.right().saturating_sub(x), area.y);
}

/// Writes a text up to a column that is not its own any more.
fn put(look: Look, cells: &mut Buffer, (x, y): (u16, u16), end: u16, text: &str, style: Style) -> u16 {
    look.put(cells, (x, y), end.saturating_sub(x), text, style)
}
