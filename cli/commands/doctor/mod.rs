//! `doctor`: what the promises rest on, and what to do about each thing that is wrong.

mod daemon;
mod hooks;
mod machine;
mod repair;
mod termux;
mod warm;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::context::{Context, OwnAnswer};
use crate::exit;
use crate::failure::Failure;
use crate::views::field;

/// The width of mark and name, and of the indent of a step.
const LABEL: usize = 24;
const STEP: usize = 11;

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Make a fresh queue of what can be read of a damaged one, and keep the damaged one beside it
    #[arg(long)]
    repair: bool,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// Something will not be as good as it could be.
    Warning,
    /// A promise cannot be kept.
    Broken,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    level: Level,
    found: String,
    /// What to do about it, a step a line.
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, found: found.into(), advice: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, level: Level::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    fn broken(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, level: Level::Broken, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Prints every check; 0 with warnings at most, 1 when a promise cannot be kept.
///
/// # Errors
/// When standard output cannot be written, or a queue cannot be repaired.
pub fn run(context: &Context, args: &DoctorArgs) -> Result<u8, Failure> {
    if args.repair {
        return repair::run(context);
    }
    let mut checks = vec![
        Check::ok("program", format!("version {}", batch_executor::version::VERSION)),
        Check::ok("socket", context.home.socket().to_string_lossy()),
    ];
    checks.extend(daemon::checks(context));
    checks.extend(machine::checks(context));
    checks.push(warm::python(&context.settings.python));
    checks.push(warm::nodejs(&context.settings.nodejs));
    checks.extend(hooks::checks(&context.settings.hooks, &context.settings.secrets, context.home.root()));
    // What needs doing is last, where it is seen however many there are.
    checks.sort_by_key(|check| check.level);
    let worst = checks.iter().map(|check| check.level).max().unwrap_or(Level::Ok);
    let message = match worst {
        Level::Ok => "all is well",
        Level::Warning => "all promises can be kept; see the warnings",
        Level::Broken => "a promise cannot be kept",
    };
    let answer = OwnAnswer::new("doctor", message, json!({"worst": worst, "checks": checks}));
    context.print_own(&answer, |out| {
        for check in &checks {
            let mark = match check.level {
                Level::Ok => "ok",
                Level::Warning => "warning",
                Level::Broken => "BROKEN",
            };
            field(out, LABEL, &format!("{mark:<8} {:<14} ", check.name), &check.found)?;
            for step in check.advice.iter().flat_map(|advice| advice.lines()) {
                field(out, STEP, &format!("{:<indent$}-> ", "", indent = STEP - 3), step)?;
            }
        }
        writeln!(out, "{message}")
    })?;
    Ok(if worst == Level::Broken { exit::TASKS_FAILED } else { exit::DONE })
}
