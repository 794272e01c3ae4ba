//! Recovery: what was claimed under an earlier daemon or keeper, against what the keeper holds now.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::super::decide;
use super::super::error::QueueError;
use super::super::events::Stored;
use super::super::open_task::{OpenTask, open_tasks};
use super::super::operation::Operation;
use super::super::state::State;
use super::super::suspects;
use super::super::tx::Tx;
use super::apply::{AttemptRow, Writes};
use super::pause::is_suspended;
use crate::output;
use crate::task::{Cause, ClaimId, TaskId};

/// Voids the claims that nobody holds.
#[derive(Debug)]
pub struct Recover {
    /// What the keeper has: waiting, running, ended and not yet taken.
    pub held: BTreeSet<ClaimId>,
    /// What a dead keeper of this boot had given a process.
    pub had_process: BTreeSet<ClaimId>,
    /// Why what nobody holds was lost.
    pub cause: Cause,
    /// At this many interruptions a task fails.
    pub max_interruptions: u32,
    /// Where the output of lost attempts may be.
    pub output_dir: PathBuf,
}

/// What recovery found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Claims that the keeper has and the queue does not know: to be ended.
    pub foreign: Vec<ClaimId>,
    /// Held claims whose tasks are to be cancelled.
    pub to_cancel: Vec<ClaimId>,
    /// Held claims whose tasks are suspended.
    pub suspended: Vec<ClaimId>,
    /// Tasks whose attempt was lost.
    pub interrupted: usize,
    /// Tasks that were claimed and had not started.
    pub released: usize,
    /// Tasks of which nobody can say whether they ran when the machine went down.
    pub suspects: Vec<TaskId>,
}

impl Operation for Recover {
    type Answer = Recovered;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Recovered, QueueError> {
        let claims: Vec<ClaimId> =
            tx.db.all("SELECT claim FROM task WHERE claim IS NOT NULL ORDER BY claim", [], |row| row.get(0))?;
        let is_known = |claim: &ClaimId| claims.binary_search(claim).is_ok();
        let mut found = Recovered {
            foreign: self.held.iter().filter(|claim| !is_known(claim)).copied().collect(),
            ..Recovered::default()
        };
        let mut writes = Writes::default();
        for (claim, task) in open_tasks(tx, &claims)? {
            if self.held.contains(&claim) {
                if task.standing.cancel_requested {
                    found.to_cancel.push(claim);
                }
                if is_suspended(task.paused) {
                    found.suspended.push(claim);
                }
            } else {
                self.void(tx, task, claim, &mut found, &mut writes);
            }
        }
        writes.write(tx)?;
        suspects::note(tx, &found.suspects)?;
        Ok(found)
    }
}

impl Recover {
    fn void(&self, tx: &mut Tx<'_>, mut task: OpenTask, claim: ClaimId, found: &mut Recovered, writes: &mut Writes) {
        let ran = task.state == State::Running || self.had_process.contains(&claim);
        // After a reboot nobody can say whether a claim without a start had a process.
        let unknown = !ran && self.cause == Cause::Reboot;
        if ran || unknown {
            let number = task.attempts + u32::from(task.state != State::Running);
            let decision = decide::after_loss(&task.standing, self.cause, ran, self.max_interruptions);
            writes.attempts.push(AttemptRow {
                task_id: task.id,
                number,
                started_at: task.started_at_of_open(),
                finished_at: Some(tx.wall_ms),
                outcome: decision.outcome,
                cause: decision.cause,
                error: decision.error.clone(),
                exit_code: None,
                signal: None,
                cpu_us: None,
                max_rss: None,
                result: None,
                process: false,
                spilled: output::log_file(&self.output_dir, task.id, number).exists(),
                dropped: 0,
            });
            if unknown {
                found.suspects.push(task.id);
            }
            if ran && task.state != State::Running {
                tx.tell(Stored::Started(task.id, number));
            }
            task.attempts = number;
            task.settle(tx, decision);
            found.interrupted += 1;
        } else {
            task.release(tx);
            found.released += 1;
        }
        writes.tasks.push(task);
    }
}

/// Gives claimed tasks that have not started back to the queue, with what was written of starts ahead of them.
#[derive(Debug)]
pub struct Release {
    pub claims: Vec<ClaimId>,
}

impl Operation for Release {
    type Answer = ();

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        release(tx, &self.claims)
    }
}

/// As [`Release`], within another operation.
pub(in crate::queue) fn release(tx: &mut Tx<'_>, claims: &[ClaimId]) -> Result<(), QueueError> {
    if claims.is_empty() {
        return Ok(());
    }
    let mut writes = Writes::default();
    for (_, mut task) in open_tasks(tx, claims)? {
        if task.state == State::Running {
            task.unstart(tx);
        }
        task.release(tx);
        writes.tasks.push(task);
    }
    writes.write(tx)
}
