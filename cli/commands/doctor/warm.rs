//! Whether tasks in Python and Node.js can run in processes that are there before, where that is wanted.

use std::process::{Command, Stdio};

use batch_executor::config::{Nodejs, Python};

use super::Check;
use crate::context::in_path;

const NAME: &str = "warm python";
const NODEJS: &str = "warm nodejs";
/// Fails where a version lacks what the processes that are started ahead need.
const NEEDED: &str = "if (!(require('vm').constants || {}).USE_MAIN_CONTEXT_DEFAULT_LOADER) { console.error(process.version + ' is too old: 20.12 or later is needed'); process.exit(1) }";

/// Imports what a fork-server would, with the interpreter that is found here.
pub fn python(python: &Python) -> Check {
    if !python.warm {
        return Check::ok(
            NAME,
            "off; with `[runtimes.python] warm = true` tasks in Python start several times as fast",
        );
    }
    let Some(program) = ["python3", "python"].into_iter().find_map(in_path) else {
        return Check::warning(NAME, "no python3 or python in PATH", "install one, or tasks in Python will fail");
    };
    // What the fork-server itself needs comes first.
    let needed = ["ctypes"].into_iter().chain(python.imports.iter().map(String::as_str));
    for module in needed.clone() {
        let Some(last) = refusal(Command::new(&program).args(["-c", &format!("import {module}")])) else { continue };
        return Check::warning(
            NAME,
            format!("{} cannot import {module}: {last}", program.display()),
            "tasks in Python start cold: install it for that interpreter, or take it out of `imports` in [runtimes.python]",
        );
    }
    let modules = needed.skip(1).collect::<Vec<_>>().join(", ");
    Check::ok(NAME, if modules.is_empty() { "on".to_owned() } else { format!("on, with {modules}") })
}

/// Runs what such a process needs, with the interpreter that is found here.
pub fn nodejs(nodejs: &Nodejs) -> Check {
    if !nodejs.warm {
        return Check::ok(
            NODEJS,
            "off; with `[runtimes.nodejs] warm = true` a task in Node.js begins several times as soon where a core is free",
        );
    }
    let Some(program) = ["node", "nodejs"].into_iter().find_map(in_path) else {
        return Check::warning(NODEJS, "no node or nodejs in PATH", "install one, or tasks in Node.js will fail");
    };
    match refusal(Command::new(&program).args(["-e", NEEDED])) {
        None => Check::ok(NODEJS, "on; it gains time where a core is free, not tasks a second where none is"),
        Some(said) => Check::warning(
            NODEJS,
            format!("{}: {said}", program.display()),
            "tasks in Node.js start cold: install a later version",
        ),
    }
}

/// The last line that a program said which failed; none where it did not fail.
fn refusal(command: &mut Command) -> Option<String> {
    let said = match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => return None,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    Some(said.trim_end().lines().last().unwrap_or_default().to_owned())
}
