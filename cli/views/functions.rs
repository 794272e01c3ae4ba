//! The functions and their parameters.

use std::io;

use batch_executor::protocol::{FunctionInfo, ParamInfo};
use serde_json::Value;

use super::field;
use crate::screen::Screen;

/// The width of the names of parameters, indented.
const LABEL: usize = 13;

/// Writes each function with a line per parameter.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut Screen, functions: &[FunctionInfo]) -> io::Result<()> {
    for function in functions {
        field(out, 0, "", &format!("{}: {}", function.name, function.description))?;
        for param in &function.params {
            field(out, LABEL, &format!("  {}", param.name), &about(param))?;
        }
    }
    Ok(())
}

fn about(param: &ParamInfo) -> String {
    let default = match &param.default {
        Value::Null => String::new(),
        default => format!(", default {default}"),
    };
    format!("{} ({}{default})", param.description, param.r#type)
}
