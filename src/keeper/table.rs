//! What the keeper knows of its attempts, all of it serializable: it survives a replacement of the keeper.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::capture::Capture;
use super::environment::Environment;
use super::events::Untaken;
use super::orphans::Orphans;
use super::protocol::{Launch, LaunchWork};
use super::suspension::Suspension;
use super::warm::Worker;
use crate::output::STDOUT;
use crate::sys;
use crate::task::{ClaimId, Order, Priority, TaskId};

/// The keeper's table.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Table {
    /// In the order in which they start.
    pub waiting: BTreeMap<(Reverse<Priority>, TaskId, ClaimId), Launch>,
    pub running: BTreeMap<ClaimId, Box<Running>>,
    pub untaken: Untaken,
    pub orphans: Orphans,
    pub followed: BTreeSet<ClaimId>,
    pub cap: usize,
    /// Of the functions that have a cap of their own.
    pub function_caps: BTreeMap<String, u32>,
    pub environments: BTreeMap<i64, Environment>,
    /// How many processes have a mark of their own: workers, and what was started ahead of its task.
    #[serde(default)]
    pub workers: i64,
}

impl Table {
    /// What the process that is started next, before it has a task, is known by: below any claim, and never given again.
    pub(super) fn next_mark(&mut self) -> ClaimId {
        self.workers += 1;
        -self.workers
    }
}

/// What happens to an attempt at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A simulated task is done.
    Simulated,
    /// The attempt's time limit.
    Limit,
    /// The grace after SIGTERM is over.
    Kill,
}

/// The stream, none of a task's output, on which a process that was started ahead says that it begins with its task.
pub(super) const BEGINS: u8 = 0;

/// What is to be known of a process that was started ahead of its task.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StartedAhead {
    /// What it and its descendants carry in the place of a claim.
    pub mark: ClaimId,
    /// It has said so. One that dies before has done nothing of the task.
    pub has_begun: bool,
}

/// An attempt that has a slot.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Running {
    pub launch: Launch,
    /// None for a simulated one.
    pub pid: Option<i32>,
    /// Reading ends that are open, with their streams.
    pub pipes: Vec<(u8, Pipe)>,
    pub capture: Capture,
    /// What the process that reads its secrets has said so far; none when its own process runs.
    #[serde(default)]
    pub reading: Option<ByteBuf>,
    /// Its process, if that is a worker.
    #[serde(default)]
    pub worker: Option<Worker>,
    /// Set if its process was started ahead.
    #[serde(default)]
    pub ahead: Option<StartedAhead>,
    /// It starts cold: one that was prepared has died of it.
    #[serde(default)]
    pub cold: bool,
    /// What ended it, if an order did.
    pub order: Option<Order>,
    /// When its group gets SIGKILL, monotonic ms.
    pub kill_at: Option<i64>,
    /// The control group that is its own, if it has one.
    #[serde(default)]
    pub group: Option<PathBuf>,
    #[serde(default)]
    pub suspension: Suspension,
    /// Wall clock, ms.
    pub started_at: i64,
    /// Monotonic, ms.
    pub started_mono: i64,
}

impl Running {
    /// Takes what was read from a pipe. `room`: as for [`Capture::take`].
    pub(super) fn take(&mut self, stream: u8, bytes: &[u8], room: bool) {
        if stream == BEGINS {
            return self.ahead.iter_mut().for_each(|ahead| ahead.has_begun = true);
        }
        match (&mut self.reading, &mut self.worker) {
            (Some(said), _) if stream == STDOUT => said.extend_from_slice(bytes),
            (Some(_), _) => {}
            (None, Some(worker)) if stream == STDOUT => worker.hear(bytes),
            (None, _) => self.capture.take(stream, bytes, room),
        }
    }

    /// This process's ends of all that its process and this one share.
    pub(super) fn shared(&self) -> impl Iterator<Item = &Pipe> {
        let stdin = self.worker.as_ref().and_then(Worker::stdin);
        self.pipes.iter().map(|(_, pipe)| pipe).chain(stdin)
    }

    /// Their numbers.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.shared().map(AsRawFd::as_raw_fd)
    }

    /// When what happens to it, monotonic ms.
    pub(super) fn timers(&self) -> impl Iterator<Item = (i64, ClaimId, Timer)> + use<> {
        let duration_ms = match &self.launch.work {
            LaunchWork::Simulate { duration_ms, .. } => Some(*duration_ms),
            LaunchWork::Process(_) | LaunchWork::Unrunnable { .. } => None,
        };
        // Of its own time none passes while it is suspended.
        let begun = (!self.suspension.lasts()).then(|| self.started_mono + self.suspension.total(0));
        let after = |ms: Option<i64>| Some(begun?.saturating_add(ms?));
        let claim = self.launch.claim;
        [
            (after(duration_ms), Timer::Simulated),
            (after(self.launch.timeout_ms), Timer::Limit),
            (self.kill_at, Timer::Kill),
        ]
        .into_iter()
        .filter_map(move |(at, timer)| Some((at?, claim, timer)))
    }

    /// Notes an order: cancel beats every other, else the first one wins.
    pub(super) fn ordered(&mut self, order: Order) {
        if self.order.is_none() || order == Order::Cancel {
            self.order = Some(order);
        }
    }

    /// Whether it is sure that its process, which is dead, has not begun with it.
    pub(super) fn has_not_begun(&self) -> bool {
        self.worker.as_ref().is_some_and(Worker::has_not_begun)
            || self.ahead.as_ref().is_some_and(|ahead| !ahead.has_begun)
    }

    /// Notes that it is to be killed at `at`, unless it is to be before.
    pub(super) fn kill_at(&mut self, at: i64) {
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// The reading end of a pipe; serialized as its number, which the next program finds open.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Inherited")]
pub(super) struct Pipe(pub OwnedFd);

/// The number of a descriptor that this process opened before it was replaced, and that nobody owns yet.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Inherited(pub RawFd);

impl Serialize for Pipe {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_raw_fd().serialize(serializer)
    }
}

impl TryFrom<Inherited> for Pipe {
    type Error = io::Error;

    fn try_from(fd: Inherited) -> io::Result<Self> {
        fd.try_into().map(Self)
    }
}

impl TryFrom<Inherited> for OwnedFd {
    type Error = io::Error;

    fn try_from(Inherited(fd): Inherited) -> io::Result<Self> {
        sys::adopt(fd)
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Pipe {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
