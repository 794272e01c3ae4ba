//! From how a process ended and what it wrote to the verdict on the attempt.

use serde_json::Value;

use crate::attempt::Verdict;
use crate::json::{DEEPEST, depth};
use crate::output::{Answer, LONGEST_ANSWER, LogReader, STDERR, STDOUT, Streams, VALUE, plain_result};

/// The most bytes and lines of stderr that an error repeats.
const ERROR_BYTES: usize = 2000;
const ERROR_LINES: usize = 10;

/// The verdict on a process that nobody ended. `spilled`: its output is too large to be kept beside the
/// task, so the result is made now.
pub fn interpret(
    function: &str,
    exit_code: Option<i32>,
    signal: Option<i32>,
    log: &mut LogReader,
    spilled: bool,
    keep_bytes: u64,
) -> Verdict {
    let kept = |log: &mut LogReader| kept(exit_code, log, spilled, keep_bytes);
    if let Some(error) = unusable(function, log) {
        return Verdict::Failure { error, permanent: true, result: kept(log) };
    }
    if exit_code != Some(0) {
        let result = kept(log);
        return Verdict::Failure { error: error(exit_code, signal, log), permanent: false, result };
    }
    match function {
        "command" | "code_execution" => Verdict::Success { result: kept(log) },
        "custom_function" => match value(log) {
            Ok(value) => Verdict::Success { result: Some(value) },
            Err(error) => Verdict::Failure { error, permanent: false, result: kept(log) },
        },
        _ => {
            let mut result = plain(exit_code, log, keep_bytes);
            let value = result.get_mut("value").map(Value::take);
            Verdict::Success { result: Some(value.unwrap_or(result)) }
        }
    }
}

/// The verdict on what a worker has answered. The rest as above.
pub fn answered(log: &mut LogReader, spilled: bool, keep_bytes: u64) -> Verdict {
    let (line, _) = log.head_tail(VALUE, LONGEST_ANSWER as u64 + 1);
    let (error, permanent) = match Answer::read(&line) {
        Ok(Answer::Result(result)) => match json(result.as_bytes(), "the result") {
            Ok(value) => return Verdict::Success { result: Some(value) },
            Err(error) => (error, false),
        },
        Ok(Answer::Error { error, permanent }) => (error, permanent),
        Err(error) => (error, false),
    };
    Verdict::Failure { error, permanent, result: kept(None, log, spilled, keep_bytes) }
}

fn plain(exit_code: Option<i32>, log: &mut LogReader, keep_bytes: u64) -> Value {
    let stdout = log.head_tail(STDOUT, keep_bytes);
    let stderr = log.head_tail(STDERR, keep_bytes);
    plain_result(exit_code, (&stdout.0, stdout.1), (&stderr.0, stderr.1))
}

/// The plain result, where the output is too large for it to be made when it is read.
fn kept(exit_code: Option<i32>, log: &mut LogReader, spilled: bool, keep_bytes: u64) -> Option<Value> {
    let large = spilled || log.size(Streams::Both) > keep_bytes;
    large.then(|| plain(exit_code, log, keep_bytes))
}

/// What the wrapper says of a `custom_function` whose parameters no further attempt would make better.
fn unusable(function: &str, log: &mut LogReader) -> Option<String> {
    if function != "custom_function" {
        return None;
    }
    let (said, _) = log.head_tail(VALUE, ERROR_BYTES as u64);
    said.strip_prefix(b"!").map(|why| String::from_utf8_lossy(why).into_owned())
}

fn value(log: &mut LogReader) -> Result<Value, String> {
    let (text, omitted) = log.head_tail(VALUE, LONGEST_ANSWER as u64);
    if omitted > 0 {
        return Err(format!("the returned value is longer than {LONGEST_ANSWER} bytes"));
    }
    if text.is_empty() {
        return Err("`params.code` ended the interpreter before `process` returned".to_owned());
    }
    json(&text, "the returned value")
}

fn json(text: &[u8], what: &str) -> Result<Value, String> {
    let value = serde_json::from_slice(text).map_err(|error| format!("{what} cannot be kept as JSON: {error}"))?;
    if depth(&value) > DEEPEST {
        return Err(format!("{what} is nested too deep: at most {DEEPEST} levels are possible"));
    }
    Ok(value)
}

fn error(exit_code: Option<i32>, signal: Option<i32>, log: &mut LogReader) -> String {
    let how = match (exit_code, signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => match nix::sys::signal::Signal::try_from(signal) {
            Ok(name) => format!("killed by {name} (signal {signal})"),
            Err(_) => format!("killed by signal {signal}"),
        },
        (None, None) => "ended without a status".to_owned(),
    };
    let (bytes, ..) = log.read(Streams::One(STDERR), -(ERROR_BYTES as i64), ERROR_BYTES);
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let last = lines[lines.len().saturating_sub(ERROR_LINES)..].join("\n");
    if last.is_empty() { how } else { format!("{how}: {last}") }
}
