//! The first lines: the executor, how far it is, how fast, how long still, the machine.

use batch_executor::protocol::{Counts, StatusData};
use batch_executor::task::RunState;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

use crate::top::look::Look;
use crate::top::model::Model;
use crate::top::model::pace::span;
use crate::views::text;

/// From this width on the rate of the latest minutes is drawn.
const WITH_HISTORY: u16 = 110;
/// What is beside it has so many columns at least.
const LEFT: u16 = 74;
/// Seconds that a cell of it stands for.
const SPAN: i64 = 5;
/// Less free than this is worth a look, in bytes.
const LITTLE_DISK: u64 = 1 << 30;

/// A text in a style.
type Part = (String, Style);

/// Draws it; gives how many lines it took.
pub fn draw(model: &Model, look: Look, cells: &mut Buffer, area: Rect) -> u16 {
    let Some(status) = &model.status else {
        let said = model.away.clone().unwrap_or_else(|| "asking the daemon".to_owned());
        return flow(look, cells, area, &[vec![(said, Look::faint())]]);
    };
    let whole = area;
    let area =
        Rect { width: if area.width >= WITH_HISTORY { (area.width * 6 / 10).max(LEFT) } else { area.width }, ..area };
    let mut y = area.y + flow(look, cells, area, &executor(model, look, status));
    let below = |y: u16| Rect { y, height: area.bottom().saturating_sub(y), ..area };
    for gate in status.gates.iter().flatten().filter(|gate| gate.open == Some(false)) {
        let found = gate.found.as_deref().unwrap_or_default();
        let said = vec![(format!("gate {} is closed: {found}", gate.gate), look.bad())];
        y += flow(look, cells, below(y), &[said]);
    }
    if status.counts.total > 0 && y < area.bottom() {
        progress(look, cells, Rect { y, height: 1, ..area }, status);
        y += 1;
    }
    y += flow(look, cells, below(y), &counts(look, &status.counts));
    let mut groups = pace(model, status);
    groups.extend(machine(model, look));
    y += flow(look, cells, below(y), &groups);
    if whole.width > area.width {
        let x = area.right() + 2;
        history(model, look, cells, Rect { x, width: whole.right().saturating_sub(x + 1), height: y - area.y, ..area });
    }
    y - area.y
}

fn executor(model: &Model, look: Look, status: &StatusData) -> Vec<Vec<Part>> {
    let (word, style) = match (status.state, status.paused) {
        (RunState::Running, true) => ("PAUSED", look.bad()),
        (RunState::Running, false) => ("RUNNING", look.good()),
        (RunState::Stopping, _) => ("STOPPING", look.bad()),
        (RunState::Stopped, _) => ("STOPPED", Style::new()),
    };
    let cap = status.lowered_to.unwrap_or(status.max_concurrent);
    let asked = model.cap.map(|cap| format!(", {cap} asked for")).unwrap_or_default();
    let mut first = vec![(word.to_owned(), style.patch(Look::strong()))];
    first.push((format!(" at most {cap} at once{asked}"), Style::new()));
    let is_gate = |reason: &&String| !reason.starts_with("gate");
    let mut groups = vec![first];
    if let Some(reason) = status.reason.as_ref().filter(is_gate) {
        groups.push(vec![(reason.clone(), look.bad())]);
    }
    if status.keep {
        groups.push(vec![("stays for tasks to come".to_owned(), Look::faint())]);
    }
    if let Some(deadline) = &status.deadline {
        groups.push(vec![(format!("until {deadline}"), Style::new())]);
    }
    if let Some(batch) = model.batch {
        groups.push(vec![(format!("batch {batch} alone"), look.good())]);
    }
    if !model.narrow.is_empty() {
        groups.push(vec![(format!("listed: {:?}", model.narrow), look.good())]);
    }
    groups
}

/// The bar with its percentage.
fn progress(look: Look, cells: &mut Buffer, line: Rect, status: &StatusData) {
    let percent = format!("{:.0} %", status.progress.floor());
    let width = line.width.saturating_sub(8);
    bar(look, cells, Rect { x: line.x + 1, width, ..line }, &status.counts);
    look.put(cells, (line.x + 2 + width, line.y), 5, &percent, Look::strong());
}

/// How fast it went, the latest at the right, in as many rows as the lines beside it took; above it what the highest is.
fn history(model: &Model, look: Look, cells: &mut Buffer, area: Rect) {
    let rates = model.pace.history(area.width.into(), SPAN);
    let most = rates.iter().copied().fold(0.0, f64::max);
    let Some(rows) = area.height.checked_sub(1).filter(|rows| *rows > 0 && most > 0.0) else { return };
    let said = format!("{SPAN} s a column, at most {}", rate(most));
    let length = u16::try_from(said.len()).unwrap_or(area.width).min(area.width);
    look.put(cells, (area.right() - length, area.y), length, &said, Look::faint());
    let heights = look.heights();
    let from = area.right() - u16::try_from(rates.len()).unwrap_or(area.width).min(area.width);
    for (x, a_second) in (from..area.right()).zip(rates) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 8 in each row")]
        let mut height = (a_second / most * 8.0 * f64::from(rows)).ceil().max(0.0) as usize;
        for y in (area.y + 1..area.bottom()).rev() {
            cells.set_stringn(x, y, heights.get(height.min(8)).copied().unwrap_or(" "), 1, look.good());
            height = height.saturating_sub(8);
        }
    }
}

/// What is completed, failed or cancelled, running, to come, as parts of a bar.
pub fn bar(look: Look, cells: &mut Buffer, line: Rect, counts: &Counts) {
    let [done, failed, running, queued] = look.bar();
    let parts = [
        (counts.completed, done, look.good()),
        (counts.failed + counts.cancelled, failed, look.bad()),
        (counts.running, running, look.good()),
    ];
    let width = i64::from(line.width);
    let (mut x, mut sum) = (line.x, 0);
    for (count, symbol, style) in parts {
        sum += count;
        let end = u16::try_from((sum * width).checked_div(counts.total).unwrap_or(0)).unwrap_or(line.width);
        // What is there is seen, if little.
        let end = (line.x + end).max(x + u16::from(count > 0)).min(line.right());
        cells.set_stringn(x, line.y, symbol.repeat((end - x).into()), (end - x).into(), style);
        x = end;
    }
    let rest = line.right() - x;
    cells.set_stringn(x, line.y, queued.repeat(rest.into()), rest.into(), Look::faint());
}

fn counts(look: Look, counts: &Counts) -> Vec<Vec<Part>> {
    let all = [
        (counts.queued, "queued", Style::new()),
        (counts.running, "running", look.good()),
        (counts.completed, "completed", look.good()),
        (counts.failed, "failed", look.bad()),
        (counts.cancelled, "cancelled", look.bad()),
    ];
    if counts.total == 0 {
        return vec![vec![("no tasks".to_owned(), Look::faint())]];
    }
    let there = all.into_iter().filter(|(count, _, _)| *count > 0);
    there.map(|(count, word, style)| vec![(count.to_string(), Look::strong()), (format!(" {word}"), style)]).collect()
}

fn pace(model: &Model, status: &StatusData) -> Vec<Vec<Part>> {
    let left = status.counts.queued + status.counts.running;
    let mut groups = Vec::new();
    if status.throughput > 0.0 {
        groups.push(vec![(rate(status.throughput), Look::strong())]);
    }
    if left > 0 && status.state == RunState::Running {
        groups.push(match model.eta() {
            Some(eta) => vec![(span(eta), Look::strong()), (" to go".to_owned(), Look::faint())],
            None => vec![("time to go not known".to_owned(), Look::faint())],
        });
    }
    groups
}

/// Tasks in the unit in which it is a number.
fn rate(a_second: f64) -> String {
    if a_second >= 0.95 { format!("{a_second:.1}/s") } else { format!("{:.1}/min", a_second * 60.0) }
}

fn machine(model: &Model, look: Look) -> Vec<Vec<Part>> {
    let mut groups = Vec::new();
    if let Some(free) = model.machine.disk_free {
        let style = if free < LITTLE_DISK { look.bad() } else { Style::new() };
        groups.push(vec![
            ("disk ".to_owned(), Look::faint()),
            (text::bytes(free), style),
            (" free".to_owned(), Look::faint()),
        ]);
    }
    if let Some((available, all)) = model.machine.memory {
        // Less than a tenth is little.
        let style = if available < all / 10 { look.bad() } else { Style::new() };
        groups.push(vec![
            ("memory ".to_owned(), Look::faint()),
            (text::bytes(available), style),
            (" free".to_owned(), Look::faint()),
        ]);
    }
    groups
}

/// Writes groups of parts beside each other; one that does not fit begins the next line. Gives how many lines there are.
fn flow(look: Look, cells: &mut Buffer, area: Rect, groups: &[Vec<Part>]) -> u16 {
    if area.height == 0 {
        return 0;
    }
    let (mut x, mut y) = (area.x + 1, area.y);
    for group in groups {
        let width: usize = group.iter().map(|(text, _)| Span::raw(&*look.tame(text)).width()).sum();
        let width = u16::try_from(width).unwrap_or(u16::MAX);
        if x > area.x + 1 && x.saturating_add(width) > area.right() {
            (x, y) = (area.x + 1, y + 1);
        }
        if y >= area.bottom() {
            return area.height;
        }
        for (text, style) in group {
            x = look.put(cells, (x, y), area.right().saturating_sub(x), text, *style);
        }
        x += 2;
    }
    y + 1 - area.y
}
