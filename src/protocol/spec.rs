//! One task of `add` or `add_batch`, checked.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fields::{Fields, not_too_deep, whole, wrong};
use crate::task::{DEFAULT_MAX_RETRIES, DEFAULT_RETRY_DELAY_MS, LIMITS, Limits, MAX_RETRIES_LIMIT, Priority, TaskSpec};
use crate::words::did_you_mean;

/// The longest name of a task or function, in bytes.
pub(super) const LONGEST_NAME: usize = 4096;

/// The words of a priority with their values.
pub(super) const PRIORITIES: &[(&str, Priority)] =
    &[("low", Priority::Low), ("medium", Priority::Medium), ("high", Priority::High), ("critical", Priority::Critical)];

/// Seconds as milliseconds, rounded up: what is above 0 stays above 0.
#[expect(clippy::cast_possible_truncation, reason = "a checked number of seconds is at most 1e10")]
pub fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).ceil() as i64
}

/// Checks one task. `defaults` fills what it does not set (its `cwd` and `env` go into `params`);
/// one without a name is `Task N` by its `place` from 1 (None: a name is required). Each unknown field is
/// counted in `warnings`.
///
/// # Errors
/// One sentence that names the field, the value and what is allowed.
pub fn parse_spec(
    mut task: Map<String, Value>,
    defaults: &Map<String, Value>,
    place: Option<usize>,
    warnings: &mut BTreeMap<String, usize>,
) -> Result<TaskSpec, String> {
    if !defaults.is_empty() {
        task = merge(task, defaults)?;
    }
    let params = task.get_mut("params").map(Value::take);
    let fields = Fields::new(&task);
    let name = match (fields.text("name", LONGEST_NAME)?, place) {
        (Some(name), _) => name,
        (None, Some(place)) => format!("Task {place}"),
        (None, None) => return Err("`name` is missing".to_owned()),
    };
    let (limits, unknown) = limits(&fields)?;
    let spec = TaskSpec {
        limits,
        name,
        function: fields.required("function", fields.text("function", LONGEST_NAME))?,
        params: params_of(&fields, params)?,
        priority: fields.word("priority", PRIORITIES)?.unwrap_or_default(),
        max_retries: fields.small("max_retries", 0, MAX_RETRIES_LIMIT)?.unwrap_or(DEFAULT_MAX_RETRIES),
        timeout_ms: fields.positive_seconds("timeout")?.map(milliseconds),
        retry_delay_ms: fields.seconds("retry_delay")?.map_or(DEFAULT_RETRY_DELAY_MS, milliseconds),
        permanent_exit_codes: exit_codes(&fields)?,
        delay_ms: fields.seconds("delay")?.map_or(0, milliseconds),
    };
    for warning in unknown.into_iter().chain(fields.unknown()) {
        *warnings.entry(warning).or_default() += 1;
    }
    Ok(spec)
}

/// The limits, and a warning for each unknown one.
fn params_of(fields: &Fields<'_>, taken: Option<Value>) -> Result<Map<String, Value>, String> {
    let params = fields.taken("params", taken, "an object", |value| match value {
        Value::Object(params) => Ok(params),
        other => Err(other),
    })?;
    params.map_or_else(|| Ok(Map::new()), |params| not_too_deep("params", params))
}

fn limits(fields: &Fields<'_>) -> Result<(Limits, Vec<String>), String> {
    let Some(map) = fields.optional("limits", "an object of limits", Value::as_object)? else {
        return Ok((Limits::default(), Vec::new()));
    };
    let (limits, unknown) = Limits::read(map)?;
    let warning =
        |name: &str| format!("unknown field `limits.{name}` was ignored{}", did_you_mean(name, LIMITS.iter().copied()));
    Ok((limits, unknown.into_iter().map(warning).collect()))
}

fn exit_codes(fields: &Fields<'_>) -> Result<Vec<i32>, String> {
    let code = |v: &Value| whole(v).filter(|code| (0..=255).contains(code)).and_then(|code| i32::try_from(code).ok());
    let read = fields.optional("permanent_exit_codes", "a list of exit codes from 0 to 255", |v| {
        v.as_array()?.iter().map(code).collect()
    });
    Ok(read?.unwrap_or_default())
}

fn merge(mut merged: Map<String, Value>, defaults: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    for (name, value) in defaults {
        if name != "cwd" && name != "env" && merged.get(name).is_none_or(Value::is_null) {
            merged.insert(name.clone(), value.clone());
        }
    }
    let takes_place = matches!(
        merged.get("function").and_then(Value::as_str),
        Some("command" | "code_execution" | "custom_function")
    );
    if !takes_place || (!defaults.contains_key("cwd") && !defaults.contains_key("env")) {
        return Ok(merged);
    }
    let params = merged.entry("params").or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(params) = params else { return Ok(merged) };
    if let Some(cwd) = defaults.get("cwd") {
        params.entry("cwd").or_insert_with(|| cwd.clone());
    }
    if let Some(env) = defaults.get("env") {
        let Value::Object(env) = env else { return Err(wrong("defaults.env", env, "an object of texts")) };
        let own = params.entry("env").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(own) = own {
            for (name, value) in env {
                own.entry(name).or_insert_with(|| value.clone());
            }
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(task: Value, defaults: Value) -> Result<TaskSpec, String> {
        let (Value::Object(task), Value::Object(defaults)) = (task, defaults) else { panic!("objects") };
        parse_spec(task, &defaults, Some(1), &mut BTreeMap::new())
    }

    #[test]
    fn defaults_fill_what_is_not_set() {
        let spec = spec(
            json!({"function": "command", "params": {"argv": ["x"], "env": {"A": "1"}}, "priority": "HIGH"}),
            json!({"priority": "low", "timeout": 2, "cwd": "/tmp", "env": {"A": "0", "B": "2"}}),
        )
        .expect("good");
        assert_eq!((spec.name.as_str(), spec.priority, spec.timeout_ms), ("Task 1", Priority::High, Some(2000)));
        assert_eq!(Value::Object(spec.params), json!({"argv": ["x"], "cwd": "/tmp", "env": {"A": "1", "B": "2"}}));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        for (task, sentence) in [
            (json!({}), "`function` is missing"),
            (json!({"function": ""}), "`function` is \"\", but must be text of 1 to 4096 bytes"),
            (
                json!({"function": "f", "priority": "urgent"}),
                "`priority` is \"urgent\", but must be one of low, medium, high, critical",
            ),
            (
                json!({"function": "f", "max_retries": -1}),
                "`max_retries` is -1, but must be a whole number from 0 to 1000",
            ),
            (
                json!({"function": "f", "timeout": 0}),
                "`timeout` is 0, but must be a number of seconds above 0 and at most 1e10",
            ),
            (json!({"function": "f", "params": []}), "`params` is [], but must be an object"),
            (
                json!({"function": "f", "permanent_exit_codes": [1, 256]}),
                "`permanent_exit_codes` is [1,256], but must be a list of exit codes from 0 to 255",
            ),
        ] {
            assert_eq!(spec(task, json!({})).expect_err("refused"), sentence);
        }
    }

    #[test]
    fn an_unknown_field_gets_a_warning_with_the_nearest_name() {
        let mut warnings = BTreeMap::new();
        let Value::Object(task) = json!({"function": "f", "prioritty": 1}) else { panic!("an object") };
        parse_spec(task, &Map::new(), Some(1), &mut warnings).expect("good");
        let warnings: Vec<_> = warnings.keys().map(String::as_str).collect();
        assert_eq!(warnings, ["unknown field `prioritty` was ignored; did you mean `priority`?"]);
    }
}
