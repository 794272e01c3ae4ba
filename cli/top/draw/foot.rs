//! The last line: a question, what is typed, what was said, or the keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

use crate::top::look::Look;
use crate::top::model::Model;
use crate::top::model::page::{Page, Prompt, Purpose};

/// Keys with what they do; those that come first stay when there is little room.
type Keys = &'static [(&'static str, &'static str)];

const PANELS: Keys = &[
    ("q", "quit"),
    ("?", "help"),
    ("Enter", "look"),
    ("l", "log"),
    ("c", "cancel"),
    ("p", "pause"),
    ("r", "retry"),
    ("Tab", "panel"),
    ("+-", "cap"),
    ("f", "find"),
    ("b", "batch"),
    ("/", "list"),
    ("s", "sort"),
];
const TASK: Keys =
    &[("Esc", "back"), ("l", "log"), ("c", "cancel"), ("r", "retry"), ("?", "help"), ("arrows", "scroll")];
const LOG: Keys = &[
    ("Esc", "back"),
    ("/", "search"),
    ("n N", "up, down"),
    ("g G", "start, end"),
    ("c", "cancel"),
    ("arrows", "scroll"),
];
const FOUND: Keys =
    &[("Esc", "back"), ("Enter", "look"), ("l", "log"), ("c", "cancel"), ("r", "retry"), ("f", "find"), ("?", "help")];
const HELP: Keys = &[("Esc", "back"), ("arrows", "scroll"), ("q", "quit")];

/// Draws it.
pub fn draw(model: &Model, look: Look, cells: &mut Buffer, line: Rect) {
    let put = |cells: &mut Buffer, x: u16, text: &str, style: Style| {
        look.put(cells, (x, line.y), line.right().saturating_sub(x), text, style)
    };
    match (&model.prompt, &model.notice, &model.away) {
        (Some(Prompt::Question { question, .. }), _, _) => {
            // The answers are seen however long the question is.
            let answers = " y yes, n no";
            let width = line.width.saturating_sub(13);
            let x = look.put(cells, (line.x + 1, line.y), width, question, look.bad().patch(Look::strong()));
            put(cells, x, answers, Style::new());
        }
        (Some(Prompt::Text { purpose, text }), _, _) => {
            let label = match purpose {
                Purpose::Find => "find: ",
                Purpose::Narrow => "list only: ",
                Purpose::Search => "search: ",
            };
            let x = put(cells, line.x + 1, label, Look::strong());
            let (shown, hint) = (tail(text, line.right().saturating_sub(x + 2)), hint(*purpose));
            let x = put(cells, x, shown, Style::new());
            let x = put(cells, x, " ", Look::selected());
            if text.is_empty() {
                put(cells, x + 1, hint, Look::faint());
            }
        }
        (None, Some(said), None) => drop(put(cells, line.x + 1, said, Look::strong())),
        (None, _, Some(why)) => drop(put(cells, line.x + 1, why, look.bad().patch(Look::strong()))),
        (None, None, None) => keys(of(model), look, cells, line),
    }
}

const fn hint(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Find => "failed, a text, or a filter: runtime>5m and name~photo",
        Purpose::Narrow => "a text, or an id",
        Purpose::Search => "a text",
    }
}

/// The end of a text that is longer than the line.
fn tail(text: &str, width: u16) -> &str {
    let mut rest = text;
    while Span::raw(rest).width() > usize::from(width) {
        let mut characters = rest.chars();
        characters.next();
        rest = characters.as_str();
    }
    rest
}

fn of(model: &Model) -> Keys {
    match model.pages.last() {
        None => PANELS,
        Some(Page::Task(_)) => TASK,
        Some(Page::Log(_)) => LOG,
        Some(Page::Found(_)) => FOUND,
        Some(Page::Help(_)) => HELP,
    }
}

fn keys(keys: Keys, look: Look, cells: &mut Buffer, line: Rect) {
    let mut x = line.x + 1;
    for (key, does) in keys {
        let width = u16::try_from(key.len() + 1 + does.len()).unwrap_or(u16::MAX);
        if x.saturating_add(width) > line.right() {
            return;
        }
        x = look.put(cells, (x, line.y), width, key, look.good().patch(Look::strong()));
        x = look.put(cells, (x + 1, line.y), width, does, Look::faint()) + 2;
    }
}
