//! `doctor --repair`: the way into the engine's own code, where it was built in.

use crate::context::Context;
use crate::failure::Failure;

/// Repairs the queue, where no daemon runs.
///
/// # Errors
/// What [`Failure`] says.
#[cfg(feature = "daemon")]
pub fn run(context: &Context) -> Result<u8, Failure> {
    use batch_executor::daemon::{self, DaemonError, RepairError};
    use serde_json::{Map, json};

    use crate::context::OwnAnswer;
    use crate::exit;

    let repaired = match daemon::repair(&context.home) {
        Ok(repaired) => repaired,
        Err(DaemonError::Repair(intact @ RepairError::Intact(_))) => {
            let answer = OwnAnswer::new("doctor", intact.to_string(), json!({"repaired": false}));
            context.print_own(&answer, |out| writeln!(out, "{intact}"))?;
            return Ok(exit::DONE);
        }
        Err(error) => return Err(Failure::new(error.exit_code(), error.to_string())),
    };
    let rows: Map<_, _> = repaired.tables.iter().map(|(table, rows)| (table.clone(), json!(rows))).collect();
    let tasks = rows.get("task").cloned().unwrap_or_default();
    let (pages, lost) = (repaired.unreadable_pages, repaired.unreadable_rows);
    let saved = repaired.saved.display().to_string();
    let message = format!("a fresh queue with {tasks} tasks is in place; the damaged one is kept as {saved}");
    let data = json!({"repaired": true, "saved": saved, "rows": rows, "unreadable_pages": pages,
        "unreadable_rows": lost, "notes": repaired.notes});
    context.print_own(&OwnAnswer::new("doctor", &message, data), |out| {
        writeln!(out, "{message}")?;
        writeln!(out, "could not be read: pages: {pages}, rows on other pages: {lost}")?;
        for note in &repaired.notes {
            writeln!(out, "- {note}")?;
        }
        writeln!(out, "-> look at it with: batch-executor status")
    })?;
    Ok(exit::DONE)
}

/// # Errors
/// Always: the engine was left out.
#[cfg(not(feature = "daemon"))]
pub fn run(_context: &Context) -> Result<u8, Failure> {
    Err(Failure::new(
        crate::exit::INTERNAL,
        "this program was built without the daemon, which alone can repair a queue",
    ))
}
