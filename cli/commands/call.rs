//! `call`: a request as JSON, the response as it comes.

use std::collections::BTreeMap;
use std::io::BufRead;

use batch_executor::client::Client;
use batch_executor::protocol::schema;
use clap::Args;
use serde_json::value::{RawValue, to_raw_value};

use crate::args::EnvironmentArgs;
use crate::context::{Context, working_directory};
use crate::exit;
use crate::failure::Failure;
use crate::screen::Screen;

/// Flags of `call`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  batch-executor call '{\"action\": \"status\"}'
  batch-executor call --file request.json
  generate-requests | batch-executor call")]
pub struct CallArgs {
    /// The request [default: each line of standard input]
    #[arg(value_name = "JSON", conflicts_with = "file")]
    request: Option<String>,
    /// Print the JSON Schemas of an action's request and response, or of all actions
    #[arg(long, value_name = "ACTION", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["request", "file"])]
    schema: Option<String>,
    /// A file with one request, or one a line; - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    #[command(flatten)]
    environment: EnvironmentArgs,
}

type Fields = BTreeMap<String, Box<RawValue>>;

/// Sends each request and prints each response; exits with the worst code of all.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &CallArgs) -> Result<u8, Failure> {
    if let Some(action) = &args.schema {
        return schemas(action);
    }
    let mut caller = Caller {
        client: context.client()?,
        cwd: raw(&working_directory()?)?,
        environment: raw(&context.environment(&args.environment)?)?,
    };
    match (&args.request, args.file.as_deref()) {
        (Some(json), _) if json == "-" => caller.call_lines(std::io::stdin().lock()),
        (Some(json), _) => caller.call(json),
        (None, None | Some("-")) => caller.call_lines(std::io::stdin().lock()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
            if serde_json::from_str::<&RawValue>(&text).is_ok() {
                caller.call(&text)
            } else {
                caller.call_lines(text.as_bytes())
            }
        }
    }
}

fn schemas(action: &str) -> Result<u8, Failure> {
    let text = if action.is_empty() {
        let all: BTreeMap<&str, _> =
            schema::ACTIONS.iter().filter_map(|name| Some((*name, schema::of(name)?))).collect();
        serde_json::to_string(&all)
    } else {
        let one = schema::of(action).ok_or_else(|| {
            Failure::usage(format!("--schema is `{action}`, but must be one of {}", schema::ACTIONS.join(", ")))
        })?;
        serde_json::to_string(&one)
    };
    let mut out = Screen::out();
    out.json(&text.map_err(|error| Failure::new(exit::INTERNAL, error.to_string()))?)?;
    out.flush()?;
    Ok(exit::DONE)
}

struct Caller {
    client: Client,
    cwd: Box<RawValue>,
    environment: Box<RawValue>,
}

impl Caller {
    fn call_lines(&mut self, mut lines: impl BufRead) -> Result<u8, Failure> {
        let mut worst = exit::DONE;
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line).map_err(|e| Failure::file("read", "standard input", &e))?;
            if read == 0 {
                return Ok(worst);
            }
            if !line.trim_ascii().is_empty() {
                worst = exit::worst(worst, self.call(&String::from_utf8_lossy(&line))?);
            }
        }
    }

    /// What is not JSON goes to the daemon too: its error is the answer.
    fn call(&mut self, text: &str) -> Result<u8, Failure> {
        // A blank line is no request, so there would be no answer.
        if text.trim().is_empty() {
            return Err(Failure::new(exit::REFUSED, "the request is empty; an object with `action` is needed"));
        }
        let line = match serde_json::from_str::<Fields>(text) {
            Ok(fields) => serde_json::to_string(&self.complete(fields)).unwrap_or_else(|_| text.to_owned()),
            Err(_) => text.to_owned(),
        };
        let answer = self.client.call_line(one_line(&line).as_bytes())?;
        let mut out = Screen::out();
        out.json(&answer.line)?;
        out.flush()?;
        Ok(exit::of_response(&answer.response))
    }

    /// Adds where the request comes from, where it does not say that itself.
    fn complete(&self, mut fields: Fields) -> Fields {
        let arguments = fields.get("tool_args").and_then(|args| serde_json::from_str::<Fields>(args.get()).ok());
        let says = |name: &str| {
            fields.contains_key(name) || arguments.as_ref().is_some_and(|arguments| arguments.contains_key(name))
        };
        let action = |fields: &Fields| fields.get("action").and_then(|a| serde_json::from_str::<String>(a.get()).ok());
        let adds = action(&fields)
            .or_else(|| arguments.as_ref().and_then(action))
            .is_some_and(|action| ["add", "add_batch"].contains(&action.as_str()));
        let (cwd, environment) = (!says("cwd"), adds && !says("environment"));
        if cwd {
            fields.insert("cwd".to_owned(), self.cwd.clone());
        }
        if environment {
            fields.insert("environment".to_owned(), self.environment.clone());
        }
        fields
    }
}

fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>, Failure> {
    to_raw_value(value).map_err(|error| Failure::new(exit::INTERNAL, error.to_string()))
}

/// Line breaks in valid JSON are only between its parts.
fn one_line(text: &str) -> String {
    text.trim().replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn completed(text: &str) -> Value {
        let home = batch_executor::home::Home::at(std::path::Path::new("/nowhere")).expect("a short path");
        let caller = Caller {
            client: Client::new(home, None),
            cwd: raw(&"/here").expect("a string"),
            environment: raw(&json!({"A": "1"})).expect("an object"),
        };
        let fields = serde_json::from_str(text).expect("an object");
        serde_json::to_value(caller.complete(fields)).expect("valid JSON")
    }

    #[test]
    fn only_what_is_missing_is_added() {
        assert_eq!(completed(r#"{"action":"status"}"#), json!({"action": "status", "cwd": "/here"}));
        assert_eq!(
            completed(r#"{"action":"add","cwd":"/there"}"#),
            json!({"action": "add", "cwd": "/there", "environment": {"A": "1"}})
        );
    }

    #[test]
    fn a_tool_call_is_looked_into() {
        let call = r#"{"tool_name":"batch_executor_tool","tool_args":{"action":"add","cwd":"/x"}}"#;
        let expected = json!({
            "tool_name": "batch_executor_tool", "tool_args": {"action": "add", "cwd": "/x"}, "environment": {"A": "1"},
        });
        assert_eq!(completed(call), expected);
    }

    #[test]
    fn a_pretty_request_becomes_one_line() {
        assert_eq!(one_line("{\n  \"a\": \"b\\nc\"\r\n}\n"), "{   \"a\": \"b\\nc\"  }");
    }
}
