//! The filter language: which tasks are meant, in words such as `status=failed and function=python and runtime>30s`.
//!
//! - `lexer`, `parser`: text to a [`Filter`], with one sentence for each thing that is wrong.
//! - [`field`]: what a task can be asked for, in one table. `value`: durations, sizes, times.
//! - [`condition`]: a filter as a condition of SQL, its values bound. The only code that makes SQL of what a user wrote,
//!   and none of that text is in it. [`Sort`]: an order by one field.
//!
//! ```text
//! filter     = and { "or" and }
//! and        = not { "and" not }
//! not        = "not" not | "(" filter ")" | comparison
//! comparison = field ("=" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "!~") value
//!            | field ["not"] "in" "(" value { "," value } ")"
//! ```
//!
//! A comparison holds or it does not: where a task has no such value (the exit code of one that never ran) all but `!=` and
//! `!~` do not, and `field=none` asks for it. Pure: no I/O, no clock; what is relative to now is told the time.

pub mod condition;
pub mod field;
mod lexer;
mod parser;
mod sort;
mod value;

use serde::{Serialize, Serializer};

pub use condition::Condition;
pub use field::{FIELDS, Field};
pub use sort::Sort;

use crate::task::{BatchId, Status, TaskId};
use field::{BATCH, ENDED_AGO, ID, STATUS};
use value::Literal;

/// The longest filter, in bytes.
pub const LONGEST: usize = 4096;
/// The most parentheses and `not` within each other.
const DEEPEST: usize = 64;

/// Which tasks are meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// As it was written; what was added to it here is not in it.
    text: String,
    node: Node,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    /// Of the field's values.
    Is(&'static Field, Vec<Literal>),
    Orders(&'static Field, Order, Literal),
    /// In any case of the letters A to Z; the text is in small ones.
    Contains(&'static Field, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// What all tasks that pass have in common, as far as there is an index for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Common {
    pub status: Option<Status>,
    pub batch_id: Option<BatchId>,
    pub task_ids: Option<Vec<TaskId>>,
}

impl Filter {
    /// Reads a filter, of at most [`LONGEST`] bytes.
    ///
    /// # Errors
    /// A sentence: where in the text, what is there and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("at the end: it has {} bytes, but at most {LONGEST} are possible", text.len()));
        }
        parser::parse(text).map(|node| Self { text: text.to_owned(), node })
    }

    /// Tasks in one of these states.
    pub fn of_status(statuses: &[Status]) -> Self {
        let codes = statuses.iter().map(|status| Literal::Integer(status.code())).collect();
        Self { text: String::new(), node: Node::Is(&STATUS, codes) }
    }

    /// Tasks that ended so many milliseconds ago, or before.
    pub fn ended_for(ms: i64) -> Self {
        Self { text: String::new(), node: Node::Orders(&ENDED_AGO, Order::AtLeast, Literal::Integer(ms)) }
    }

    /// What passes both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { text: self.text, node: Node::And(vec![self.node, other.node]) }
    }

    /// What all that passes has in common.
    pub fn common(&self) -> Common {
        let mut common = Common::default();
        gather(&self.node, &mut common);
        common
    }
}

fn gather(node: &Node, common: &mut Common) {
    match node {
        Node::And(all) => all.iter().for_each(|node| gather(node, common)),
        Node::Is(field, values) => {
            let integers: Option<Vec<i64>> = values.iter().map(Literal::integer).collect();
            match (field.name, integers.as_deref()) {
                (name, Some([code])) if name == STATUS.name => common.status = Status::from_code(*code),
                (name, Some([id])) if name == BATCH.name => common.batch_id = Some(*id),
                (name, Some(_)) if name == ID.name => {
                    let mut ids = integers.unwrap_or_default();
                    ids.sort_unstable();
                    ids.dedup();
                    common.task_ids = Some(ids);
                }
                _ => {}
            }
        }
        Node::Or(_) | Node::Not(_) | Node::Orders(..) | Node::Contains(..) => {}
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_have_in_common_is_at_the_top() {
        let common = |text| Filter::parse(text).expect("a filter").common();
        let some = common("status=failed and batch=3 and (runtime>1s and id in (5, 2, 5))");
        assert_eq!(some, Common { status: Some(Status::Failed), batch_id: Some(3), task_ids: Some(vec![2, 5]) });
        let texts =
            ["status=failed or batch=3", "not status=failed", "status in (failed, queued)", "batch!=3", "priority=low"];
        for text in texts {
            assert_eq!(common(text), Common::default(), "{text}");
        }
        let open = Filter::parse("batch=3").expect("a filter").and(Filter::of_status(&[Status::Queued]));
        assert_eq!(open.common(), Common { status: Some(Status::Queued), batch_id: Some(3), task_ids: None });
    }
}
