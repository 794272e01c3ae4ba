//! Kills under load: the daemon, the keeper, both at once, at instants that chance chooses.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::json;

use super::daemon::Daemon;
use super::ledger::{CALM, CANCELS, Findings, IDS, KEPT, Ledger, ONCE, Request};
use super::report::{Outcome, Report, Seen};
use super::stage::{PATIENCE, Stage};
use crate::failure::Failure;
use crate::views::text;

/// The most kills before the queue is emptied and the ledger begun anew. The first three quarters leave the keeper alone.
const BLOCK: u32 = 40;
/// The longest life of a daemon under load, in ms.
const LONGEST_LIFE: u64 = 220;
/// The most tasks that one life adds, and the most requests in flight.
const TASKS_A_LIFE: usize = 20;
const IN_FLIGHT: usize = 6;
const AGAIN: &str = "run again";
const CLEAN: &str = "nothing left running";
const WHOLE: &str = "queue intact";

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Daemon,
    Keeper,
    Both,
}

#[derive(Debug, Default)]
struct Kills {
    daemon: u32,
    keeper: u32,
    both: u32,
    in_flight: usize,
}

impl Kills {
    const fn count(&mut self, victim: Victim) {
        match victim {
            Victim::Daemon => self.daemon += 1,
            Victim::Keeper => self.keeper += 1,
            Victim::Both => self.both += 1,
        }
    }
}

/// Kills so many times; a line for each promise.
///
/// # Errors
/// The user ended it.
pub(super) fn run(stage: &Stage, cycles: u32, report: &mut Report<'_>) -> Result<(), Failure> {
    let mut findings = Findings::default();
    let mut kills = Kills::default();
    let mut ledger = Ledger::new(stage.random(2));
    let outcome = survive(stage, cycles, report, &mut ledger, &mut kills, &mut findings);
    let sums = &ledger.sums;
    let all = kills.daemon + kills.keeper + kills.both;
    let mut lines = vec![
        (
            KEPT,
            format!(
                "killed {} under load; {} requests were acknowledged, {} in flight at a kill; all {} are there",
                text::times(all),
                sums.acknowledged,
                kills.in_flight,
                text::tasks(sums.tasks)
            ),
        ),
        (ONCE, format!("no task completed twice; {} runs, each a recorded attempt", sums.runs)),
        (
            CALM,
            format!("the daemon alone was killed {}, and no running task was interrupted", text::times(kills.daemon)),
        ),
        (CANCELS, format!("{} cancelled, and stayed so", text::tasks(sums.cancelled))),
        (IDS, "ascending, none given twice".to_owned()),
        (CLEAN, "no process of a task was left when all had ended".to_owned()),
        (WHOLE, "the database is whole, and its counts are those of its rows".to_owned()),
    ];
    if kills.keeper + kills.both > 0 {
        let seen = format!(
            "the keeper was killed {} ({} with the daemon); {} attempts were lost, recorded and run again",
            text::times(kills.keeper + kills.both),
            kills.both,
            sums.lost_attempts
        );
        lines.insert(3, (AGAIN, seen));
    }
    if let Err(seen) = outcome {
        // What was not looked at to the end is not claimed.
        let seen = match seen {
            Seen::Broken(seen) => Seen::Broken(format!("after {all} kills: {seen}")),
            other => other,
        };
        report.add("kills under load", Err(seen))?;
        for (promise, seen) in findings.0 {
            report.add(promise, broken(&seen))?;
        }
        return Ok(());
    }
    for (promise, good) in lines {
        let outcome = findings.0.get(promise).map_or(Ok(good), |seen| broken(seen));
        report.add(promise, outcome)?;
    }
    Ok(())
}

fn broken(seen: &[String]) -> Outcome {
    let first = seen.first().cloned().unwrap_or_default();
    let more = if seen.len() > 1 { format!(" (and {} more)", seen.len() - 1) } else { String::new() };
    Err(Seen::Broken(first + &more))
}

fn survive(
    stage: &Stage,
    cycles: u32,
    report: &Report<'_>,
    ledger: &mut Ledger,
    kills: &mut Kills,
    findings: &mut Findings,
) -> Result<(), Seen> {
    let mut random = stage.random(3);
    let mut daemon = Daemon::start(stage, "kills")?;
    let mut unanswered = VecDeque::new();
    let block = cycles.min(BLOCK);
    let calm = (block * 3).div_ceil(4);
    // Once: a daemon that was killed goes on by itself.
    daemon.ask(json!({"action": "start", "max_concurrent": 4, "keep": true}))?;
    for cycle in 0..cycles {
        report.doing(&format!("kill {} of {cycles}", cycle + 1));
        let victim = match cycle % block {
            at if at < calm => Victim::Daemon,
            at if at % 2 == 0 => Victim::Keeper,
            _ => Victim::Both,
        };
        live(&mut daemon, &mut random, ledger, &mut unanswered, findings)?;
        kills.in_flight += unanswered.len();
        strike(&mut daemon, victim, ledger, &mut unanswered, findings)?;
        kills.count(victim);
        let in_block = cycle % block + 1;
        if in_block == calm || in_block == block || cycle + 1 == cycles {
            report.doing("comparing what was acknowledged with what is there");
            settle(&mut daemon, ledger, &mut unanswered, findings)?;
            compare(stage, &mut daemon, ledger, in_block <= calm, findings)?;
            if !findings.0.is_empty() {
                // The home is left as it is, to be looked at.
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A client asks and asks until the instant of the kill.
fn live(
    daemon: &mut Daemon<'_>,
    random: &mut fastrand::Rng,
    ledger: &mut Ledger,
    unanswered: &mut VecDeque<Request>,
    findings: &mut Findings,
) -> Result<(), Seen> {
    let until = Instant::now() + Duration::from_millis(random.u64(1..LONGEST_LIFE));
    let mut added = 0;
    for request in unanswered.iter() {
        daemon.send(ledger.sent(request));
    }
    loop {
        while unanswered.len() < IN_FLIGHT && added < TASKS_A_LIFE {
            let request = ledger.next(true);
            if let Request::Add { names, .. } = &request {
                added += names.len();
            }
            send(daemon, ledger, unanswered, request);
        }
        match daemon.receive(until)? {
            Some(answer) => {
                if let Some(request) = unanswered.pop_front() {
                    ledger.answered(&request, &answer, findings)?;
                }
            }
            None if Instant::now() >= until => return Ok(()),
            None => return Err(daemon.lost()),
        }
        if unanswered.is_empty() && added >= TASKS_A_LIFE {
            // It has enough to do; the kill comes in the midst of that.
            daemon.receive(until)?;
            return Ok(());
        }
    }
}

fn send(daemon: &mut Daemon<'_>, ledger: &mut Ledger, unanswered: &mut VecDeque<Request>, request: Request) {
    // When the connection is lost, the request waits for the next one.
    daemon.send(ledger.sent(&request));
    unanswered.push_back(request);
}

fn strike(
    daemon: &mut Daemon<'_>,
    victim: Victim,
    ledger: &mut Ledger,
    unanswered: &mut VecDeque<Request>,
    findings: &mut Findings,
) -> Result<(), Seen> {
    if victim != Victim::Daemon {
        daemon.kill_keeper();
    }
    if victim != Victim::Keeper {
        daemon.kill()?;
        return daemon.serve();
    }
    // The daemon lives and answers, keeper or not.
    while let Some(request) = unanswered.pop_front() {
        let answer = daemon.receive(Instant::now() + PATIENCE)?.ok_or_else(|| daemon.lost())?;
        ledger.answered(&request, &answer, findings)?;
    }
    daemon.find_keeper()
}

/// Everything that was in flight is sent again and answered, and all tasks end.
fn settle(
    daemon: &mut Daemon<'_>,
    ledger: &mut Ledger,
    unanswered: &mut VecDeque<Request>,
    findings: &mut Findings,
) -> Result<(), Seen> {
    for request in unanswered.drain(..) {
        let answer = daemon.answer(&ledger.sent(&request))?;
        ledger.answered(&request, &answer, findings)?;
    }
    daemon.wait()?;
    Ok(())
}

fn compare(
    stage: &Stage,
    daemon: &mut Daemon<'_>,
    ledger: &mut Ledger,
    calm: bool,
    findings: &mut Findings,
) -> Result<(), Seen> {
    let tasks = daemon.tasks()?;
    ledger.compare(&tasks, &daemon.written("runs"), calm, findings);
    let health = daemon.health()?;
    if health.database != "ok" {
        findings.note(WHOLE, health.database);
    }
    if let Some(difference) = health.tally_difference {
        findings.note(WHOLE, difference);
    }
    // An end is told when the main process has ended; what it left behind is killed then.
    let home = daemon.home().to_owned();
    let left = stage.until("", || processes_of(&home).is_empty().then_some(()));
    match left {
        Err(Seen::Broken(_)) => findings.note(CLEAN, format!("still there: pids {:?}", processes_of(&home))),
        other => other?,
    }
    if findings.0.is_empty() {
        daemon.ask(json!({"action": "clear"}))?;
        drop(std::fs::remove_file(daemon.work().join("runs")));
    }
    Ok(())
}

/// The processes that were started for tasks of a home, by the mark in their environment.
fn processes_of(home: &std::path::Path) -> Vec<u32> {
    let mark = format!("BATCH_EXECUTOR_HOME={}", home.display());
    let marked = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(marked).collect()
}
