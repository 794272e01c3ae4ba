//! Filling `{{field}}` in. What is filled in is never looked at again, so a name with `{{` in it stays as it is. Pure.

use serde_json::Value;

/// What may be filled in; a field that an event does not have is empty.
pub const FIELDS: &[&str] = &[
    "hook",
    "event",
    "text",
    "at",
    "host",
    "home",
    "delivery",
    "count",
    "batch_id",
    "name",
    "took",
    "counts.total",
    "counts.completed",
    "counts.failed",
    "counts.cancelled",
    "task_id",
    "function",
    "attempt",
    "outcome",
    "cause",
    "error",
    "exit_code",
    "signal",
    "run_time",
    "output",
    "gate",
    "found",
    "after",
    "version",
];

/// A piece of a template.
enum Piece<'t> {
    Text(&'t str),
    Field(&'t str),
}

fn pieces(mut template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    while let Some((before, rest)) = template.split_once("{{")
        && let Some((field, after)) = rest.split_once("}}")
    {
        pieces.extend([Piece::Text(before), Piece::Field(field.trim())]);
        template = after;
    }
    pieces.push(Piece::Text(template));
    pieces
}

/// The first field of a template that there is not.
pub fn unknown_field(template: &str) -> Option<&str> {
    pieces(template).into_iter().find_map(|piece| match piece {
        Piece::Field(name) if !FIELDS.contains(&name) => Some(name),
        _ => None,
    })
}

/// The template with the fields of `message`.
pub fn fill(template: &str, message: &Value) -> String {
    let mut filled = String::with_capacity(template.len());
    for piece in pieces(template) {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Field(name) => match name.split('.').try_fold(message, |value, key| value.get(key)) {
                Some(Value::String(text)) => filled.push_str(text),
                Some(Value::Null) | None => {}
                Some(other) => filled.push_str(&other.to_string()),
            },
        }
    }
    filled
}

/// JSON whose texts are templates; what is filled in is escaped when it is written.
pub fn fill_json(template: &Value, message: &Value) -> Value {
    match template {
        Value::String(text) => Value::String(fill(text, message)),
        Value::Array(list) => list.iter().map(|value| fill_json(value, message)).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), fill_json(value, message))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_filled_in_once() {
        let message = json!({"name": "{{error}} \"q\" \u{1}", "error": "no", "counts": {"failed": 2}, "signal": null});
        assert_eq!(
            fill("a {{ name }}|{{counts.failed}}|{{signal}}|{{gate}}|{{", &message),
            "a {{error}} \"q\" \u{1}|2|||{{"
        );
        let body = fill_json(&json!({"t": ["{{name}}", 1], "{{name}}": true}), &message);
        assert_eq!(body, json!({"t": ["{{error}} \"q\" \u{1}", 1], "{{name}}": true}));
    }

    #[test]
    fn a_field_that_there_is_not_is_named() {
        assert_eq!(unknown_field("{{text}} {{ taskid }} {{x}}"), Some("taskid"));
        assert_eq!(unknown_field("{{counts.failed}} }} {{ open"), None);
    }
}
