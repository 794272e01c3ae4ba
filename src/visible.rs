//! Text of others, made fit to be shown: what could drive a terminal, or turn the order of what is read, is made visible.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with `\x1b` for an escape, `\u{202e}` for a right-to-left override and so on. Line ends and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

/// As [`visible`], in one line.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Whether a terminal may do more with a character than show it.
pub fn is_driving(character: char) -> bool {
    // Controls are C0, DEL and C1; the rest sets the direction of writing (Unicode Standard Annex 9).
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most so many characters of a text; what is left out is marked.
pub fn clipped(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Why a task failed, in one line: how it ended, and the line that says what was wrong.
pub fn reason(error: &str) -> String {
    let ended = error.split_once(": ").map(|(ended, _)| ended).filter(|ended| ended.starts_with("exit code "));
    let telling = telling_line(error);
    match ended {
        Some(ended) if !telling.starts_with(ended) => format!("{ended}: {telling}"),
        _ => telling.to_owned(),
    }
}

/// The line of an error that says what was wrong: of a traceback or a stack the one that names the error, else the last one.
pub fn telling_line(error: &str) -> &str {
    let lines = || error.lines().map(str::trim).filter(|line| !line.is_empty());
    let names_error = |line: &&str| {
        let name = line.split([':', ' ']).next().unwrap_or_default();
        line.contains(": ") && ["Error", "Exception"].iter().any(|kind| name.ends_with(kind))
    };
    lines().rfind(names_error).or_else(|| lines().next_back()).unwrap_or_default()
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(|character| is_driving(character) && !stays(character)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let ends_line = character == '\r' && stays('\n') && characters.peek() == Some(&'\n');
        // Writing to a string does not fail.
        let _ = match character {
            plain if !is_driving(plain) || stays(plain) || ends_line => shown.write_char(plain),
            '\n' => shown.write_str("\\n"),
            '\r' => shown.write_str("\\r"),
            '\t' => shown.write_str("\\t"),
            ascii if ascii.is_ascii() => write!(shown, "\\x{:02x}", u32::from(ascii)),
            other => write!(shown, "{}", other.escape_unicode()),
        };
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_by_the_line_that_says_what_was_wrong() {
        let python = "exit code 1: Traceback (most recent call last):\n  File \"<string>\", line 1, in <module>\nValueError: no such column: age";
        assert_eq!(reason(python), "exit code 1: ValueError: no such column: age");
        let node = "exit code 1: [eval]:1\nboom()\n^\n\nReferenceError: boom is not defined\n    at [eval]:1:1\n\nNode.js v20.20.0";
        assert_eq!(reason(node), "exit code 1: ReferenceError: boom is not defined");
        assert_eq!(
            reason("exit code 6: could not resolve host: example.org"),
            "exit code 6: could not resolve host: example.org"
        );
        assert_eq!(reason("exit code 2: a warning\nno such file: x"), "exit code 2: no such file: x");
        assert_eq!(reason("timed out after 2 s"), "timed out after 2 s");
        assert_eq!(reason(""), "");
    }

    #[test]
    fn what_is_left_out_is_marked() {
        assert_eq!(clipped("日本語", 3), "日本語");
        assert_eq!(clipped("日本語", 2), "日本…");
    }

    #[test]
    fn what_drives_a_terminal_is_made_visible() {
        assert_eq!(
            visible("a\u{1b}[2J\u{7}\u{7f}\u{9b}1m\0é\n\tb\r\nc\rd"),
            "a\\x1b[2J\\x07\\x7f\\u{9b}1m\\x00é\n\tb\r\nc\\rd"
        );
        assert_eq!(
            visible("\u{202a}\u{202e}\u{2066}\u{2069}\u{200f}"),
            "\\u{202a}\\u{202e}\\u{2066}\\u{2069}\\u{200f}"
        );
        assert_eq!(visible_line("a\nb\tc\r\n"), "a\\nb\\tc\\r\\n");
    }

    #[test]
    fn what_is_plain_is_not_copied() {
        assert!(matches!(visible("plain, 日本語\n"), Cow::Borrowed(_)));
    }
}
