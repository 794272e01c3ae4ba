//! Text to tokens.

use std::fmt;

use crate::visible::visible_line;

/// How much of what was found a message repeats, in characters.
const SHOWN: usize = 40;

/// A piece of a filter and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'t> {
    /// In bytes.
    pub at: usize,
    pub kind: Kind<'t>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind<'t> {
    /// A keyword, a field, a value without quotes.
    Word(&'t str),
    /// A value in quotes.
    Quoted(&'t str),
    /// An operator, a parenthesis, a comma.
    Sign(&'static str),
    End,
}

/// The longer ones first.
const SIGNS: [&str; 11] = ["!=", "!~", "<=", ">=", "=", "<", ">", "~", "(", ")", ","];

/// The tokens of a text, an end after the last.
///
/// # Errors
/// Where, and a sentence: a quote that is not closed, a `!` alone.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, (usize, String)> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let rest = rest.trim_start();
        at = text.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            tokens.push(Token { at, kind: Kind::End });
            return Ok(tokens);
        };
        let (kind, length) = if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            (Kind::Sign(sign), sign.len())
        } else if first == '"' || first == '\'' {
            let Some((quoted, _)) = rest[1..].split_once(first) else {
                return Err((at, format!("a text begins with {first} that no other {first} ends")));
            };
            (Kind::Quoted(quoted), quoted.len() + 2)
        } else if first == '!' {
            return Err((at, "a `!` is alone, but there are only `!=` and `!~`, and `not`".to_owned()));
        } else {
            let ends =
                |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | ')' | ',' | '=' | '<' | '>' | '~' | '!');
            let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
            (Kind::Word(word), word.len())
        };
        tokens.push(Token { at, kind });
        at += length;
    }
}

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) => write!(f, "`{}`", shown(text)),
            Self::Quoted(text) => write!(f, "\"{}\"", shown(text)),
            Self::Sign(sign) => write!(f, "`{sign}`"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// A text as a message repeats it.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{}{more}", visible_line(&short))
}
