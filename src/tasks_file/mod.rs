//! Files of tasks: JSON, JSON Lines and CSV, read as a stream, in memory that does not grow with them.
//!
//! Only what can be seen without knowing tasks is checked here; fields and ranges are the daemon's.

mod cells;
pub mod csv_rows;
pub mod json_lines;
pub mod json_list;
mod parts;
mod scanner;

pub use cells::{exit_codes, json_or_text};
pub use parts::{Part, Parts};

use std::io;

use serde_json::{Map, Value};

/// The most that one task may have, in bytes: what the daemon takes in a request.
const MAX_TASK_BYTES: usize = 64 << 20;

/// Where in the file a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 0, over the whole file.
    pub index: usize,
    /// From 1; None in a JSON list, whose items have no lines of their own.
    pub line: Option<u64>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}"),
            None => write!(f, "index {}", self.index),
        }
    }
}

/// One task of a file, or what is wrong there.
#[derive(Debug)]
pub struct Item {
    pub place: Place,
    pub task: Result<Map<String, Value>, String>,
    /// About what it takes in a request.
    pub bytes: usize,
}

/// The tasks of a file, in order; an error ends them: the file cannot be read on.
pub type Items<'a> = Box<dyn Iterator<Item = io::Result<Item>> + 'a>;

/// Items from what gives the next one, and none at the end.
fn until_end<'a>(mut next_item: impl FnMut() -> io::Result<Option<Item>> + 'a) -> Items<'a> {
    let mut ended = false;
    Box::new(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let item = next_item().transpose();
        ended = !matches!(item, Some(Ok(_)));
        item
    }))
}

/// A task from JSON text.
fn parse_task(text: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(text) {
        Ok(Value::Object(task)) => Ok(task),
        Ok(other) => Err(format!("a task must be a JSON object, not {}", kind(&other))),
        Err(error) => Err(format!("not valid JSON: {}", cause(&error))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What is wrong, without a line number that counts from the task's own beginning.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    if error.line() == 1 { format!("{what} at column {}", error.column()) } else { what.to_owned() }
}
