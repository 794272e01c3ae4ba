//! What can be seen at `add` of a built-in function's parameters.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{BUILT_IN, RUNTIMES};
use crate::config::UserFunction;

/// Checks parameters. An unknown function and unknown parameters are warnings.
///
/// # Errors
/// One sentence that names the parameter, its value and what is allowed.
pub fn check(
    function: &str,
    params: &Map<String, Value>,
    functions: &BTreeMap<String, UserFunction>,
) -> Result<Vec<String>, String> {
    let known: &[&str] = match function {
        "simulate" => {
            optional(params, "duration", "a number of seconds from 0 to 1e10", |v| {
                v.as_f64().is_some_and(|s| (0.0..=1e10).contains(&s))
            })?;
            optional(params, "fail", "true, false or a number of attempts", |v| v.is_boolean() || v.is_u64())?;
            &["duration", "fail"]
        }
        "code_execution" => {
            required(params, "runtime", &format!("one of {}", RUNTIMES.join(", ")), |v| {
                v.as_str().is_some_and(|runtime| RUNTIMES.contains(&runtime))
            })?;
            required(params, "code", "text", is_text)?;
            surroundings(params)?;
            &["runtime", "code", "cwd", "env", "stdin"]
        }
        "command" => {
            required(params, "argv", "a list of texts, not empty, the program first", |v| {
                v.as_array()
                    .is_some_and(|words| words.iter().all(is_text) && words.first().is_some_and(|first| first != ""))
            })?;
            surroundings(params)?;
            &["argv", "cwd", "env", "stdin"]
        }
        "custom_function" => {
            required(params, "code", "text that defines `process(...)`", is_text)?;
            optional(params, "args", "an object of keyword arguments", Value::is_object)?;
            surroundings(params)?;
            &["code", "args", "cwd", "env", "stdin"]
        }
        _ if functions.contains_key(function) => return Ok(Vec::new()),
        _ => {
            let all: Vec<&str> = BUILT_IN.iter().copied().chain(functions.keys().map(String::as_str)).collect();
            return Ok(vec![format!(
                "unknown function `{function}`: it will fail unless it is declared before it runs; known are {}",
                all.join(", ")
            )]);
        }
    };
    Ok(params
        .keys()
        .filter(|name| !known.contains(&name.as_str()))
        .map(|name| {
            format!("unknown parameter `params.{name}` of `{function}` was ignored; known are {}", known.join(", "))
        })
        .collect())
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.contains('\0'))
}

fn surroundings(params: &Map<String, Value>) -> Result<(), String> {
    optional(params, "cwd", "a path", |v| is_text(v) && v != "")?;
    optional(params, "stdin", "text", Value::is_string)?;
    optional(params, "env", "an object of texts", |v| {
        v.as_object().is_some_and(|env| {
            env.iter().all(|(name, value)| !name.is_empty() && !name.contains(['=', '\0']) && is_text(value))
        })
    })
}

fn required(
    params: &Map<String, Value>,
    name: &str,
    allowed: &str,
    good: impl Fn(&Value) -> bool,
) -> Result<(), String> {
    if params.get(name).is_none_or(Value::is_null) {
        return Err(format!("`params.{name}` is missing; it must be {allowed}"));
    }
    optional(params, name, allowed, good)
}

fn optional(
    params: &Map<String, Value>,
    name: &str,
    allowed: &str,
    good: impl Fn(&Value) -> bool,
) -> Result<(), String> {
    match params.get(name) {
        None | Some(Value::Null) => Ok(()),
        Some(value) if good(value) => Ok(()),
        // What an `env` holds may be a secret.
        Some(_) if name == "env" => Err(format!("`params.env` must be {allowed}")),
        Some(value) => {
            let shown: String = value.to_string().chars().take(80).collect();
            Err(format!("`params.{name}` is {shown}, but must be {allowed}"))
        }
    }
}
