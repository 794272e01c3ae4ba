//! A filter as a condition of SQL. Of what a user wrote nothing but the places of bound values gets into it.

use super::value::Literal;
use super::{Field, Filter, Node, Order};

/// A condition on a row of `task`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What stands after `WHERE`; its values are the parameters from [`FIRST`] on.
    pub sql: String,
    pub values: Vec<Bound>,
}

/// The number of the first parameter of a condition; those before it are the statement's own.
pub const FIRST: usize = 2;

/// A value to be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    Integer(i64),
    Text(String),
}

impl Filter {
    /// The condition, for tasks as they are at this time of the wall clock.
    pub fn condition(&self, now_ms: i64) -> Condition {
        let mut writer = Writer { now: now_ms.to_string(), values: Vec::new() };
        let sql = writer.node(&self.node);
        Condition { sql, values: writer.values }
    }
}

struct Writer {
    now: String,
    values: Vec<Bound>,
}

impl Writer {
    /// True or false, never null.
    fn node(&mut self, node: &Node) -> String {
        match node {
            Node::And(all) => self.joined(all, " AND "),
            Node::Or(any) => self.joined(any, " OR "),
            Node::Not(node) => format!("NOT {}", self.node(node)),
            Node::Is(field, literals) => self.any_value(field, |writer, value| writer.is_one_of(value, literals)),
            Node::Orders(field, order, literal) => {
                self.any_value(field, |writer, value| writer.orders(value, *order, literal))
            }
            Node::Contains(field, text) => self.any_value(field, |writer, value| {
                let place = writer.bind(Bound::Text(text.clone()));
                format!("instr(lower({value}), {place}) > 0")
            }),
        }
    }

    /// In halves: SQLite's parser counts what is within each other.
    fn joined(&mut self, nodes: &[Node], operator: &str) -> String {
        match nodes {
            [one] => self.node(one),
            several => {
                let (left, right) = several.split_at(several.len() / 2);
                format!("({}{operator}{})", self.joined(left, operator), self.joined(right, operator))
            }
        }
    }

    /// Whether it holds for one of the field's values; for none that is null.
    fn any_value(&mut self, field: &Field, holds: impl Fn(&mut Self, &str) -> String) -> String {
        let tests: Vec<String> = field
            .values
            .iter()
            .map(|value| {
                let value = format!("({})", value.replace(":now", &self.now));
                format!("coalesce({}, 0)", holds(self, &value))
            })
            .collect();
        format!("({})", tests.join(" OR "))
    }

    fn is_one_of(&mut self, value: &str, literals: &[Literal]) -> String {
        let mut tests = Vec::new();
        let mut places = Vec::new();
        for literal in literals {
            match literal {
                Literal::None => tests.push(format!("{value} IS NULL")),
                Literal::Integer(number) => places.push(self.bind(Bound::Integer(*number))),
                Literal::Text(text) => places.push(self.bind(Bound::Text(text.clone()))),
                Literal::Span(from, upto) => {
                    let (from, upto) = (self.bind(Bound::Integer(*from)), self.bind(Bound::Integer(*upto)));
                    tests.push(format!("({value} >= {from} AND {value} < {upto})"));
                }
            }
        }
        if !places.is_empty() {
            tests.push(format!("{value} IN ({})", places.join(", ")));
        }
        tests.join(" OR ")
    }

    fn orders(&mut self, value: &str, order: Order, literal: &Literal) -> String {
        let (from, upto) = match literal {
            Literal::Span(from, upto) => (Bound::Integer(*from), Some(Bound::Integer(*upto))),
            Literal::Integer(number) => (Bound::Integer(*number), None),
            // No field that has an order takes these.
            Literal::Text(text) => (Bound::Text(text.clone()), None),
            Literal::None => return "0".to_owned(),
        };
        let (sign, bound) = match (order, upto) {
            (Order::Less, _) => ("<", from),
            (Order::AtLeast, _) => (">=", from),
            (Order::AtMost, None) => ("<=", from),
            (Order::More, None) => (">", from),
            // Past the whole span, or within it.
            (Order::AtMost, Some(upto)) => ("<", upto),
            (Order::More, Some(upto)) => (">=", upto),
        };
        format!("{value} {sign} {}", self.bind(bound))
    }

    fn bind(&mut self, value: Bound) -> String {
        self.values.push(value);
        format!("?{}", FIRST + self.values.len() - 1)
    }
}
