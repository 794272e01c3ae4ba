//! `selftest`: the promises, tried on this machine by breaking a throw-away daemon on purpose.
//!
//! - `stage`: the throw-away folder; `daemon`: a daemon in it, which is started, asked and killed.
//! - `rules`: order, cap, ends, output, as the tasks see them. `kills`: kills under load, by the `ledger` of what was
//!   acknowledged. `disk`: a sync, no room, failing writes.
//! - `report`: a line for each promise.

mod daemon;
mod disk;
mod kills;
mod ledger;
mod report;
mod rules;
mod stage;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use batch_executor::platform::this_program;
use clap::Args;
use serde_json::json;

use crate::context::{Context, OwnAnswer};
use crate::exit;
use crate::failure::Failure;
use crate::views::text;
use report::{Outcome, Report, Seen, Verdict};
use stage::Stage;

/// What only a hand at the plug can show.
const POWER: &str = "a power cut, and whether the disk keeps what it says it has synced; pull the plug to see";

/// Flags of `selftest`.
#[derive(Debug, Args)]
pub struct SelftestArgs {
    /// How often something is killed under load; some thousands fill a night
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    cycles: u32,
    /// Repeat the choices of an earlier run
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Test this program instead, before it is installed
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

/// A promise that is looked at by itself.
type Check = (&'static str, fn(&Stage) -> Outcome);

const CHECKS: &[Check] = &[
    ("order", rules::order),
    ("cap", rules::cap),
    ("timeout and cancel", rules::ending),
    ("what tasks leave behind", rules::left_behind),
    ("output", rules::output),
    ("failing writes", disk::writes_fail),
    ("full disk", disk::full),
    ("sync", disk::sync),
];

/// Tries every promise; 0 when all that could be tried hold, else 1.
///
/// # Errors
/// When it cannot be tried at all, or was interrupted.
pub fn run(context: &Context, args: &SelftestArgs) -> Result<u8, Failure> {
    let program = match &args.program {
        Some(path) => {
            std::path::absolute(path).map_err(|error| Failure::file("find", &path.to_string_lossy(), &error))?
        }
        None => this_program().map_err(|error| Failure::file("find", "this program", &error))?,
    };
    let version = version_of(&program)?;
    let begun = Instant::now();
    let mut stage = Stage::new(&context.home, program, args.seed.unwrap_or_else(|| fastrand::u64(..1 << 32)))?;
    let mut report = Report::new(context);
    report.print(&format!(
        "{version}, on a throw-away home in {}; yours is not touched. Seed {}",
        stage.folder().display(),
        stage.seed
    ))?;
    let kept = stage.folder().to_owned();
    let tried = try_all(&stage, args.cycles, &mut report);
    report.done();
    let failed = report.count(Verdict::Fail);
    if failed > 0 {
        stage.keep();
    }
    tried?;
    let took = begun.elapsed().as_secs_f64();
    let held = report.count(Verdict::Ok);
    let untested = report.count(Verdict::NotTestable);
    let untested = if untested > 0 { format!("; {untested} not testable here") } else { String::new() };
    let message = if failed > 0 {
        format!("{failed} of {} promises BROKEN{untested} ({})", held + failed, text::seconds(took))
    } else {
        format!("all {held} promises that can be tried here hold{untested} ({})", text::seconds(took))
    };
    let home = (failed > 0).then_some(&kept);
    let data = json!({"passed": failed == 0, "version": version, "seed": stage.seed, "cycles": args.cycles,
        "seconds": took, "promises": report.lines, "kept": home});
    let answer = OwnAnswer::new("selftest", &message, data);
    context.print_own(&answer, |out| writeln!(out, "{message}"))?;
    if failed == 0 {
        return Ok(exit::DONE);
    }
    report.insist(&format!("what was seen is kept in {}; repeat it with --seed {}", kept.display(), stage.seed));
    Ok(exit::TASKS_FAILED)
}

fn try_all(stage: &Stage, cycles: u32, report: &mut Report<'_>) -> Result<(), Failure> {
    for (promise, check) in CHECKS {
        report.doing(promise);
        report.add(promise, check(stage))?;
    }
    kills::run(stage, cycles, report)?;
    report.add("power loss", Err(Seen::NotTestable(POWER.to_owned())))
}

/// What the program says of itself, so that it is known what was tested.
fn version_of(program: &std::path::Path) -> Result<String, Failure> {
    let said = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let said = said.map_err(|error| Failure::file("run", &program.to_string_lossy(), &error))?;
    let said = text::first_line(&String::from_utf8_lossy(&said.stdout));
    if said.is_empty() {
        return Err(Failure::new(exit::REFUSED, format!("`{}` does not tell its version", program.display())));
    }
    Ok(said)
}
