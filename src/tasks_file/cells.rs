//! Values as they are written in a cell or on a command line.

use serde_json::{Value, json};

/// Text that is valid JSON as that, any other as text.
pub fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// `2,3` or a JSON list; what is neither goes to the daemon, which says what is allowed.
pub fn exit_codes(text: &str) -> Value {
    match json_or_text(text) {
        number @ Value::Number(_) => json!([number]),
        Value::String(text) => text.split([',', ';', ' ']).filter(|code| !code.is_empty()).map(json_or_text).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_in_any_form() {
        assert_eq!(exit_codes("2"), json!([2]));
        assert_eq!(exit_codes("2,3"), json!([2, 3]));
        assert_eq!(exit_codes("[2, 3]"), json!([2, 3]));
    }
}
