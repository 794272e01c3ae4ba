//! What tasks wrote, as plain text: what a terminal would have shown at the end.

use std::borrow::Cow;

use batch_executor::visible::{visible, visible_line};

/// The end of a text, and how many bytes of it stand before that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    pub text: String,
    pub before: usize,
}

/// At most so many bytes of the end of a text, from a line's begin where one is near.
pub fn tail(text: &str, most: usize) -> Tail {
    let mut from = text.len().saturating_sub(most);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let cut = &text[from..];
    let skipped = match cut.find('\n') {
        Some(end) if from > 0 && end < cut.len() / 2 => end + 1,
        _ => 0,
    };
    Tail { text: shown(&cut[skipped..]), before: from + skipped }
}

/// Without escape sequences, of each line what overwrote the rest, and the remaining controls visible.
pub fn shown(text: &str) -> String {
    let text = without_escapes(text);
    let mut lines = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        let body = body.trim_end_matches('\r');
        lines.push_str(body.rsplit('\r').next().unwrap_or_default());
        lines.push_str(end);
    }
    visible(&lines).into_owned()
}

/// As [`shown`], in one line of at most so many characters.
pub fn line(text: &str, most: usize) -> String {
    let text = without_escapes(text.trim());
    let text = visible_line(&text);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

/// As text in HTML or SVG, or in an attribute between double quotes.
pub fn markup(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Without control sequences (ECMA-48, 5.4: ESC [, parameters, a final byte) and operating system commands (ESC ], to BEL or ESC \).
fn without_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{1b}') {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        kept.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let end = match after.as_bytes().first() {
            Some(b'[') => after[1..].find(|c: char| ('@'..='~').contains(&c)).map(|end| end + 2),
            Some(b']') => match (after.find('\u{7}'), after.find("\u{1b}\\")) {
                (Some(bell), Some(string)) if string < bell => Some(string + 2),
                (Some(bell), _) => Some(bell + 1),
                (None, string) => string.map(|end| end + 2),
            },
            _ => None,
        };
        match end {
            Some(end) => rest = &after[end..],
            None => {
                kept.push('\u{1b}');
                rest = after;
            }
        }
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_have_shown() {
        assert_eq!(shown("\u{1b}[1;31mred\u{1b}[0m\n 10 %\r 50 %\r100 %\r\nend"), "red\n100 %\nend");
        assert_eq!(shown("\u{1b}]0;title\u{7}a\u{1b}]8;;x\u{1b}\\b"), "ab");
        assert_eq!(shown("a\u{1b}[2\n\u{202e}\u{7}"), "a\\x1b[2\n\\u{202e}\\x07");
    }

    #[test]
    fn the_end_of_a_text_begins_with_a_line_and_whole_characters() {
        assert_eq!(tail("one\ntwo\n", 100), Tail { text: "one\ntwo\n".to_owned(), before: 0 });
        assert_eq!(tail("one\ntwo\nthree\n", 8), Tail { text: "three\n".to_owned(), before: 8 });
        assert_eq!(tail("ääää", 3), Tail { text: "ä".to_owned(), before: 6 });
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(markup("<b a=\"1\">&amp;"), "&lt;b a=&quot;1&quot;&gt;&amp;amp;");
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(line(" \u{1b}[1ma\nb ", 9), "a\\nb");
        assert_eq!(line("abcdef", 3), "abc…");
    }
}
