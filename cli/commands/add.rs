//! `add`: one task.

use batch_executor::protocol::Added;
use batch_executor::tasks_file::{exit_codes, json_or_text};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::args::{EnvironmentArgs, SecretArgs, TaskFields, insert};
use crate::context::{Context, data, print_id};
use crate::exit;
use crate::failure::Failure;
use crate::params::params;
use crate::quoting::command_line;
use crate::request_key;

/// The functions whose parameters have an `env`.
const WITH_ENV: &[&str] = &["command", "code_execution", "custom_function"];

/// Flags of `add`.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  batch-executor add -- python3 train.py --lr 0.1
  batch-executor add sleepy --function simulate -p duration=5 --priority high
  batch-executor add hello --function code_execution -p runtime=python -p code='print(40 + 2)'")]
pub struct AddArgs {
    /// The task's name; after `--` alone it is the command line
    #[arg(required_unless_present = "command")]
    name: Option<String>,
    /// What runs it; see `batch-executor functions`
    #[arg(long, short, value_name = "F", required_unless_present = "command", conflicts_with = "command")]
    function: Option<String>,
    /// Its parameters, as a JSON object
    #[arg(long, value_name = "JSON")]
    params: Option<String>,
    /// One parameter: JSON where it is valid JSON, else text
    #[arg(short = 'p', long = "param", value_name = "KEY=VALUE")]
    pairs: Vec<String>,
    #[command(flatten)]
    fields: TaskFields,
    /// Exit codes after which it is not tried again, as 2,3
    #[arg(long, value_name = "CODES", allow_hyphen_values = true)]
    permanent_exit_codes: Option<String>,
    /// A limit: memory=512MiB, cpu=60 (seconds), open_files=64, nice=10, ionice=idle (or 0 to 7), umask=077, cpus=1.5, processes=50
    #[arg(long = "limit", value_name = "KEY=VALUE")]
    limits: Vec<String>,
    /// Sent again with the same key, it adds nothing and gives the first answer
    #[arg(long, value_name = "KEY")]
    request_key: Option<String>,
    #[command(flatten)]
    environment: EnvironmentArgs,
    #[command(flatten)]
    secrets: SecretArgs,
    /// A command, run without a shell
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl From<Vec<String>> for AddArgs {
    /// A command and nothing else.
    fn from(command: Vec<String>) -> Self {
        Self { command, ..Self::default() }
    }
}

/// Adds a task; with `--quiet` prints its id alone.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &AddArgs) -> Result<u8, Failure> {
    let mut request = task(args)?;
    // A key of our own makes it safe to send again after a broken connection.
    let key = args.request_key.clone().unwrap_or_else(|| request_key::random(request_key::OWN));
    request.insert("request_key".to_owned(), json!(key));
    request.insert("environment".to_owned(), json!(context.environment(&args.environment)?));
    let answer = context.ask_until_answered("add", request)?;
    if context.quiet && !context.json {
        let added: Added = data(&answer)?;
        print_id(added.task_id)?;
        return Ok(exit::DONE);
    }
    context.print_message(&answer)?;
    Ok(exit::DONE)
}

fn task(args: &AddArgs) -> Result<Map<String, Value>, Failure> {
    let mut params = params(args.params.as_deref(), &args.pairs).map_err(Failure::usage)?;
    let mut task = Map::new();
    if args.command.is_empty() {
        insert(&mut task, "name", args.name.as_deref());
        insert(&mut task, "function", args.function.as_deref());
    } else {
        let name = args.name.clone().unwrap_or_else(|| command_line(&args.command));
        task.insert("name".to_owned(), json!(name));
        task.insert("function".to_owned(), json!("command"));
        params.insert("argv".to_owned(), json!(args.command));
    }
    let takes_env = task.get("function").and_then(Value::as_str).is_some_and(|name| WITH_ENV.contains(&name));
    if args.secrets.insert_into(&mut params)? && !takes_env {
        return Err(Failure::usage(format!("--secret is for the functions {}", WITH_ENV.join(", "))));
    }
    task.insert("params".to_owned(), Value::Object(params));
    args.fields.insert_into(&mut task);
    insert(&mut task, "permanent_exit_codes", args.permanent_exit_codes.as_deref().map(exit_codes));
    if !args.limits.is_empty() {
        task.insert("limits".to_owned(), limits(&args.limits)?);
    }
    Ok(task)
}

/// Numbers as numbers; but an octal mask is a text whatever its digits.
fn limits(pairs: &[String]) -> Result<Value, Failure> {
    let mut limits = Map::new();
    for pair in pairs {
        let Some((name, text)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Failure::usage(format!("--limit must be KEY=VALUE, not `{pair}`")));
        };
        limits.insert(name.to_owned(), if name == "umask" { json!(text) } else { json_or_text(text) });
    }
    Ok(Value::Object(limits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn parsed(words: &[&str]) -> Map<String, Value> {
        match Cli::try_parse_from(words).expect("a valid command line").command {
            Some(Command::Add(args)) => task(&args).expect("a valid task"),
            other => panic!("not add but {other:?}"),
        }
    }

    #[test]
    fn a_command_is_named_by_its_line() {
        let task = parsed(&["batch-executor", "add", "--priority", "high", "--", "echo", "hi there", "--json"]);
        let expected = json!({
            "name": "echo 'hi there' --json", "function": "command", "priority": "high",
            "params": {"argv": ["echo", "hi there", "--json"]},
        });
        assert_eq!(Value::Object(task), expected);
    }

    #[test]
    fn a_named_function_with_parameters() {
        let words =
            ["batch-executor", "add", "x", "--function", "simulate", "-p", "duration=0.1", "--max-retries", "0"];
        let expected = json!({"name": "x", "function": "simulate", "params": {"duration": 0.1}, "max_retries": 0});
        assert_eq!(Value::Object(parsed(&words)), expected);
    }
}
