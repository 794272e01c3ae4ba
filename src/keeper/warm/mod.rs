//! Warm tasks: processes of an interpreter that are there before a task wants one.
//!
//! A process waits on a socket of its own until it is given one task, and becomes its process; the keeper is its
//! parent and knows its pid before. So an attempt is started warm as it is started cold, in one step: it takes one
//! that is there. Python forks: a fork-server (`server.py`) is a child of the keeper, imports what the configuration lists
//! and forks on request. Node.js cannot, so a few are started ahead (`boot.js`). While there is none, or none can be had,
//! tasks start cold.

mod ahead;
mod kind;
mod server;
mod spare;
mod worker;
mod workers;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use super::environment::Environment;
use super::protocol::LaunchProcess;
use crate::home::Home;
use crate::task::{ClaimId, Prepared};
use crate::time;
use ahead::Ahead;
use kind::Kind;
use server::Server;
pub(super) use spare::Spare;
pub(super) use worker::Worker;
pub(super) use workers::{Free, Workers};

/// Kinds at once; each keeps interpreters in memory.
const MOST_KINDS: usize = 4;
/// One that was used since does not make way for another, ms.
const SETTLED_MS: i64 = 10_000;
/// One that nobody has used for so long ends, ms.
const IDLE_MS: i64 = 60_000;
/// How long an interpreter may take until it is prepared, ms.
const START_MS: i64 = 60_000;
/// A kind that was of no use is not prepared again for so long, ms.
const REST_MS: i64 = 60_000;
/// What is kept of what an interpreter writes without a task, in bytes.
const SAID: usize = 2 * 1024;

/// Where the processes of one kind come from. Dropped, it ends, and with it those that have no task.
trait Source: Debug {
    fn kind(&self) -> &Kind;

    /// A process of its kind is to start; as [`Warm::may_start`].
    fn may_start(&mut self) -> bool;

    /// One that is there.
    fn take(&mut self) -> Option<Spare>;

    /// Starts what it lacks; gives the pid and the mark of each, and the descriptor to be polled.
    ///
    /// # Errors
    /// When one cannot be started.
    fn fill(&mut self, _next_mark: &mut dyn FnMut() -> ClaimId) -> io::Result<Vec<(i32, ClaimId, RawFd)>> {
        Ok(Vec::new())
    }

    /// Reads what it has said; false when it can give no more.
    fn read(&mut self) -> bool;

    /// A child has died; false when it can give no more.
    fn died(&mut self, pid: i32) -> bool;

    /// The last of what it wrote.
    fn said(&mut self) -> String;

    /// Whether it has been of use, so that another may be.
    fn is_useful(&self) -> bool;

    /// Monotonic ms.
    fn used_at(&self) -> i64;

    /// Whether a child is of it and without a task.
    fn knows(&self, pid: i32) -> bool;

    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// Nothing is expected of it.
    fn is_idle(&self) -> bool;

    /// When it is to end, if nothing happens before; monotonic ms.
    fn ends_at(&self) -> i64;
}

/// What is kept warm.
#[derive(Default)]
pub(super) struct Warm {
    sources: Vec<Box<dyn Source>>,
    /// Kinds that cannot be had for now, and until when (monotonic ms).
    resting: Vec<(Kind, i64)>,
    /// Descriptors that appeared and are to be polled.
    pub opened: Vec<RawFd>,
    pub workers: Workers,
    /// The marks of the processes that were started ahead and live, with a task or without, by pid.
    ahead: BTreeMap<i32, ClaimId>,
}

impl Warm {
    /// Whether a process may start now: in one that is there, or cold. False for the moment until a fork comes.
    pub(super) fn may_start(&mut self, launch: &LaunchProcess, beneath: Option<&Environment>, home: &Home) -> bool {
        let Some(prepared) = kind::prepared(launch) else { return true };
        if let Some(source) = self.sources.iter_mut().find(|source| source.kind().fits(launch)) {
            return source.may_start();
        }
        self.start(launch, prepared, beneath, home);
        true
    }

    fn start(&mut self, launch: &LaunchProcess, prepared: &Prepared, beneath: Option<&Environment>, home: &Home) {
        let now = time::monotonic_ms();
        self.resting.retain(|(_, until)| *until > now);
        if self.resting.iter().any(|(kind, _)| kind.fits(launch)) {
            return;
        }
        if self.sources.len() >= MOST_KINDS {
            let oldest = self.sources.iter().enumerate().min_by_key(|(_, source)| source.used_at());
            match oldest {
                Some((place, source)) if source.used_at() + SETTLED_MS < now => drop(self.sources.swap_remove(place)),
                _ => return,
            }
        }
        let kind = Kind::of(launch, prepared, beneath);
        let resting = (kind.clone(), now + REST_MS);
        let started: io::Result<Box<dyn Source>> = match prepared {
            Prepared::Ahead => Ahead::start(launch, kind, beneath, home).map(|ahead| Box::new(ahead) as _),
            Prepared::Forks { .. } | Prepared::Worker => {
                Server::start(launch, kind, beneath, home).map(|server| Box::new(server) as _)
            }
        };
        match started {
            Ok(source) => {
                self.opened.extend(source.descriptors().iter().map(AsRawFd::as_raw_fd));
                self.sources.push(source);
            }
            Err(error) => {
                let runtime = resting.0.runtime();
                tracing::warn!(err = %error, program = launch.program, runtime, "tasks start cold");
                self.resting.push(resting);
            }
        }
    }

    /// Starts what is lacking of the processes that are started ahead.
    pub(super) fn fill(&mut self, mut next_mark: impl FnMut() -> ClaimId) {
        let mut place = 0;
        while let Some(source) = self.sources.get_mut(place) {
            match source.fill(&mut next_mark) {
                Ok(new) => {
                    place += 1;
                    self.ahead.extend(new.iter().map(|(pid, mark, _)| (*pid, *mark)));
                    self.opened.extend(new.iter().map(|(_, _, fd)| *fd));
                }
                Err(error) => {
                    tracing::warn!(err = %error, "no process can be started ahead of its task");
                    self.lost(place);
                }
            }
        }
    }

    /// A process for a task, if there is one.
    pub(super) fn take(&mut self, launch: &LaunchProcess) -> Option<Spare> {
        kind::prepared(launch)?;
        self.sources.iter_mut().find(|source| source.kind().fits(launch))?.take()
    }

    /// A process that was started ahead, by an earlier program in this process, has a task.
    pub(super) fn came(&mut self, pid: i32, mark: ClaimId) {
        self.ahead.insert(pid, mark);
    }

    /// The marks of the processes that live and have one of their own, by pid.
    pub(super) fn marks(&self) -> impl Iterator<Item = (i32, ClaimId)> {
        self.workers.marks().chain(self.ahead.iter().map(|(pid, mark)| (*pid, *mark)))
    }

    /// Reads what a worker without a task has written, or what the sources have said.
    pub(super) fn readable(&mut self, fd: RawFd) {
        if !self.workers.read(fd) {
            self.read();
        }
    }

    /// Reads what the sources have said.
    pub(super) fn read(&mut self) {
        let mut place = 0;
        while let Some(source) = self.sources.get_mut(place) {
            if source.read() {
                place += 1;
            } else {
                self.lost(place);
            }
        }
    }

    /// A child has died and is not reaped yet.
    pub(super) fn died(&mut self, pid: i32) {
        self.workers.died(pid);
        self.ahead.remove(&pid);
        if let Some(place) = self.sources.iter_mut().position(|source| !source.died(pid)) {
            self.lost(place);
        }
    }

    fn lost(&mut self, place: usize) {
        let mut source = self.sources.swap_remove(place);
        let (said, kind) = (source.said(), source.kind());
        tracing::warn!(said, runtime = kind.runtime(), prepared = ?kind.prepared, "what was kept warm has ended");
        if !source.is_useful() {
            self.resting.push((kind.clone(), time::monotonic_ms() + REST_MS));
        }
    }

    /// Whether a child is a fork-server, or a process without a task.
    pub(super) fn knows(&self, pid: i32) -> bool {
        self.sources.iter().any(|source| source.knows(pid))
    }

    /// The descriptor with this number, if it is a source's or of a worker without a task.
    pub(super) fn descriptor(&self, fd: RawFd) -> Option<BorrowedFd<'_>> {
        let sources = self.sources.iter().flat_map(|source| source.descriptors());
        sources.into_iter().find(|own| own.as_raw_fd() == fd).or_else(|| self.workers.descriptor(fd))
    }

    /// An environment has changed: what was prepared in the old one is of no use.
    pub(super) fn forget(&mut self, environment: i64) {
        self.sources.retain(|source| source.kind().environment != environment);
        self.workers.end(Some(environment));
    }

    /// When [`Self::tick`] has something to do, monotonic ms.
    pub(super) fn next_tick(&self) -> Option<i64> {
        self.sources.iter().map(|source| source.ends_at()).chain(self.workers.next_tick()).min()
    }

    /// Ends what nobody uses, and what is stuck.
    pub(super) fn tick(&mut self) {
        let now = time::monotonic_ms();
        self.workers.tick(now);
        while let Some(place) = self.sources.iter().position(|source| source.ends_at() <= now) {
            if self.sources[place].is_idle() {
                drop(self.sources.swap_remove(place));
            } else {
                self.lost(place);
            }
        }
    }
}
