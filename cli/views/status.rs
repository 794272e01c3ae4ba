//! The executor's state and the counts.

use std::io;

use batch_executor::protocol::{Counts, GateInfo, StatusData};
use batch_executor::task::RunState;

use super::{field, tasks, text};
use crate::screen::Screen;

/// The width of the labels.
const LABEL: usize = 10;

/// Writes a `status` answer for a person.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut Screen, status: &StatusData) -> io::Result<()> {
    let reason = status.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let keep = if status.keep { ", stays for tasks to come" } else { "" };
    let cap = status.lowered_to.unwrap_or(status.max_concurrent);
    let executor = format!("{}{reason}, at most {cap} at once{keep}", status.state);
    field(out, LABEL, "executor", &executor)?;
    if let Some(deadline) = &status.deadline {
        field(out, LABEL, "deadline", deadline)?;
    }
    if let Some(gates) = &status.gates {
        write_gates(out, gates)?;
    }
    field(out, LABEL, "tasks", &counts(&status.counts))?;
    if status.counts.total > 0 {
        let eta = status.eta.map(|eta| format!(", about {} to go", text::seconds(eta))).unwrap_or_default();
        let pace = format!("{:.0} % done, {:.1} tasks/s in the last minute{eta}", status.progress, status.throughput);
        field(out, LABEL, "progress", &pace)?;
    }
    let lost: Vec<String> =
        status.causes.iter().filter(|(cause, _)| cause.is_a_loss()).map(|(cause, n)| format!("{n} {cause}")).collect();
    if !lost.is_empty() {
        field(out, LABEL, "lost", &format!("attempts: {}", lost.join(", ")))?;
    }
    if let Some(average) = status.average_task_time {
        let total = text::seconds(status.total_execution_time);
        field(out, LABEL, "time", &format!("{} a task on average, {total} in all", text::seconds(average)))?;
    }
    if let Some(batches) = status.batches.as_ref().filter(|batches| status.tasks.is_some() && !batches.is_empty()) {
        writeln!(out, "\nbatches")?;
        for batch in batches {
            let named = batch.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            let paused = if batch.paused { ", paused" } else { "" };
            field(out, LABEL, &batch.batch_id.to_string(), &format!("{}{paused}{named}", counts(&batch.counts)))?;
        }
    }
    for (state, listed) in status.tasks.iter().flatten() {
        if !listed.is_empty() {
            writeln!(out, "\n{state}")?;
            out.table(&tasks::table(listed, &[]))?;
        }
    }
    match next_command(status) {
        Some(next) => field(out, LABEL, "next", next),
        None => Ok(()),
    }
}

fn write_gates(out: &mut Screen, gates: &[GateInfo]) -> io::Result<()> {
    let named = |open| {
        let names: Vec<&str> = gates.iter().filter(|gate| gate.open == open).map(|gate| gate.gate.as_str()).collect();
        names.join(", ")
    };
    for gate in gates.iter().filter(|gate| gate.open == Some(false)) {
        let found = gate.found.as_deref().unwrap_or_default();
        field(out, LABEL, "gate", &format!("{} closed: {found}", gate.gate))?;
    }
    for (open, how) in [(Some(true), "open"), (None, "not looked at while nothing waits")] {
        let names = named(open);
        if !names.is_empty() {
            field(out, LABEL, "gates", &format!("{how}: {names}"))?;
        }
    }
    Ok(())
}

/// The counts in one line; states without tasks are left out.
pub fn counts(counts: &Counts) -> String {
    let states = [
        (counts.queued, "queued"),
        (counts.running, "running"),
        (counts.completed, "completed"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
    ];
    let total = text::tasks(u64::try_from(counts.total).unwrap_or(0));
    let said: Vec<_> = states.iter().filter(|(count, _)| *count > 0).collect();
    match said.as_slice() {
        [] => "none".to_owned(),
        [(1, state)] => format!("{total}, {state}"),
        [(_, state)] => format!("{total}, all {state}"),
        several => {
            let states: Vec<String> = several.iter().map(|(count, state)| format!("{count} {state}")).collect();
            format!("{total}: {}", states.join(", "))
        }
    }
}

fn next_command(status: &StatusData) -> Option<&'static str> {
    let counts = &status.counts;
    match status.state {
        RunState::Stopped if counts.queued > 0 => Some("batch-executor start"),
        RunState::Running if status.paused => Some("batch-executor resume"),
        RunState::Running if counts.queued + counts.running > 0 => Some("batch-executor wait"),
        _ if counts.failed > 0 => Some("batch-executor results --filter-status failed"),
        _ if counts.total == 0 => Some("batch-executor add -- CMD ARG…, or run FILE"),
        _ => None,
    }
}
