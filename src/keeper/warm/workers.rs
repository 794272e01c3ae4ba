//! The workers without a task, and what all of them are known by.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::signal::Signal;

use super::worker::Worker;
use crate::keeper::pipes::{self, Read};
use crate::keeper::process::signal_group;
use crate::keeper::protocol::LaunchProcess;
use crate::keeper::table::Pipe;
use crate::output::STDOUT;
use crate::task::ClaimId;
use crate::time;

/// Those without a task that stay when another is started.
const MOST_IDLE: usize = 16;
/// One that had no task for so long ends, ms.
const IDLE_MS: i64 = 60_000;
/// How long one whose stdin was closed may take to end, ms.
const GRACE_MS: i64 = 2_000;
/// What is kept of what one without a task writes, in bytes.
const SAID: usize = 2 * 1024;

/// A worker with its process.
#[derive(Debug)]
pub(in crate::keeper) struct Free {
    pub pid: i32,
    pub pipes: Vec<(u8, Pipe)>,
    pub worker: Worker,
}

/// One without a task; the longest without one come first.
#[derive(Debug)]
struct Idle {
    free: Free,
    /// When its stdin is closed, or when that is so, when it is killed; monotonic ms.
    ends_at: i64,
    said: Vec<u8>,
}

/// The workers.
#[derive(Debug, Default)]
pub(in crate::keeper) struct Workers {
    idle: Vec<Idle>,
    /// The marks of those that live, with a task or without, by pid.
    marks: BTreeMap<i32, ClaimId>,
    /// Descriptors that are polled no more and are to be closed.
    pub closed: Vec<Pipe>,
}

impl Idle {
    /// Tells it to end; false where it was told before.
    fn end(&mut self, closed: &mut Vec<Pipe>) -> bool {
        let Some(stdin) = self.free.worker.take_stdin() else { return false };
        closed.push(stdin);
        self.ends_at = time::monotonic_ms() + GRACE_MS;
        true
    }

    fn kill(&mut self) {
        self.ends_at = i64::MAX;
        signal_group(self.free.pid, Signal::SIGKILL);
    }

    /// Reads what it wrote; false when it is of no use any more.
    fn read(&mut self, closed: &mut Vec<Pipe>) -> bool {
        let mut is_sound = true;
        let mut buffer = [0; 4096];
        let mut place = 0;
        while let Some((stream, pipe)) = self.free.pipes.get(place) {
            match pipes::read(pipe, &mut buffer) {
                Read::Some(length) => {
                    is_sound &= *stream != STDOUT;
                    self.said.extend_from_slice(&buffer[..length]);
                    self.said.drain(..self.said.len().saturating_sub(SAID));
                    // One turn takes no more, so that none starves the others.
                    place += 1;
                }
                Read::Later => place += 1,
                Read::End => {
                    is_sound &= *stream != STDOUT;
                    closed.push(self.free.pipes.remove(place).1);
                }
            }
        }
        is_sound
    }
}

impl Workers {
    /// One was started.
    pub(in crate::keeper) fn came(&mut self, pid: i32, mark: ClaimId) {
        self.marks.insert(pid, mark);
        let over = self.idle.len().saturating_sub(MOST_IDLE);
        for idle in &mut self.idle[..over] {
            idle.end(&mut self.closed);
        }
    }

    /// Takes one for a process that is to be started; what it wrote without a task is nobody's.
    pub(in crate::keeper) fn take(&mut self, launch: &LaunchProcess) -> Option<Free> {
        loop {
            let place = self.idle.iter().rposition(|idle| idle.free.worker.fits(launch))?;
            if self.idle[place].read(&mut self.closed) {
                return Some(self.idle.remove(place).free);
            }
            self.spoil(place);
        }
    }

    /// One has done its task.
    pub(in crate::keeper) fn rest(&mut self, free: Free) {
        let is_last = free.worker.last;
        let mut idle = Idle { free, ends_at: time::monotonic_ms() + IDLE_MS, said: Vec::new() };
        if is_last {
            idle.end(&mut self.closed);
        }
        self.idle.push(idle);
    }

    /// One that spoke without a task, or can speak no more, gets none.
    fn spoil(&mut self, place: usize) {
        let idle = &mut self.idle[place];
        if idle.end(&mut self.closed) {
            tracing::warn!(pid = idle.free.pid, "a worker wrote to its standard output without a task, or closed it");
            idle.kill();
        }
    }

    /// Reads what one without a task has written; false where the descriptor is no such one's.
    pub(super) fn read(&mut self, fd: RawFd) -> bool {
        let is_its = |idle: &Idle| idle.free.pipes.iter().any(|(_, pipe)| pipe.as_raw_fd() == fd);
        let Some(place) = self.idle.iter().position(is_its) else { return false };
        if !self.idle[place].read(&mut self.closed) {
            self.spoil(place);
        }
        true
    }

    /// A child has died and is not reaped yet: was it one of these?
    pub(in crate::keeper) fn died(&mut self, pid: i32) {
        if self.marks.remove(&pid).is_none() {
            return;
        }
        // Before the pid is free: nothing of the group may stay. One with a task is its attempt's.
        if let Some(place) = self.idle.iter().position(|idle| idle.free.pid == pid) {
            signal_group(pid, Signal::SIGKILL);
            let mut idle = self.idle.remove(place);
            idle.read(&mut self.closed);
            if let Some(stdin) = idle.free.worker.take_stdin() {
                let said = String::from_utf8_lossy(&idle.said);
                tracing::warn!(pid, said = said.trim_end(), "a worker has died without a task");
                self.closed.push(stdin);
            }
            self.closed.extend(idle.free.pipes.into_iter().map(|(_, pipe)| pipe));
        }
    }

    /// The marks of those that live, by pid.
    pub(in crate::keeper) fn marks(&self) -> impl Iterator<Item = (i32, ClaimId)> {
        self.marks.iter().map(|(pid, mark)| (*pid, *mark))
    }

    pub(in crate::keeper) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Ends those without a task, or only those with this environment.
    pub(in crate::keeper) fn end(&mut self, environment: Option<i64>) {
        for idle in &mut self.idle {
            if environment.is_none_or(|environment| idle.free.worker.environment() == environment) {
                idle.end(&mut self.closed);
            }
        }
    }

    /// The output with this number, if it is of one without a task.
    pub(super) fn descriptor(&self, fd: RawFd) -> Option<BorrowedFd<'_>> {
        let pipes = self.idle.iter().flat_map(|idle| &idle.free.pipes);
        pipes.map(|(_, pipe)| pipe).find(|pipe| pipe.as_raw_fd() == fd).map(AsFd::as_fd)
    }

    /// When [`Self::tick`] has something to do, monotonic ms.
    pub(super) fn next_tick(&self) -> Option<i64> {
        self.idle.iter().map(|idle| idle.ends_at).min().filter(|at| *at < i64::MAX)
    }

    /// Ends those that had no task for long, and those that do not end.
    pub(super) fn tick(&mut self, now: i64) {
        for idle in self.idle.iter_mut().filter(|idle| idle.ends_at <= now) {
            if !idle.end(&mut self.closed) {
                idle.kill();
            }
        }
    }
}
