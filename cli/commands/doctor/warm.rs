//! Whether tasks in Python can run in forks of a prepared interpreter, where that is wanted.

use std::process::{Command, Stdio};

use batch_executor::config::Python;

use super::Check;
use crate::context::in_path;

const NAME: &str = "warm python";

/// Imports what a fork-server would, with the interpreter that is found here.
pub fn check(python: &Python) -> Check {
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
        let tried = Command::new(&program).args(["-c", &format!("import {module}")]).stdin(Stdio::null()).output();
        let said = match tried {
            Ok(output) if output.status.success() => continue,
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        let last = said.trim_end().lines().last().unwrap_or_default();
        return Check::warning(
            NAME,
            format!("{} cannot import {module}: {last}", program.display()),
            "tasks in Python start cold: install it for that interpreter, or take it out of `imports` in [runtimes.python]",
        );
    }
    let modules = needed.skip(1).collect::<Vec<_>>().join(", ");
    Check::ok(NAME, if modules.is_empty() { "on".to_owned() } else { format!("on, with {modules}") })
}
