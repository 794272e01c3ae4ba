//! What can be seen at `add` of a built-in function's parameters.

use std::collections::BTreeSet;
use std::fmt::Display;

use serde_json::{Map, Value};

use super::{BUILT_IN, RUNTIMES};
use crate::config::Declared;
use crate::secret::MOST_SECRETS;

/// An argument or a variable with its NUL may have this many bytes (execve(2)).
const LONGEST_WORD: usize = 128 * 1024;

/// Checks parameters. An unknown function, unknown parameters and unknown secrets are warnings.
///
/// # Errors
/// One sentence that names the parameter, its value and what is allowed.
pub fn check(function: &str, params: &Map<String, Value>, declared: Declared<'_>) -> Result<Vec<String>, String> {
    let functions = declared.functions;
    let known: &[&str] = match function {
        "simulate" => {
            optional(params, "duration", "a number of seconds from 0 to 1e10", |v| {
                v.as_f64().is_some_and(|s| (0.0..=1e10).contains(&s))
            })?;
            optional(params, "fail", "true, false or a number of attempts", |v| v.is_boolean() || times(v).is_some())?;
            &["duration", "fail"]
        }
        "code_execution" => {
            required(params, "runtime", format!("one of {}", RUNTIMES.join(", ")), |v| {
                v.as_str().is_some_and(|runtime| RUNTIMES.contains(&runtime))
            })?;
            required(params, "code", "text", is_text)?;
            surroundings(params)?;
            &["runtime", "code", "cwd", "env", "stdin"]
        }
        "command" => {
            required(params, "argv", "a list of texts below 128 KiB, not empty, the program first", |v| {
                v.as_array()
                    .is_some_and(|words| words.iter().all(is_word) && words.first().is_some_and(|first| first != ""))
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
    let mut warnings: Vec<String> = params
        .keys()
        .filter(|name| !known.contains(&name.as_str()))
        .map(|name| {
            format!("unknown parameter `params.{name}` of `{function}` was ignored; known are {}", known.join(", "))
        })
        .collect();
    if known.contains(&"env") {
        warnings.extend(unknown_secrets(params, declared));
    }
    Ok(warnings)
}

/// The name in `{"secret": "NAME"}`.
pub(super) fn secret(value: &Value) -> Option<&str> {
    let reference = value.as_object().filter(|reference| reference.len() == 1)?;
    reference.get("secret")?.as_str().filter(|name| !name.is_empty())
}

/// What is declared, for messages.
pub(super) fn known_secrets(declared: Declared<'_>) -> String {
    if declared.secrets.is_empty() {
        return "none is declared".to_owned();
    }
    let names: Vec<&str> = declared.secrets.keys().map(String::as_str).collect();
    format!("known are {}", names.join(", "))
}

fn unknown_secrets(params: &Map<String, Value>, declared: Declared<'_>) -> Vec<String> {
    let env = params.get("env").and_then(Value::as_object).into_iter().flatten();
    let unknown: BTreeSet<&str> =
        env.filter_map(|(_, value)| secret(value)).filter(|name| !declared.secrets.contains_key(*name)).collect();
    unknown
        .into_iter()
        .map(|name| {
            let known = known_secrets(declared);
            format!("unknown secret `{name}`: the task will fail unless it is declared before it runs; {known}")
        })
        .collect()
}

/// The number in `fail`: of the attempts that fail.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only whole numbers within a u32 pass")]
pub(super) fn times(value: &Value) -> Option<u64> {
    let whole = |n: &f64| n.trunc() == *n && (0.0..=f64::from(u32::MAX)).contains(n);
    value.as_f64().filter(whole).map(|n| n as u64)
}

fn is_word(value: &Value) -> bool {
    is_text(value) && value.as_str().is_some_and(|text| text.len() < LONGEST_WORD)
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.contains('\0'))
}

fn surroundings(params: &Map<String, Value>) -> Result<(), String> {
    optional(params, "cwd", "a path", |v| is_text(v) && v != "")?;
    optional(params, "stdin", "text", Value::is_string)?;
    let name = |name: &String| !name.is_empty() && !name.contains(['=', '\0']);
    optional(params, "env", "an object of texts below 128 KiB, or of {\"secret\": \"NAME\"}", |v| {
        v.as_object()
            .is_some_and(|env| env.iter().all(|(n, value)| name(n) && (is_word(value) || secret(value).is_some())))
    })?;
    let env = params.get("env").and_then(Value::as_object);
    match env.map_or(0, |env| env.values().filter(|value| secret(value).is_some()).count()) {
        ..=MOST_SECRETS => Ok(()),
        count => Err(format!("`params.env` has {count} secrets, but at most {MOST_SECRETS} are possible")),
    }
}

fn required(
    params: &Map<String, Value>,
    name: &str,
    allowed: impl Display,
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
    allowed: impl Display,
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
