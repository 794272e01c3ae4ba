//! From a claimed attempt to the work that it means.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::check;
use super::lookup::program;
use super::{Attempt, BUILT_IN, Process, Work};
use crate::config::{Declared, UserFunction};
use crate::home::{self, Home};
use crate::protocol::milliseconds;
use crate::secret::Wanted;
use crate::task::{Limits, Prepared};

/// Longer code runs from a file: one argument may hold 128 KiB (execve(2)).
const LONGEST_ARGUMENT: usize = 100 * 1024;
/// Runs a `custom_function`: the code and the arguments come as two files' worth of JSON in `argv[1]` (or the
/// file it names), the value leaves by its own descriptor, for the code may print.
const WRAPPER: &str = include_str!("wrapper.py");

/// What preparing needs to know beside the attempt.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub home: &'a Home,
    pub declared: Declared<'a>,
    /// The daemon's PATH.
    pub base_path: &'a str,
}

/// What an attempt is to run. What cannot be run says why.
pub fn prepare(attempt: &Attempt, context: &Context<'_>) -> Work {
    if attempt.function == "simulate" {
        return simulate(attempt, context);
    }
    match process(attempt, context) {
        Ok(process) => Work::Process(Box::new(process)),
        Err(error) => Work::Unrunnable { error },
    }
}

fn simulate(attempt: &Attempt, context: &Context<'_>) -> Work {
    if let Err(error) = check::check("simulate", &attempt.params, context.declared) {
        return Work::Unrunnable { error };
    }
    let fails = match attempt.params.get("fail") {
        Some(Value::Bool(fails)) => *fails,
        Some(times) => check::times(times).is_some_and(|times| u64::from(attempt.retry_count) < times),
        None => false,
    };
    let duration = attempt.params.get("duration").and_then(Value::as_f64).unwrap_or(1.0);
    Work::Simulate { duration_ms: milliseconds(duration), fails }
}

fn process(attempt: &Attempt, context: &Context<'_>) -> Result<Process, String> {
    check::check(&attempt.function, &attempt.params, context.declared)?;
    let surroundings = Surroundings::of(attempt, context)?;
    match attempt.function.as_str() {
        "command" => command(attempt, surroundings),
        "code_execution" => code_execution(attempt, context, surroundings),
        "custom_function" => custom_function(attempt, context, surroundings),
        name => match context.declared.functions.get(name) {
            Some(function) => user(attempt, function, surroundings),
            None => {
                let known: Vec<&str> =
                    BUILT_IN.iter().copied().chain(context.declared.functions.keys().map(String::as_str)).collect();
                Err(format!("unknown function `{name}`; known are {}", known.join(", ")))
            }
        },
    }
}

/// Where and with what a process runs.
struct Surroundings {
    cwd: PathBuf,
    env: Vec<(String, String)>,
    secrets: Vec<Wanted>,
    stdin: Vec<u8>,
    limits: Limits,
    path: String,
}

impl Surroundings {
    fn of(attempt: &Attempt, context: &Context<'_>) -> Result<Self, String> {
        let nothing = Map::new();
        // The parameters of a user's own function are its own business.
        let params = if BUILT_IN.contains(&attempt.function.as_str()) { &attempt.params } else { &nothing };
        let text = |name: &str| params.get(name).and_then(Value::as_str);
        let cwd = Path::new(&attempt.cwd).join(text("cwd").unwrap_or_default());
        if !cwd.is_dir() {
            let what = if cwd.exists() { "is not a folder" } else { "does not exist" };
            return Err(format!("the working directory `{}` {what}", cwd.display()));
        }
        let env = params.get("env").and_then(Value::as_object).unwrap_or(&nothing);
        let secrets = secrets(env, context.declared)?;
        let mut env: Vec<(String, String)> =
            env.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
        let path = env
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, path)| path)
            .or_else(|| attempt.environment.variables.get("PATH"))
            .map_or_else(|| context.base_path.to_owned(), Clone::clone);
        let own = [
            ("BATCH_EXECUTOR_TASK_ID", attempt.task_id.to_string()),
            ("BATCH_EXECUTOR_ATTEMPT", attempt.number.to_string()),
            ("BATCH_EXECUTOR_BATCH_ID", attempt.batch_id.to_string()),
            ("BATCH_EXECUTOR_HOME", context.home.root().display().to_string()),
        ];
        env.extend(own.map(|(name, value)| (name.to_owned(), value)));
        let stdin = text("stdin").unwrap_or_default().as_bytes().to_vec();
        Ok(Self { cwd, env, secrets, stdin, limits: attempt.limits.clone(), path })
    }

    fn find(&self, names: &[&str]) -> Result<PathBuf, String> {
        program(names, &self.path, &self.cwd).ok_or_else(|| match names {
            [name] if name.contains('/') => format!("the program `{name}` is not there, or cannot be run"),
            _ => {
                let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
                let path = if self.path.is_empty() { "which is empty" } else { &self.path };
                format!("no program {names} in PATH ({path})")
            }
        })
    }

    fn process(self, program: PathBuf, argv: Vec<String>) -> Process {
        let Self { cwd, env, secrets, stdin, limits, .. } = self;
        Process { program, argv, cwd, env, secrets, stdin, limits, ..Process::default() }
    }

    fn unbuffered(&mut self) {
        if !self.env.iter().any(|(name, _)| name == "PYTHONUNBUFFERED") {
            self.env.push(("PYTHONUNBUFFERED".to_owned(), "1".to_owned()));
        }
    }
}

/// The secrets that variables refer to.
fn secrets(env: &Map<String, Value>, declared: Declared<'_>) -> Result<Vec<Wanted>, String> {
    let wanted = |(variable, value): (&String, &Value)| {
        let name = check::secret(value)?;
        let source = declared.secrets.get(name);
        let unknown =
            || format!("unknown secret `{name}` in `params.env.{variable}`; {}", check::known_secrets(declared));
        Some(source.ok_or_else(unknown).map(|source| Wanted {
            variable: variable.clone(),
            name: name.to_owned(),
            source: source.clone(),
        }))
    };
    env.iter().filter_map(wanted).collect()
}

fn command(attempt: &Attempt, surroundings: Surroundings) -> Result<Process, String> {
    let argv: Vec<String> = attempt
        .params
        .get("argv")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect();
    let name = argv.first().ok_or("`params.argv` is empty")?;
    let program = surroundings.find(&[name])?;
    Ok(surroundings.process(program, argv))
}

fn code_execution(attempt: &Attempt, context: &Context<'_>, mut surroundings: Surroundings) -> Result<Process, String> {
    let text = |name: &str| attempt.params.get(name).and_then(Value::as_str).unwrap_or_default();
    let (names, flag, extension): (&[&str], _, _) = match text("runtime") {
        "python" => (&["python3", "python"], "-c", "py"),
        "nodejs" => (&["node", "nodejs"], "-e", "js"),
        _ => (&["bash", "sh"], "-c", "sh"),
    };
    if extension == "py" {
        surroundings.unbuffered();
    }
    let prepared = match extension {
        "py" => context.declared.python.prepared(),
        "js" => context.declared.nodejs.prepared(),
        _ => None,
    };
    let program = surroundings.find(names)?;
    let name = names[0].to_owned();
    let code = text("code");
    if code.len() <= LONGEST_ARGUMENT {
        let argv = vec![name, flag.to_owned(), code.to_owned()];
        return Ok(Process { prepared, ..surroundings.process(program, argv) });
    }
    let script = write_script(attempt, context, code, extension)?;
    let argv = vec![name, script.display().to_string()];
    Ok(Process { script: Some(script), prepared, ..surroundings.process(program, argv) })
}

fn custom_function(
    attempt: &Attempt,
    context: &Context<'_>,
    mut surroundings: Surroundings,
) -> Result<Process, String> {
    surroundings.unbuffered();
    let program = surroundings.find(&["python3", "python"])?;
    let call = json!({
        "code": attempt.params.get("code"),
        "args": attempt.params.get("args").filter(|args| !args.is_null()).unwrap_or(&json!({})),
    })
    .to_string();
    let mut argv = vec!["python3".to_owned(), "-c".to_owned(), WRAPPER.to_owned()];
    let script = if call.len() <= LONGEST_ARGUMENT {
        argv.push(call);
        None
    } else {
        let script = write_script(attempt, context, &call, "json")?;
        argv.push(format!("@{}", script.display()));
        Some(script)
    };
    let prepared = context.declared.python.prepared();
    Ok(Process { script, value_pipe: true, prepared, ..surroundings.process(program, argv) })
}

fn user(attempt: &Attempt, function: &UserFunction, mut surroundings: Surroundings) -> Result<Process, String> {
    let name = function.command.first().ok_or("the function's `command` is empty")?;
    let program = surroundings.find(&[name])?;
    let mut told = json!({
        "task_id": attempt.task_id,
        "name": attempt.name,
        "attempt": attempt.number,
        "params": attempt.params,
    })
    .to_string();
    if function.warm {
        told.push('\n');
        // What is of one task is in its line.
        surroundings.env.retain(|(name, _)| name == "BATCH_EXECUTOR_HOME");
        surroundings.unbuffered();
    }
    surroundings.stdin = told.into_bytes();
    surroundings.limits = surroundings.limits.over(&function.limits);
    let timeout_ms = function.timeout.map(milliseconds);
    let prepared = function.warm.then_some(Prepared::Worker);
    Ok(Process { timeout_ms, prepared, ..surroundings.process(program, function.command.clone()) })
}

fn write_script(attempt: &Attempt, context: &Context<'_>, text: &str, extension: &str) -> Result<PathBuf, String> {
    use std::io::Write;
    let path = context.home.run_dir().join(format!("{}-{}.{extension}", attempt.task_id, attempt.number));
    home::new_file(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| format!("the code cannot be written to `{}`: {error}", path.display()))?;
    Ok(path)
}
