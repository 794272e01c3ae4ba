//! The one writer: owns the only connection that writes.
//!
//! It takes whatever operations wait and puts them into one transaction (group commit, no timer),
//! claims what may run next in the same transaction, and answers each operation after the commit.
//! Where one operation fails, the group is rolled back and carried out one by one, so that only that
//! one fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};

use super::clock::QueueClock;
use super::db::Db;
use super::error::QueueError;
use super::events;
use super::finished::Finished;
use super::memory::{Memory, Remembered, Run};
use super::operation::Job;
use super::outside::Causes;
use super::settle;
use super::state::Tally;
use super::tx::Tx;
use crate::attempt::Attempt;
use crate::failpoint;
use crate::home::Place;
use crate::space::{Floor, Shortage};

/// The most operations in one transaction.
const GROUP: usize = 256;
/// The clock's row is stored at most so often, and at the end. It pairs queue time with the wall clock: an old pair says the same as
/// a new one, unless the wall clock was set in between.
const CLOCK_EVERY_MS: i64 = 1000;
/// After so many commits it looks how long the log has become.
const LOOK_EVERY: u32 = 16;
/// Frames of the log that are worth moving into the file.
const CHECKPOINT_FRAMES: i64 = 1000;
/// How many operations may wait for the writer; more wait at the door.
pub(super) const WAITING: usize = 1024;

/// What a commit leaves for others to see.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// How many operations were carried out by this daemon.
    pub operations: u64,
    pub run: Run,
    pub tally: Tally,
    /// The earliest due time of a waiting task, or earlier; queue time.
    pub next_due: Option<i64>,
    /// Tasks claimed and not started.
    pub ahead: usize,
    /// How many attempts ended by each cause.
    pub causes: Causes,
    /// The disk is at its floor: nothing is claimed.
    pub shortage: Option<Shortage>,
    /// Tasks that have left the queue since this daemon began.
    pub removed: u64,
    pub finished: Finished,
    /// The number of the next event.
    pub next_event: i64,
    /// Attempts that ended in each of the last seconds that saw any.
    pub recent: Recent,
}

/// A minute of ends: (second of boot time, ends), a cell for each second of a minute.
#[derive(Debug, Clone)]
pub struct Recent([(i64, u32); 60]);

impl Snapshot {
    /// What others see of the writer's memory.
    pub(super) fn of(memory: &Memory, shortage: Option<Shortage>, recent: Recent) -> Self {
        Self {
            operations: memory.operations,
            run: memory.run.clone(),
            tally: memory.tally,
            next_due: memory.next_due,
            ahead: memory.ahead.len(),
            causes: memory.causes,
            shortage,
            removed: memory.removed,
            finished: memory.finished,
            next_event: memory.events.next,
            recent,
        }
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self([(i64::MIN, 0); 60])
    }
}

impl Recent {
    fn count(&mut self, ends: u32) {
        let second = crate::time::boottime_ms() / 1000;
        let cell = &mut self.0[usize::try_from(second.rem_euclid(60)).unwrap_or(0)];
        if cell.0 != second {
            *cell = (second, 0);
        }
        cell.1 += ends;
    }

    /// Seconds since the last end; none since the daemon began.
    pub fn since_last(&self) -> Option<i64> {
        let last = self.0.iter().filter(|(_, ends)| *ends > 0).map(|(second, _)| *second).max()?;
        Some(crate::time::boottime_ms() / 1000 - last)
    }

    /// Ends per second over the last minute, or since the first end if that is less; and over how many seconds.
    pub fn rate(&self) -> (f64, u32) {
        let now = crate::time::boottime_ms() / 1000;
        let live = || self.0.iter().filter(|(second, _)| *second > now - 60);
        let ends: u32 = live().map(|(_, ends)| ends).sum();
        let first = live().map(|(second, _)| *second).min().unwrap_or(now);
        let seconds = u32::try_from((now - first + 1).clamp(1, 60)).unwrap_or(60);
        (f64::from(ends) / f64::from(seconds), seconds)
    }
}

pub(super) struct Writer {
    pub db: Db,
    /// Where the file was when it was opened.
    pub place: Place,
    pub memory: Memory,
    pub remembered: Remembered,
    pub clock: Arc<QueueClock>,
    /// When the clock was stored last, in queue time.
    pub clock_stored: i64,
    pub jobs: mpsc::Receiver<Box<dyn Job>>,
    pub snapshot: watch::Sender<Arc<Snapshot>>,
    /// Claimed tasks, to the executor. Unbounded, for the claim window bounds what is on its way.
    pub claimed: mpsc::UnboundedSender<Vec<Attempt>>,
    /// How many want that nothing is claimed now; written by the executor.
    pub gate: Arc<AtomicUsize>,
    /// What must stay free on the disk.
    pub floor: Floor,
    /// Told when the queue is closed.
    pub closing: Arc<Notify>,
    /// Set when the file must not be written any more.
    pub damage: watch::Sender<Option<QueueError>>,
    /// The latest claim took as many as one may, and there are more.
    pub claims_on: bool,
    /// Commits since the length of the log was looked at.
    pub since_look: u32,
    pub output_dir: std::path::PathBuf,
}

impl Writer {
    /// Runs until the queue is closed, every handle is gone, or the file is damaged. In a thread of its own: it waits for the disk.
    pub(super) fn run(mut self, runtime: &Handle) {
        let mut group: Vec<Box<dyn Job>> = Vec::with_capacity(GROUP);
        while runtime.block_on(self.next_group(&mut group)) {
            match self.commit(&mut group) {
                Ok(()) => group.drain(..).for_each(|job| job.finish(Ok(()))),
                Err(error) if error.is_final() || group.len() == 1 => self.refuse(&mut group, &error),
                Err(_) => {
                    for job in std::mem::take(&mut group) {
                        let mut alone = vec![job];
                        match self.commit(&mut alone) {
                            Ok(()) => alone.drain(..).for_each(|job| job.finish(Ok(()))),
                            Err(error) => self.refuse(&mut alone, &error),
                        }
                    }
                }
            }
            self.look_at_log();
        }
        // Damaged, the file and its log stay as they are.
        if self.damage.borrow().is_some() {
            return;
        }
        if let Err(error) = self.clock.store(&self.db, true) {
            tracing::warn!(err = %error, "the queue's clock stays as it was stored last");
            self.met(&error);
            if error.is_final() {
                return;
            }
        }
        if let Err(error) = self.db.close() {
            tracing::warn!(err = %error, "closing the queue failed");
        }
    }

    /// The operations that wait; none where it is only to claim on. False when the queue is closed or damaged.
    async fn next_group(&mut self, group: &mut Vec<Box<dyn Job>>) -> bool {
        let mut damage = self.damage.subscribe();
        tokio::select! {
            biased;
            _ = damage.wait_for(Option::is_some) => return false,
            // Once closed it gives what is waiting, then nothing.
            () = self.closing.notified() => self.jobs.close(),
            jobs = self.jobs.recv_many(group, GROUP) => return jobs > 0,
            () = std::future::ready(()), if self.claims_on => return true,
        }
        self.jobs.recv_many(group, GROUP).await > 0
    }

    fn refuse(&self, group: &mut Vec<Box<dyn Job>>, error: &QueueError) {
        self.met(error);
        group.drain(..).for_each(|job| job.finish(Err(error.clone())));
    }

    /// After damage nothing is written any more.
    fn met(&self, error: &QueueError) {
        if error.is_final() {
            self.damage.send_replace(Some(error.clone()));
        }
    }

    /// Moves the log into the file when it has grown long. What is busy or full is tried again after further commits.
    fn look_at_log(&mut self) {
        self.since_look += 1;
        if self.since_look < LOOK_EVERY || self.damage.borrow().is_some() {
            return;
        }
        self.since_look = 0;
        let moved = self.checkpoint();
        self.heard(moved);
    }

    /// How moving the log came out.
    fn heard(&self, moved: Result<(), QueueError>) {
        if let Err(error) = moved {
            tracing::warn!(err = %error, "the log could not be moved into the file");
            self.met(&error);
        }
    }

    fn checkpoint(&self) -> Result<(), QueueError> {
        // Moves nothing; tells the frames of the log, and how many of them have been moved.
        let (_, frames, moved): (i64, i64, i64) =
            self.db.one("PRAGMA wal_checkpoint(NOOP)", [], |row| row.try_into())?;
        if frames - moved >= CHECKPOINT_FRAMES {
            self.move_log()?;
        }
        Ok(())
    }

    /// Passive: nobody is waited for. What it leaves is moved after a later commit.
    fn move_log(&self) -> Result<(), QueueError> {
        self.db.one("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// One transaction with all of `group`; on an error nothing of it has happened.
    fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), QueueError> {
        self.claims_on = false;
        let shortage = self.floor.shortage();
        let mut tx = Tx::new(&self.db, self.memory.clone(), &mut self.remembered, &self.clock, shortage);
        let open = self.gate.load(Ordering::Acquire) == 0 && shortage.is_none();
        let committed = Self::work(&mut tx, group, open, self.clock_stored);
        let (memory, claimed, claims_on, ends, unlink, shrunk, now) =
            (tx.memory, tx.claimed, tx.claims_on, tx.ends, tx.unlink, tx.shrunk, tx.now);
        if let Err(error) = committed {
            self.remembered = Remembered::default();
            // SQLite may have rolled back by itself (FULL, IOERR); a second rollback's error says nothing new.
            drop(self.db.run("ROLLBACK", []));
            if shortage.is_some() {
                self.publish(Vec::new(), 0, shortage);
            }
            return Err(error);
        }
        if !self.place.is_kept() {
            return Err(QueueError::Gone(self.place.path().to_owned()));
        }
        failpoint::reach("after-commit");
        self.memory = memory;
        // Not where none could be claimed: it would be tried for ever.
        self.claims_on = claims_on && !claimed.is_empty();
        if now - self.clock_stored >= CLOCK_EVERY_MS {
            self.clock_stored = now;
        }
        self.publish(claimed, ends, shortage);
        self.unlink(&unlink);
        if shrunk {
            let moved = self.move_log();
            self.heard(moved);
        }
        Ok(())
    }

    /// Carries out and commits. `stored` is when the clock was stored, in queue time.
    fn work(tx: &mut Tx<'_>, group: &mut [Box<dyn Job>], open: bool, stored: i64) -> Result<(), QueueError> {
        for job in group {
            if job.touches_claimed() {
                tx.remembered.claimed.clear();
            }
            tx.memory.operations += 1;
            job.apply(tx)?;
        }
        settle::settle(tx, open)?;
        events::conclude(tx)?;
        if tx.now - stored >= CLOCK_EVERY_MS {
            let clock = tx.clock;
            clock.store(tx.begun()?, false)?;
        }
        failpoint::reach("before-commit");
        tx.commit()
    }

    fn publish(&self, claimed: Vec<Attempt>, ends: u32, shortage: Option<Shortage>) {
        if !claimed.is_empty() {
            // Without an executor the claims stay in the queue, and recovery gives them back.
            drop(self.claimed.send(claimed));
        }
        self.snapshot.send_modify(|old| {
            let mut recent = old.recent.clone();
            if ends > 0 {
                recent.count(ends);
            }
            *old = Arc::new(Snapshot::of(&self.memory, shortage, recent));
        });
    }

    /// Unlinks output files whose tasks are gone. What fails stays in `stale_file` for the next start.
    fn unlink(&mut self, files: &[String]) {
        for file in files {
            if self.damage.borrow().is_some() {
                return;
            }
            let path = self.output_dir.join(file);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), err = %error, "an output file could not be removed");
                }
                _ => {
                    let forgotten = self.db.run("DELETE FROM stale_file WHERE path = ?1", [file]);
                    if let Err(error) = forgotten {
                        tracing::warn!(err = %error, "a removed output file stays noted");
                        self.met(&error);
                    }
                }
            }
        }
    }
}
