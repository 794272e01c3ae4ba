//! What a worker of a user's own function answers to a task: one line, a JSON object with `result` or `error`.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The longest answer of a function, in bytes.
pub const LONGEST_ANSWER: usize = 16 * 1024 * 1024;
/// The most characters of a line that a message repeats.
const SHOWN: usize = 80;

/// An answer that was understood.
#[derive(Debug)]
pub enum Answer<'a> {
    /// JSON.
    Result(&'a str),
    /// Why the attempt failed; `permanent`: no retry helps.
    Error { error: String, permanent: bool },
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "given")]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    permanent: Option<bool>,
}

/// `null` is a result too.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Answer<'a> {
    /// Reads a line, without its end.
    ///
    /// # Errors
    /// A sentence that shows the line's begin and says what is allowed.
    pub fn read(line: &'a [u8]) -> Result<Self, String> {
        if line.len() > LONGEST_ANSWER {
            return Err(format!("the worker's answer is longer than {LONGEST_ANSWER} bytes"));
        }
        // A list would pass for the fields in their order.
        let is_object = line.trim_ascii_start().starts_with(b"{");
        match serde_json::from_slice(line) {
            _ if !is_object => Err(Self::refused(line)),
            Ok(Fields { error: Some(error), permanent, .. }) => {
                Ok(Self::Error { error, permanent: permanent == Some(true) })
            }
            Ok(Fields { result: Some(result), .. }) => Ok(Self::Result(result.get())),
            _ => Err(Self::refused(line)),
        }
    }

    fn refused(line: &[u8]) -> String {
        let shown: String = String::from_utf8_lossy(line).trim_end().chars().take(SHOWN).collect();
        format!(
            "the worker's answer is {shown:?}, but must be one line with a JSON object that has `result` (any JSON) or \
             `error` (text, and `permanent`: true for no retries); what else it says belongs on stderr"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_or_an_error_is_an_answer() {
        let result = |line: &str| match Answer::read(line.as_bytes()) {
            Ok(Answer::Result(json)) => json.to_owned(),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(result(r#" {"result": [1, {"a": null}], "more": 1} "#), r#"[1, {"a": null}]"#);
        assert_eq!(result(r#"{"result":null,"error":null}"#), "null");
        let error = |line: &str| match Answer::read(line.as_bytes()) {
            Ok(Answer::Error { error, permanent }) => (error, permanent),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(error(r#"{"error": "no", "result": null}"#), ("no".to_owned(), false));
        assert_eq!(error(r#"{"error": "no", "permanent": true}"#), ("no".to_owned(), true));
    }

    #[test]
    fn anything_else_is_shown_and_refused() {
        for line in ["", "debug", "1", "{}", "[1]", r#"{"error": null}"#, r#"{"error": 1}"#, r#"{"result": 1} 2"#] {
            let said = Answer::read(line.as_bytes()).expect_err("refused");
            assert!(said.contains(&format!("{line:?}")) && said.contains("`result`"), "{said}");
        }
        assert!(Answer::read(&vec![b' '; LONGEST_ANSWER + 1]).expect_err("refused").contains("longer than"));
    }
}
