//! Tasks that somebody else killed: Android's limit on background processes, the kernel short of memory.
//!
//! One SIGKILL that nobody here sent is a failed attempt like another. Several within a short window are not the
//! tasks' fault: their attempts are interruptions that cost no retry, a few times for each task, and fewer tasks run
//! at once until it stays quiet.

use std::collections::BTreeSet;

use rusqlite::params;

use super::db::Db;
use super::error::QueueError;
use super::memory::{Run, priority_of};
use super::state::State;
use super::tx::{Tx, json};
use crate::attempt::Event;
use crate::task::{BatchId, Cause, ClaimId, Outcome, TaskId};

/// Kills within this time of each other are one burst.
const WINDOW_MS: i64 = 10_000;
/// So many kills are a burst.
const BURST: usize = 3;
/// How often a task's kill costs it no retry.
pub(super) const FORGIVEN: u32 = 3;
/// How long the cap stays before it is raised by a step.
const RAISE_MS: i64 = 60_000;
/// The most kills that are remembered.
const REMEMBERED: usize = 256;

/// An attempt that was killed from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kill {
    /// Wall clock, ms.
    at: i64,
    claim: ClaimId,
    task_id: TaskId,
    /// It was one of a burst, and treated so.
    in_burst: bool,
}

/// The kills of the last window, by time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kills(Vec<Kill>);

impl Kills {
    /// Adds kills; gives those that are now found to belong to a burst.
    fn add(&mut self, more: impl Iterator<Item = Kill>) -> Vec<Kill> {
        let before = self.0.len();
        self.0.extend(more);
        // Of those that came now: one before may have a later time, when the clock was set back since.
        let newest = self.0[before..].iter().map(|kill| kill.at).max();
        self.0.retain(|kill| newest.is_none_or(|newest| (newest - kill.at).abs() <= WINDOW_MS));
        self.0.sort_by_key(|kill| kill.at);
        self.0.drain(..self.0.len().saturating_sub(REMEMBERED));
        let mut found = Vec::new();
        if self.0.len() >= BURST {
            for kill in self.0.iter_mut().filter(|kill| !kill.in_burst) {
                kill.in_burst = true;
                found.push(*kill);
            }
        }
        found
    }
}

/// Looks for a burst in what has just ended: lowers the cap, makes good what was taken for failures before, and
/// gives the claims among `events` that are part of it. `open`: the claims whose end is still to be written.
pub(super) fn burst(
    tx: &mut Tx<'_>,
    events: &[Event],
    open: impl Fn(ClaimId) -> bool,
) -> Result<BTreeSet<ClaimId>, QueueError> {
    let kills = events.iter().filter_map(|event| match event {
        Event::Ended(ended) if ended.outside_kill.is_some() && open(ended.claim) => {
            Some(Kill { at: ended.finished_at, claim: ended.claim, task_id: ended.task_id, in_burst: false })
        }
        _ => None,
    });
    let kills: Vec<Kill> = kills.collect();
    if kills.is_empty() {
        return Ok(BTreeSet::new());
    }
    let now: BTreeSet<ClaimId> = kills.iter().map(|kill| kill.claim).collect();
    let found = tx.memory.kills.add(kills.into_iter());
    if found.is_empty() {
        return Ok(BTreeSet::new());
    }
    tx.memory.run.lower(tx.now);
    let (burst, earlier): (Vec<Kill>, Vec<Kill>) = found.into_iter().partition(|kill| now.contains(&kill.claim));
    let earlier: Vec<TaskId> = earlier.iter().map(|kill| kill.task_id).collect();
    make_good(tx, &earlier)?;
    Ok(burst.into_iter().map(|kill| kill.claim).collect())
}

impl Run {
    /// How many may run at once now.
    pub fn cap(&self) -> u32 {
        self.lowered_to.map_or(self.max_concurrent, |lowered| lowered.min(self.max_concurrent))
    }

    /// Half the cap, once for all that is killed together.
    fn lower(&mut self, now: i64) {
        let lowered_at = self.raise_at.map(|at| at - RAISE_MS);
        if lowered_at.is_none_or(|at| now - at > WINDOW_MS) {
            self.lowered_to = Some((self.cap() / 2).max(1));
        }
        self.raise_at = Some(now + RAISE_MS);
    }

    /// A step up, when it is due.
    pub(super) fn raise(&mut self, now: i64) {
        if self.raise_at.is_some_and(|at| at <= now) {
            let raised = self.cap() + (self.max_concurrent / 8).max(1);
            self.lowered_to = Some(raised).filter(|cap| *cap < self.max_concurrent);
            self.raise_at = self.lowered_to.map(|_| now + RAISE_MS);
        }
    }

    /// Whoever sets the cap means it.
    pub(super) fn set_cap(&mut self, max_concurrent: u32) {
        self.max_concurrent = max_concurrent;
        self.lowered_to = None;
        self.raise_at = None;
    }
}

/// What waits for its retry after a kill that belongs to a burst gets the retry back and need not wait.
fn make_good(tx: &mut Tx<'_>, tasks: &[TaskId]) -> Result<(), QueueError> {
    if tasks.is_empty() {
        return Ok(());
    }
    let rows: Vec<(TaskId, BatchId, i64, u32)> = tx.begun()?.all(
        "UPDATE task SET state = 0, ready_at = NULL, retry_count = retry_count - 1, forgiven = forgiven + 1, reason = ?2
         WHERE id IN (SELECT value FROM json_each(?1)) AND state = 1 AND paused IS NULL AND retry_count > 0
             AND forgiven < ?3
             AND EXISTS (SELECT 1 FROM attempt WHERE task_id = id AND number = attempts AND signal = 9)
         RETURNING id, batch_id, priority, attempts",
        params![json(&tasks)?, super::decide::interrupted_reason(Cause::Killed), FORGIVEN],
        |row| row.try_into(),
    )?;
    for (task_id, batch_id, priority, number) in rows {
        let priority = priority_of(priority)?;
        tx.moved(batch_id, priority, State::Waiting, State::Ready, 0);
        tx.memory.became_ready(priority, task_id);
        tx.begun()?.run(
            "UPDATE attempt SET outcome = ?3 WHERE task_id = ?1 AND number = ?2",
            params![task_id, number, Outcome::Interrupted.code()],
        )?;
    }
    Ok(())
}

/// How many attempts ended by each cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Causes([i64; Cause::ALL.len()]);

impl Causes {
    /// Those that came about, with how often.
    pub fn counted(&self) -> impl Iterator<Item = (Cause, i64)> + '_ {
        Cause::ALL.iter().copied().zip(self.0).filter(|(_, attempts)| *attempts > 0)
    }

    pub(super) fn load(db: &Db) -> Result<Self, QueueError> {
        let rows: Vec<(i64, i64)> = db.all("SELECT cause, attempts FROM cause_tally", [], |row| row.try_into())?;
        let mut causes = Self::default();
        for (code, attempts) in rows {
            let cause = Cause::from_code(code).ok_or_else(|| QueueError::Value(format!("cause {code}")))?;
            causes.0[cause as usize] = attempts;
        }
        Ok(causes)
    }
}

/// Counts the causes of attempts whose rows are being written.
pub(super) fn count(tx: &mut Tx<'_>, causes: impl Iterator<Item = Cause>) -> Result<(), QueueError> {
    let codes: Vec<i64> = causes
        .map(|cause| {
            tx.memory.causes.0[cause as usize] += 1;
            cause.code()
        })
        .collect();
    if codes.is_empty() {
        return Ok(());
    }
    tx.begun()?.run(
        "INSERT INTO cause_tally (cause, attempts)
         SELECT value, count(*) FROM json_each(?1) WHERE true GROUP BY value
         ON CONFLICT (cause) DO UPDATE SET attempts = cause_tally.attempts + excluded.attempts",
        [json(&codes)?],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kill(at: i64) -> Kill {
        Kill { at, claim: at, task_id: at, in_burst: false }
    }

    fn run() -> Run {
        Run {
            state: crate::task::RunState::Running,
            reason: None,
            max_concurrent: 8,
            keep: false,
            deadline: None,
            max_failures: None,
            failures: 0,
            next_claim: 1,
            lowered_to: None,
            raise_at: None,
            paused: None,
        }
    }

    #[test]
    fn three_within_the_window_are_a_burst_and_each_is_found_once() {
        let mut kills = Kills::default();
        assert!(kills.add([kill(0)].into_iter()).is_empty());
        assert!(kills.add([kill(9_000)].into_iter()).is_empty());
        assert!(kills.add([kill(10_001)].into_iter()).is_empty(), "the first is too long ago");
        let found = kills.add([kill(12_000)].into_iter());
        assert_eq!(found.iter().map(|kill| kill.at).collect::<Vec<_>>(), [9_000, 10_001, 12_000]);
        assert_eq!(kills.add([kill(13_000)].into_iter()).len(), 1);
    }

    #[test]
    fn a_burst_is_found_after_the_clock_was_set_back() {
        let mut kills = Kills::default();
        assert!(kills.add([kill(1_000_000), kill(1_000_001)].into_iter()).is_empty());
        assert!(kills.add([kill(0)].into_iter()).is_empty(), "those before it are far away");
        assert_eq!(kills.add([kill(1), kill(2)].into_iter()).len(), 3);
    }

    #[test]
    fn the_cap_is_halved_once_and_raised_in_steps() {
        let mut run = run();
        run.lower(0);
        run.lower(100);
        assert_eq!(run.cap(), 4, "one burst");
        run.lower(20_000);
        assert_eq!((run.cap(), run.raise_at), (2, Some(80_000)));
        run.raise(79_999);
        assert_eq!(run.cap(), 2);
        let mut now = 80_000;
        for cap in 3..=8 {
            run.raise(now);
            assert_eq!(run.cap(), cap);
            now += RAISE_MS;
        }
        assert_eq!((run.lowered_to, run.raise_at), (None, None));
    }

    #[test]
    fn one_always_runs() {
        let mut run = Run { max_concurrent: 1, ..run() };
        run.lower(0);
        assert_eq!(run.cap(), 1);
    }
}
