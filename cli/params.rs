//! Parameters as they are written on a command line or in a cell: JSON where it is JSON, else text.

use batch_executor::tasks_file::json_or_text;
use serde_json::{Map, Value};

/// `--params JSON` with each `-p KEY=VALUE` set on top.
///
/// # Errors
/// One sentence that names the flag.
pub fn params(object: Option<&str>, pairs: &[String]) -> Result<Map<String, Value>, String> {
    let mut params = match object {
        None => Map::new(),
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(params)) => params,
            Ok(other) => return Err(format!("--params must be a JSON object, not {other}")),
            Err(error) => return Err(format!("--params is not valid JSON: {error}")),
        },
    };
    for pair in pairs {
        match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => params.insert(key.to_owned(), json_or_text(value)),
            _ => return Err(format!("-p must be KEY=VALUE, not `{pair}`")),
        };
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_where_it_is_json() {
        let pairs = ["n=1", "s=one", "l=[1,2]", "t=true", "e=", "q=\"1\"", "x=a=b"].map(str::to_owned);
        let expected = json!({"n": 1, "s": "one", "l": [1, 2], "t": true, "e": "", "q": "1", "x": "a=b"});
        assert_eq!(params(None, &pairs).map(Value::Object), Ok(expected));
    }

    #[test]
    fn a_pair_beats_the_object() {
        let both = params(Some(r#"{"a": 1, "b": 2}"#), &["a=3".to_owned()]);
        assert_eq!(both.map(Value::Object), Ok(json!({"a": 3, "b": 2})));
        assert!(params(Some("[1]"), &[]).is_err() && params(None, &["a".to_owned()]).is_err());
    }
}
