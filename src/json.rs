//! How deep JSON may be nested that is kept and goes out again.

use serde_json::Value;

/// The levels of what is kept; common readers of JSON give up at 128, and an answer has some of its own around it.
pub const DEEPEST: usize = 100;

/// How many lists and objects are within each other.
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
