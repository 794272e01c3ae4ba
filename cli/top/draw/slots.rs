//! What runs, and for how long.

use batch_executor::task::RunState;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::list;
use crate::top::look::Look;
use crate::top::model::Model;
use crate::top::model::page::Panel;
use crate::top::model::slots::Running;
use crate::views::text;

/// So many times as long as usual is long.
const LONG: f64 = 3.0;

/// In seconds; before, it is not worth a look.
const LONG_SECONDS: f64 = 5.0;

/// Which columns there are.
#[derive(Clone, Copy)]
struct Shown {
    usual: bool,
    batch: bool,
    function: bool,
    /// Digits of the largest id.
    ids: i16,
}

/// Draws it; gives where the rows are.
pub fn draw(model: &mut Model, look: Look, cells: &mut Buffer, area: Rect) -> Rect {
    let keys = model.keys(Panel::Slots);
    if keys.is_empty() {
        list::nothing(look, cells, area, &idle(model));
        return Rect { height: 0, ..area };
    }
    let largest = keys.iter().filter_map(|key| model.slot(*key)).map(|task| task.task_id).max().unwrap_or(0);
    let ids = i16::try_from(largest.to_string().len()).unwrap_or(i16::MAX).max(4);
    let shown = Shown { usual: area.width >= 90, batch: area.width >= 60, function: area.width >= 100, ids };
    heading(look, cells, area, shown);
    let rows = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let mut cursor = *model.cursor(Panel::Slots);
    let focused = model.focus == Panel::Slots;
    list::draw(cells, rows, &mut cursor, &keys, focused, |cells, line, key| {
        if let Some(task) = model.slot(key) {
            row(model, look, cells, line, task, shown);
        }
    });
    *model.cursor(Panel::Slots) = cursor;
    rows
}

fn heading(look: Look, cells: &mut Buffer, area: Rect, shown: Shown) {
    let faint = Look::faint();
    let mut texts = vec![(1, "", faint), (-10, "for", faint)];
    if shown.usual {
        texts.push((-7, "x usual", faint));
    }
    texts.push((-shown.ids, "task", faint));
    if shown.batch {
        texts.push((-5, "batch", faint));
    }
    if shown.function {
        texts.push((16, "function", faint));
    }
    texts.push((0, "name", faint));
    list::columns(look, cells, Rect { height: 1, ..area }, &texts);
}

fn row(model: &Model, look: Look, cells: &mut Buffer, line: Rect, task: &Running, shown: Shown) {
    let seconds = model.since(task.since);
    let usual = model.status.as_ref().and_then(|status| status.average_task_time).filter(|usual| *usual > 0.05);
    let times = usual.map(|usual| seconds / usual);
    let is_long = seconds >= LONG_SECONDS && times.is_some_and(|times| times >= LONG);
    let (sign, style) = match (&task.held, is_long) {
        (Some(_), _) => ("=", look.bad()),
        (None, true) => ("!", look.bad()),
        (None, false) => (">", look.good()),
    };
    let (lasted, id) = (text::seconds(seconds), task.task_id.to_string());
    let times = times.map(|times| format!("{times:.1}")).unwrap_or_default();
    let batch = task.batch_id.map(|id| id.to_string()).unwrap_or_default();
    let again = task.attempt.filter(|attempt| *attempt > 1).map(|attempt| format!(" (attempt {attempt})"));
    let held = task.held.as_ref().map(|why| format!(" ({why})"));
    let name = format!("{}{}{}", task.name, again.unwrap_or_default(), held.unwrap_or_default());
    let mut texts = vec![(1, sign, style), (-10, lasted.as_str(), if is_long { look.bad() } else { Style::new() })];
    if shown.usual {
        texts.push((-7, times.as_str(), if is_long { look.bad() } else { Look::faint() }));
    }
    texts.push((-shown.ids, id.as_str(), Style::new()));
    if shown.batch {
        texts.push((-5, batch.as_str(), Look::faint()));
    }
    if shown.function {
        texts.push((16, task.function.as_str(), Look::faint()));
    }
    texts.push((0, name.as_str(), Style::new()));
    list::columns(look, cells, line, &texts);
}

/// Why no rows are there.
fn idle(model: &Model) -> String {
    let Some(status) = &model.status else { return "asking the daemon".to_owned() };
    if model.slots.busy() > 0 {
        return "nothing of what runs is to be listed; Esc lists all".to_owned();
    }
    match status.state {
        RunState::Stopped if status.counts.queued > 0 => {
            format!("nothing runs; p starts {}", text::tasks(u64::try_from(status.counts.queued).unwrap_or(0)))
        }
        RunState::Running if status.paused => "nothing runs; p goes on".to_owned(),
        RunState::Running if status.counts.queued > 0 => {
            status.reason.as_ref().map_or_else(|| "nothing runs".to_owned(), |why| format!("nothing runs: {why}"))
        }
        _ => "nothing runs".to_owned(),
    }
}
