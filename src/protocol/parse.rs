//! A request line to a [`Request`]: the three shapes, every field checked, unknown ones warned of.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::Refusal;
use super::request::Request;
use crate::task::{TaskId, TaskSpec};

/// The longest `request_key`, in bytes.
pub const MAX_REQUEST_KEY_BYTES: usize = 200;

/// A request line that was understood.
#[derive(Debug)]
pub struct Parsed {
    pub request: Request,
    /// Unknown fields with the nearest known name, and the like.
    pub warnings: Vec<String>,
}

/// A refused line, with as much of its envelope as could be read.
#[derive(Debug)]
pub struct Unparsed {
    pub id: Option<Value>,
    pub action: Option<String>,
    pub refusal: Refusal,
}

/// Parses one request line in any of the three shapes.
///
/// # Errors
/// `invalid_json`, `unknown_action` or `invalid_request`, naming the field, the value and what is allowed.
pub fn parse_line(_line: &[u8]) -> Result<Parsed, Box<Unparsed>> {
    todo!()
}

/// Checks one task of `add` or `add_batch`. `defaults` fills what it does not set; `default_name` is used where there
/// is no name (`Task N`; None: a name is required). Unknown fields are added to `warnings`, each once.
///
/// # Errors
/// One sentence that names the field, the value and what is allowed.
pub fn parse_spec(
    _task: &Map<String, Value>,
    _defaults: &Map<String, Value>,
    _default_name: Option<&str>,
    _warnings: &mut BTreeMap<String, usize>,
) -> Result<TaskSpec, String> {
    todo!()
}

/// A task id in any of its forms: `12`, `"12"`, `"task_12"`.
pub fn task_ref(_value: &Value) -> Option<TaskId> {
    todo!()
}
