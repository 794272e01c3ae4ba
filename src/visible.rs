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
