//! How it looks: colours that also colour-blind eyes tell apart, none where none are wanted, and characters that the terminal has.
//!
//! No colour says anything alone: a sign, a letter or a word says it too.

use std::borrow::Cow;

use batch_executor::visible::visible_line;
use ratatui::buffer::{Buffer, CellWidth};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use crate::screen;

/// Characters of a line that are looked at: more than any terminal has columns, some rows of a log.
const MOST_CHARS: usize = 4000;

/// What the terminal can show.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    colours: Colours,
    /// Only ASCII: the locale is not UTF-8.
    pub ascii: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colours {
    None,
    Sixteen,
    Many,
}

impl Look {
    /// As the environment wants it: `NO_COLOR`, `TERM`, the locale.
    pub fn of_environment() -> Self {
        let of = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let many = of("COLORTERM").is_some() || of("TERM").is_some_and(|term| term.contains("256color"));
        let colours = match (screen::colours(), many) {
            (false, _) => Colours::None,
            (true, false) => Colours::Sixteen,
            (true, true) => Colours::Many,
        };
        let locale = of("LC_ALL").or_else(|| of("LC_CTYPE")).or_else(|| of("LANG")).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        Self { colours, ascii: !(locale.contains("utf-8") || locale.contains("utf8")) }
    }

    /// Blue: it goes well, it runs, here is the focus.
    pub fn good(self) -> Style {
        self.coloured(Color::Indexed(32), Color::LightBlue)
    }

    /// Orange: it failed, it waits, look at it.
    pub fn bad(self) -> Style {
        self.coloured(Color::Indexed(172), Color::Yellow)
    }

    fn coloured(self, many: Color, sixteen: Color) -> Style {
        match self.colours {
            Colours::None => Style::new(),
            Colours::Sixteen => Style::new().fg(sixteen),
            Colours::Many => Style::new().fg(many),
        }
    }

    /// What matters less.
    pub fn faint() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What matters more.
    pub fn strong() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is selected.
    pub fn selected() -> Style {
        Style::new().add_modifier(Modifier::REVERSED).remove_modifier(Modifier::DIM)
    }

    /// A line across.
    pub const fn rule(self) -> &'static str {
        if self.ascii { "-" } else { "─" }
    }

    /// The cells of a bar: what is completed, failed, running, and what is to come.
    pub const fn bar(self) -> [&'static str; 4] {
        if self.ascii { ["#", "x", ">", "."] } else { ["█", "▓", "▒", "░"] }
    }

    /// Heights, from nothing to all.
    pub const fn heights(self) -> [&'static str; 9] {
        if self.ascii {
            [" ", "_", "_", ".", ".", "-", "-", "=", "#"]
        } else {
            [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
        }
    }

    /// What stands for the rest of a text.
    pub const fn more(self) -> &'static str {
        if self.ascii { "~" } else { "…" }
    }

    /// A text of others in one line: nothing in it drives the terminal, or has a width on which terminals disagree.
    pub fn tame(self, text: &str) -> Cow<'_, str> {
        let is_plain = |c: char| !c.is_control() && c.is_ascii();
        if text.len() <= MOST_CHARS && text.chars().all(is_plain) {
            return Cow::Borrowed(text);
        }
        let text: String = text.chars().take(MOST_CHARS).filter(|c| !is_joining(*c)).collect();
        let text = visible_line(&text).into_owned();
        if !self.ascii {
            return Cow::Owned(text);
        }
        Cow::Owned(text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect())
    }

    /// A line of a log in rows of so many columns, tabs as blanks.
    pub fn rows(self, line: &str, width: u16) -> Vec<String> {
        let mut rows = vec![String::new()];
        let (mut column, width) = (0, width.max(2));
        for character in self.tame(&untabbed(line)).chars() {
            let columns = character.encode_utf8(&mut [0; 4]).cell_width();
            if column + columns > width {
                rows.push(String::new());
                column = 0;
            }
            if let Some(row) = rows.last_mut() {
                row.push(character);
            }
            column += columns;
        }
        rows
    }

    /// Writes a text of others into a row of cells, at most so many; cut off, it says so. Gives the column after it.
    pub fn put(self, cells: &mut Buffer, (x, y): (u16, u16), width: u16, text: &str, style: Style) -> u16 {
        if width == 0 || x >= cells.area.right() || y >= cells.area.bottom() {
            return x;
        }
        let text = self.tame(text);
        let width = width.min(cells.area.right() - x);
        if Span::raw(&*text).width() <= usize::from(width) {
            return cells.set_stringn(x, y, &text, width.into(), style).0;
        }
        let (end, _) = cells.set_stringn(x, y, &text, usize::from(width) - 1, style);
        cells.set_stringn(end, y, self.more(), 1, style).0
    }
}

/// With blanks up to the next eighth column for each tab.
pub fn untabbed(line: &str) -> Cow<'_, str> {
    if !line.contains('\t') {
        return Cow::Borrowed(line);
    }
    let mut blank = String::with_capacity(line.len() + 16);
    let mut column = 0;
    for character in line.chars() {
        let columns = if character == '\t' { 8 - column % 8 } else { 1 };
        if character == '\t' {
            blank.extend(std::iter::repeat_n(' ', columns));
        } else {
            blank.push(character);
        }
        column += columns;
    }
    Cow::Owned(blank)
}

/// What makes one picture of several characters: some terminals know it, some show them one by one.
const fn is_joining(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use ratatui::layout::Rect;

    pub const PLAIN: Look = Look { colours: Colours::None, ascii: false };
    const ASCII: Look = Look { colours: Colours::None, ascii: true };

    fn row(look: Look, text: &str, width: u16) -> String {
        let mut cells = Buffer::empty(Rect::new(0, 0, 12, 1));
        let end = look.put(&mut cells, (0, 0), width, text, Style::new());
        cells.set_string(end, 0, "|", Style::new());
        let mut row = String::new();
        let mut x = 0;
        while x < 12 {
            row += cells[(x, 0)].symbol();
            x += u16::try_from(Span::raw(cells[(x, 0)].symbol()).width().max(1)).expect("small");
        }
        row.trim_end().to_owned()
    }

    #[test]
    fn what_is_too_long_says_so() {
        assert_eq!(row(PLAIN, "abcdef", 6), "abcdef|");
        assert_eq!(row(PLAIN, "abcdefg", 6), "abcde…|");
        assert_eq!(row(ASCII, "abcdéfg", 6), "abcd?~|");
        assert_eq!(row(PLAIN, "", 6), "|");
    }

    #[test]
    fn wide_characters_are_not_cut_in_halves() {
        assert_eq!(row(PLAIN, "日本語", 6), "日本語|");
        assert_eq!(row(PLAIN, "日本語文", 6), "日本…|");
        assert_eq!(row(PLAIN, "日本語文", 7), "日本語…|");
    }

    #[test]
    fn a_line_of_a_log_goes_on_in_the_next_row() {
        assert_eq!(PLAIN.rows("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(PLAIN.rows("日本語", 5), ["日本", "語"]);
        assert_eq!(PLAIN.rows("a\tb", 80), ["a       b"]);
        assert_eq!(PLAIN.rows("", 4), [""]);
    }

    #[test]
    fn nothing_drives_the_terminal_or_joins_pictures() {
        assert_eq!(PLAIN.tame("a\u{1b}[2J\n\t"), "a\\x1b[2J\\n\\t");
        assert_eq!(PLAIN.tame("👩\u{200d}👧👍\u{1f3fd}❤\u{fe0f}"), "👩👧👍❤");
        assert_eq!(PLAIN.tame("\u{202e}x"), "\\u{202e}x");
    }
}
