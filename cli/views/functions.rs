//! The functions and their parameters.

use batch_executor::protocol::{FunctionInfo, ParamInfo};
use comfy_table::Table;
use serde_json::Value;

/// A table of functions, a line per parameter.
pub fn table(functions: &[FunctionInfo]) -> Table {
    let rows = functions.iter().map(|function| {
        let params: Vec<String> = function.params.iter().map(param).collect();
        vec![function.name.clone(), params.join("\n"), function.description.clone()]
    });
    super::plain_table(&["Function", "Parameters", "What it does"], rows)
}

fn param(param: &ParamInfo) -> String {
    let default = match &param.default {
        Value::Null => String::new(),
        default => format!(", default {default}"),
    };
    format!("{} ({}{default}): {}", param.name, param.r#type, param.description)
}
