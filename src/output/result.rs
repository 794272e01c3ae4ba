//! The result of a process task.

use serde_json::{Value, json};

use crate::json::{DEEPEST, depth};

/// `{"exit_code", "stdout", "stderr", "stdout_truncated", "stderr_truncated"[, "value"]}`. Each stream
/// comes with the number of bytes that were left out of its middle. `value` is there when stdout as
/// a whole is JSON, nested no deeper than an answer can carry. Bytes that are not UTF-8 are replaced.
pub fn plain_result(exit_code: Option<i32>, stdout: (&[u8], u64), stderr: (&[u8], u64)) -> Value {
    let mut result = json!({
        "exit_code": exit_code,
        "stdout": String::from_utf8_lossy(stdout.0),
        "stderr": String::from_utf8_lossy(stderr.0),
        "stdout_truncated": stdout.1 > 0,
        "stderr_truncated": stderr.1 > 0,
    });
    if stdout.1 == 0
        && let Ok(value) = serde_json::from_slice::<Value>(stdout.0)
        && depth(&value) <= DEEPEST
    {
        result["value"] = value;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdout_that_is_json_is_the_value() {
        assert_eq!(plain_result(Some(0), (b" {\"a\": 1}\n", 0), (b"", 0))["value"], json!({"a": 1}));
        assert_eq!(plain_result(Some(0), (b"no", 0), (b"", 0)).get("value"), None);
        assert_eq!(plain_result(Some(0), (b"42", 1), (b"", 0)).get("value"), None);
    }

    #[test]
    fn what_is_nested_too_deep_stays_text() {
        let deep = format!("{}{}", "[".repeat(DEEPEST + 1), "]".repeat(DEEPEST + 1));
        assert_eq!(plain_result(Some(0), (deep.as_bytes(), 0), (b"", 0)).get("value"), None);
        assert!(plain_result(Some(0), (&deep.as_bytes()[1..=2 * DEEPEST], 0), (b"", 0)).get("value").is_some());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        assert_eq!(plain_result(Some(0), (b"\xffok", 0), (b"", 0))["stdout"], "\u{fffd}ok");
    }
}
