//! Tokens to a filter.

use super::field::{Field, Kind as FieldKind};
use super::lexer::{Kind, Token, tokens};
use super::value::{Literal, duration};
use super::{DEEPEST, Node, Order};
use crate::words::did_you_mean;

/// Where, and a sentence.
type Wrong = (usize, String);

/// Parses a filter.
///
/// # Errors
/// A sentence with the place, counted in characters from 1.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let parsed = tokens(text).and_then(|tokens| {
        let mut parser = Parser { tokens: &tokens, next: 0, depth: 0 };
        let node = parser.any()?;
        match parser.peek() {
            Token { kind: Kind::End, .. } => Ok(node),
            token => Err(wanted(token, "`and`, `or` or the end")),
        }
    });
    parsed.map_err(|(at, said)| format!("at character {}: {said}", text[..at].chars().count() + 1))
}

struct Parser<'p, 't> {
    /// The last is the end.
    tokens: &'p [Token<'t>],
    next: usize,
    depth: usize,
}

impl<'t> Parser<'_, 't> {
    fn peek(&self) -> &Token<'t> {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token<'t> {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    /// Takes a keyword, if it is next.
    fn takes_word(&mut self, word: &str) -> bool {
        let is_next = matches!(self.peek().kind, Kind::Word(found) if found.eq_ignore_ascii_case(word));
        self.next += usize::from(is_next);
        is_next
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let is_next = matches!(self.peek().kind, Kind::Sign(found) if found == sign);
        self.next += usize::from(is_next);
        is_next
    }

    fn any(&mut self) -> Result<Node, Wrong> {
        let mut nodes = vec![self.all()?];
        while self.takes_word("or") {
            nodes.push(self.all()?);
        }
        Ok(one_or(nodes, Node::Or))
    }

    fn all(&mut self) -> Result<Node, Wrong> {
        let mut nodes = vec![self.one()?];
        while self.takes_word("and") {
            nodes.push(self.one()?);
        }
        Ok(one_or(nodes, Node::And))
    }

    fn one(&mut self) -> Result<Node, Wrong> {
        let at = self.peek().at;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err((at, format!("more than {DEEPEST} parentheses and `not` are within each other")));
        }
        let node = if self.takes_word("not") {
            Node::Not(Box::new(self.one()?))
        } else if self.takes_sign("(") {
            let inner = self.any()?;
            if !self.takes_sign(")") {
                return Err(wanted(self.peek(), "`and`, `or` or `)`"));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn comparison(&mut self) -> Result<Node, Wrong> {
        let token = self.take();
        let Kind::Word(name) = token.kind else {
            return Err(wanted(&token, "a field, `not` or `(`"));
        };
        let Some(field) = Field::of(name) else {
            let near = did_you_mean(name, super::FIELDS.iter().map(|field| field.name));
            let end = if near.is_empty() { "; the" } else { " The" };
            return Err((token.at, format!("unknown field {}{near}{end} fields are {}", token.kind, Field::names())));
        };
        let negated = self.takes_word("not");
        if self.takes_word("in") {
            let node = Node::Is(field, self.list(field)?);
            return Ok(if negated { not(node) } else { node });
        }
        if negated {
            return Err(wanted(self.peek(), "`in`"));
        }
        let operator = self.take();
        let sign = match operator.kind {
            Kind::Sign(sign) if field.operators().contains(&sign) => sign,
            _ => {
                let allowed = field.operators().join(" ");
                return Err((
                    operator.at,
                    format!("`{}` is followed by {}, but takes {allowed}", field.name, operator.kind),
                ));
            }
        };
        let (at, value) = (self.peek().at, self.value(field)?);
        let order = match sign {
            "=" => return Ok(Node::Is(field, vec![value])),
            "!=" => return Ok(not(Node::Is(field, vec![value]))),
            "~" | "!~" => {
                let Literal::Text(text) = value else {
                    return Err((at, "`none` is no text to look for; in quotes it is".to_owned()));
                };
                let node = Node::Contains(field, text.to_ascii_lowercase());
                return Ok(if sign == "~" { node } else { not(node) });
            }
            "<" => Order::Less,
            "<=" => Order::AtMost,
            ">" => Order::More,
            _ => Order::AtLeast,
        };
        if value == Literal::None {
            return Err((
                at,
                format!("`none` is neither less nor more than anything, but goes with `{}=` and `!=`", field.name),
            ));
        }
        Ok(Node::Orders(field, order, value))
    }

    fn list(&mut self, field: &'static Field) -> Result<Vec<Literal>, Wrong> {
        if !self.takes_sign("(") {
            return Err(wanted(self.peek(), "`(`"));
        }
        let mut values = vec![self.value(field)?];
        while self.takes_sign(",") {
            values.push(self.value(field)?);
        }
        if self.takes_sign(")") { Ok(values) } else { Err(wanted(self.peek(), "`,` or `)`")) }
    }

    fn value(&mut self, field: &'static Field) -> Result<Literal, Wrong> {
        let token = self.take();
        let (text, quoted) = match token.kind {
            Kind::Word(text) => (text.to_owned() + &self.time_of_day(field), false),
            Kind::Quoted(text) => (text.to_owned(), true),
            Kind::Sign(_) | Kind::End => {
                return Err(wanted(&token, &format!("{} for `{}`", field.allowed(), field.name)));
            }
        };
        field.read(&text, quoted).ok_or_else(|| {
            let near = if field.kind == FieldKind::Time && duration(&text).is_some() {
                "; `age` and `ended_ago` take durations".to_owned()
            } else {
                did_you_mean(&text, field.words().iter().copied())
            };
            let allowed = field.allowed();
            (token.at, format!("`{}` is compared with {}, but must be {allowed}{near}", field.name, token.kind))
        })
    }

    /// What follows a day without quotes: `2026-01-31 22:00`.
    fn time_of_day(&mut self, field: &'static Field) -> String {
        match self.peek().kind {
            Kind::Word(word) if field.kind == FieldKind::Time && word.contains(':') => {
                self.next += 1;
                format!(" {word}")
            }
            _ => String::new(),
        }
    }
}

fn not(node: Node) -> Node {
    Node::Not(Box::new(node))
}

/// The only one, or all of them.
fn one_or(mut nodes: Vec<Node>, all: impl Fn(Vec<Node>) -> Node) -> Node {
    if nodes.len() == 1 { nodes.remove(0) } else { all(nodes) }
}

fn wanted(token: &Token<'_>, allowed: &str) -> Wrong {
    (token.at, format!("{} is found, but there must be {allowed}", token.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, said) in [
            ("", "at character 1: the end is found, but there must be a field, `not` or `(`"),
            ("status", "at character 7: `status` is followed by the end, but takes = != in"),
            (
                "status=",
                "at character 8: the end is found, but there must be one of queued, running, completed, failed, cancelled for `status`",
            ),
            (
                "status=faild",
                "at character 8: `status` is compared with `faild`, but must be one of queued, running, completed, failed, cancelled; did you mean `failed`?",
            ),
            ("ä=1", "at character 1: unknown field `ä`; the fields are id, status, "),
            ("name=é statu=1", "at character 8: `statu` is found, but there must be `and`, `or` or the end"),
            ("id=1 and statu=1", "at character 10: unknown field `statu`; did you mean `status`? The fields are id, "),
            (
                "runtime>30x",
                "at character 9: `runtime` is compared with `30x`, but must be a duration such as 30s, 5m, 1.5h or 2d, or none",
            ),
            ("runtime~3", "at character 8: `runtime` is followed by `~`, but takes = != < <= > >= in"),
            ("status>failed", "at character 7: `status` is followed by `>`, but takes = != in"),
            ("retries=1.5", "at character 9: `retries` is compared with `1.5`, but must be a whole number"),
            (
                "memory>big",
                "at character 8: `memory` is compared with `big`, but must be a size such as 512K, 10M or 1.5G, or none",
            ),
            (
                "created<2h",
                "at character 9: `created` is compared with `2h`, but must be a time such as 2026-01-31, \"2026-01-31 22:00\" or 2026-01-31T22:00:00Z; `age` and `ended_ago` take durations",
            ),
            ("name='x", "at character 6: a text begins with ' that no other ' ends"),
            ("!status=failed", "at character 1: a `!` is alone, but there are only `!=` and `!~`, and `not`"),
            ("status==failed", "at character 8: `=` is found, but there must be one of queued"),
            ("(id=1", "at character 6: the end is found, but there must be `and`, `or` or `)`"),
            ("id=1)", "at character 5: `)` is found, but there must be `and`, `or` or the end"),
            ("id in 1", "at character 7: `1` is found, but there must be `(`"),
            ("id in (1 2)", "at character 10: `2` is found, but there must be `,` or `)`"),
            ("id in ()", "at character 8: `)` is found, but there must be an id such as 12 for `id`"),
            ("id not 1", "at character 8: `1` is found, but there must be `in`"),
            ("exit_code<none", "at character 11: `none` is neither less nor more than anything"),
            ("error~none", "at character 7: `none` is no text to look for; in quotes it is"),
            ("name=\u{1b}[2J and", "at character 14: the end is found"),
            ("\u{1b}[2J=1", "at character 1: unknown field `\\x1b[2J`"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(said), "{text}\n{error}");
            assert!(!error.contains(['\n', '\u{1b}']), "{error}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}id=1{}", "(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(DEEPEST - 1)).is_ok());
        let error = parse(&nested(DEEPEST)).expect_err("too deep");
        assert_eq!(error, "at character 65: more than 64 parentheses and `not` are within each other");
        assert!(parse(&("not ".repeat(1000) + "id=1")).is_err());
        assert!(parse(&(nested(DEEPEST - 1) + " and " + &nested(DEEPEST - 1))).is_ok(), "side by side");
    }

    #[test]
    fn and_binds_closer_than_or_and_not_closest() {
        let same = |one: &str, other: &str| assert_eq!(parse(one), parse(other), "{one}");
        same("id=1 or id=2 and id=3", "id=1 or (id=2 and id=3)");
        same("NOT id=1 AND id=2", "(not id=1) and id=2");
        same("id!=1", "not id=1");
        same("status not in (failed, 'queued')", "not status in (FAILED,queued)");
        same("execution_time>=30", "runtime >= 30s");
        same("created>2026-01-31 22:00 and id=1", "created>\"2026-01-31 22:00\" and id=1");
        same("id=task_7", "task_id = 7");
    }
}
