//! The keeper's core: waiting attempts, slots, timers, ends. Knows processes, but no socket.
//!
//! Whoever drives it polls the descriptors that [`Core::watched`] hands out, calls [`Core::readable`], [`Core::child_died`] and
//! [`Core::tick`], and takes the events.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::capture::Capture;
use super::orphans::Orphans;
use super::process;
use super::protocol::{EndAnswer, How, KeeperEnd, KeeperEvent, Launch, LaunchWork};
use super::slots::SlotTable;
use crate::output;
use crate::sys;
use crate::task::{ClaimId, Order, Priority, TaskId};
use crate::time;

/// With more ends than this that the daemon has not taken, nothing starts.
const MOST_UNTAKEN: usize = 256;
/// What all attempts together may keep of their output in memory.
const OUTPUT_BUDGET: usize = 1024 * 1024;
/// What one turn reads from one pipe at most, so that none starves the others.
const READ_AT_ONCE: usize = 4 * 64 * 1024;

pub(super) struct Core {
    output_dir: PathBuf,
    log_cap: u64,
    waiting: BTreeMap<(Reverse<Priority>, TaskId, ClaimId), Launch>,
    running: BTreeMap<ClaimId, Running>,
    mains: BTreeMap<i32, ClaimId>,
    by_pipe: BTreeMap<RawFd, ClaimId>,
    timers: BTreeSet<(i64, ClaimId, Timer)>,
    slots: SlotTable,
    orphans: Orphans,
    pub cap: usize,
    pub function_caps: BTreeMap<String, u32>,
    pub held: bool,
    pub environments: BTreeMap<i64, BTreeMap<String, String>>,
    /// Not taken yet, in order.
    pub untaken: VecDeque<(u64, KeeperEvent)>,
    next_seq: u64,
    untaken_ends: usize,
    pub grew: BTreeSet<ClaimId>,
    followed: BTreeSet<ClaimId>,
    /// Descriptors that appeared and are to be polled.
    pub opened: Vec<RawFd>,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A simulated task is done.
    Simulated,
    /// The attempt's time limit.
    Limit,
    /// The grace after SIGTERM is over.
    Kill,
}

struct Running {
    launch: Launch,
    pid: Option<i32>,
    pipes: Vec<(u8, OwnedFd)>,
    capture: Capture,
    order: Option<Order>,
    kill_at: Option<i64>,
    started_at: i64,
    started_mono: i64,
}

impl Core {
    pub(super) fn new(output_dir: PathBuf, log_cap: u64, slots: SlotTable) -> Self {
        Self {
            output_dir,
            log_cap,
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            mains: BTreeMap::new(),
            by_pipe: BTreeMap::new(),
            timers: BTreeSet::new(),
            slots,
            orphans: Orphans::default(),
            cap: 0,
            function_caps: BTreeMap::new(),
            held: true,
            environments: BTreeMap::new(),
            untaken: VecDeque::new(),
            next_seq: 1,
            untaken_ends: 0,
            grew: BTreeSet::new(),
            followed: BTreeSet::new(),
            opened: Vec::new(),
            buffer: vec![0; 64 * 1024],
        }
    }

    pub(super) fn waiting_claims(&self) -> Vec<ClaimId> {
        self.waiting.keys().map(|(_, _, claim)| *claim).collect()
    }

    pub(super) fn running_claims(&self) -> Vec<ClaimId> {
        self.running.keys().copied().collect()
    }

    pub(super) fn ended_claims(&self) -> Vec<ClaimId> {
        self.untaken.iter().filter_map(|(_, event)| end_of(event)).collect()
    }

    /// Adds an attempt to those that wait; one that is here already is refused.
    pub(super) fn launch(&mut self, launch: Launch) {
        let claim = launch.claim;
        if self.running.contains_key(&claim) || self.ended_claims().contains(&claim) {
            return;
        }
        self.waiting.insert((Reverse(launch.priority), launch.task_id, claim), launch);
    }

    /// Gives back what has not started: all, or those of `claims`.
    pub(super) fn take_back(&mut self, claims: Option<&[ClaimId]>) -> Vec<ClaimId> {
        let wanted = |claim: &ClaimId| claims.is_none_or(|claims| claims.contains(claim));
        let back: Vec<_> = self.waiting.keys().filter(|(_, _, claim)| wanted(claim)).copied().collect();
        for key in &back {
            self.waiting.remove(key);
        }
        back.into_iter().map(|(_, _, claim)| claim).collect()
    }

    /// Starts what may start.
    pub(super) fn pump(&mut self) {
        while !self.held && self.running.len() < self.cap && self.untaken_ends <= MOST_UNTAKEN {
            let next = self.waiting.iter().find(|(_, launch)| self.has_room(&launch.function)).map(|(key, _)| *key);
            let Some(launch) = next.and_then(|key| self.waiting.remove(&key)) else { break };
            self.start(launch);
        }
    }

    fn has_room(&self, function: &str) -> bool {
        self.function_caps.get(function).is_none_or(|cap| {
            let open = self.running.values().filter(|running| running.launch.function == function).count();
            open < *cap as usize
        })
    }

    fn start(&mut self, launch: Launch) {
        let (claim, now) = (launch.claim, time::monotonic_ms());
        let path = output::log_file(&self.output_dir, launch.task_id, launch.attempt);
        let mut running = Running {
            pid: None,
            pipes: Vec::new(),
            capture: Capture::new(path, self.log_cap),
            order: None,
            kill_at: None,
            started_at: time::wall_ms(),
            started_mono: now,
            launch,
        };
        self.event(KeeperEvent::Started { claim, task_id: running.launch.task_id, started_at: running.started_at });
        if let Some(limit) = running.launch.timeout_ms {
            self.timers.insert((now + limit, claim, Timer::Limit));
        }
        match &running.launch.work {
            LaunchWork::Simulate { duration_ms, .. } => {
                self.timers.insert((now + duration_ms, claim, Timer::Simulated));
                self.running.insert(claim, running);
            }
            LaunchWork::Unrunnable { error } => {
                let how = How::NotRun { error: error.clone() };
                self.ended(running, how);
            }
            LaunchWork::Process(launch) => {
                let environment = self.environments.get(&launch.environment);
                let slots = &mut self.slots;
                match process::start(launch, environment, claim, |pid| slots.put(claim, pid)) {
                    Ok(started) => {
                        self.mains.insert(started.pid, claim);
                        for (_, pipe) in &started.pipes {
                            self.by_pipe.insert(pipe.as_raw_fd(), claim);
                            self.opened.push(pipe.as_raw_fd());
                        }
                        running.pid = Some(started.pid);
                        running.pipes = started.pipes;
                        self.running.insert(claim, running);
                    }
                    Err(error) => self.ended(running, How::NotRun { error }),
                }
            }
        }
    }

    /// Ends an attempt by order.
    pub(super) fn end(&mut self, claim: ClaimId, order: Order, grace_ms: i64) -> EndAnswer {
        if !self.take_back(Some(&[claim])).is_empty() {
            return EndAnswer::Yielded;
        }
        let Some(running) = self.running.get_mut(&claim) else {
            return if self.ended_claims().contains(&claim) { EndAnswer::Ended } else { EndAnswer::Unknown };
        };
        let Some(pid) = running.pid else {
            running.order = Some(stronger(running.order, order));
            self.simulated(claim);
            return EndAnswer::Ordered;
        };
        if is_dead(pid) {
            self.child_died();
            return EndAnswer::Ended;
        }
        running.order = Some(stronger(running.order, order));
        signal_group(pid, Signal::SIGTERM);
        signal_group(pid, Signal::SIGCONT);
        let kill_at = time::monotonic_ms() + grace_ms.max(0);
        if running.kill_at.is_none_or(|earlier| kill_at < earlier) {
            if let Some(earlier) = running.kill_at.replace(kill_at) {
                self.timers.remove(&(earlier, claim, Timer::Kill));
            }
            self.timers.insert((kill_at, claim, Timer::Kill));
        }
        EndAnswer::Ordered
    }

    /// The milliseconds until [`Self::tick`] has something to do.
    pub(super) fn next_tick(&self) -> Option<i64> {
        self.timers.first().map(|(at, ..)| (at - time::monotonic_ms()).max(0))
    }

    /// Does what is due.
    pub(super) fn tick(&mut self) {
        let now = time::monotonic_ms();
        while let Some((at, claim, timer)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Simulated => self.simulated(claim),
                Timer::Limit => {
                    if let Some(grace_ms) = self.running.get(&claim).map(|running| running.launch.grace_ms) {
                        self.end(claim, Order::Timeout, grace_ms);
                    }
                }
                Timer::Kill => {
                    if let Some(pid) = self.running.get(&claim).and_then(|running| running.pid) {
                        signal_group(pid, Signal::SIGKILL);
                    }
                }
            }
        }
    }

    fn simulated(&mut self, claim: ClaimId) {
        if let Some(running) = self.running.remove(&claim)
            && let LaunchWork::Simulate { duration_ms, fails } = running.launch.work
        {
            self.ended(running, How::Simulated { duration_ms, failed: fails });
        }
    }

    /// Looks for children that have died: ends their attempts, and what they left behind.
    pub(super) fn child_died(&mut self) {
        let mut sweep = false;
        while let Some(pid) = next_dead() {
            sweep = true;
            match self.mains.remove(&pid) {
                Some(claim) => self.main_died(pid, claim),
                None => drop(sys::reap(pid)),
            }
        }
        if sweep {
            self.orphans.sweep(&self.mains);
        }
    }

    fn main_died(&mut self, pid: i32, claim: ClaimId) {
        // Before the pid is free: nothing of the group may stay.
        signal_group(pid, Signal::SIGKILL);
        let Some(mut running) = self.running.remove(&claim) else {
            sys::reap(pid);
            return;
        };
        for (stream, pipe) in std::mem::take(&mut running.pipes) {
            self.by_pipe.remove(&pipe.as_raw_fd());
            let room = self.in_memory() < OUTPUT_BUDGET;
            while let Read::Some(length) = read(&pipe, &mut self.buffer) {
                running.capture.take(stream, &self.buffer[..length], room);
            }
        }
        let reaped = sys::reap(pid);
        self.slots.remove(claim);
        let how = match reaped {
            Some(reaped) => How::Process {
                exit_code: reaped.exit_code,
                signal: reaped.signal,
                cpu_us: reaped.cpu_us,
                max_rss: reaped.max_rss,
            },
            None => How::NotRun { error: "the process was reaped by somebody else".to_owned() },
        };
        self.ended(running, how);
    }

    fn ended(&mut self, running: Running, how: How) {
        let claim = running.launch.claim;
        self.timers.retain(|(_, of, _)| *of != claim);
        self.followed.remove(&claim);
        if let LaunchWork::Process(process) = &running.launch.work
            && let Some(script) = &process.script
        {
            // Left behind at worst: the folder is emptied at the daemon's start.
            drop(std::fs::remove_file(script));
        }
        let captured = running.capture.finish();
        self.untaken_ends += 1;
        self.event(KeeperEvent::Ended(Box::new(KeeperEnd {
            claim,
            task_id: running.launch.task_id,
            attempt: running.launch.attempt,
            function: running.launch.function,
            started_at: running.started_at,
            finished_at: time::wall_ms(),
            run_ms: time::monotonic_ms() - running.started_mono,
            order: running.order,
            how,
            frames: captured.frames,
            spilled: captured.spilled,
            dropped: i64::try_from(captured.dropped).unwrap_or(i64::MAX),
        })));
    }

    fn event(&mut self, event: KeeperEvent) {
        self.untaken.push_back((self.next_seq, event));
        self.next_seq += 1;
    }

    /// Forgets the events that the daemon has on disk.
    pub(super) fn taken(&mut self, upto: u64) {
        while self.untaken.front().is_some_and(|(seq, _)| *seq <= upto) {
            if let Some((_, KeeperEvent::Ended(_))) = self.untaken.pop_front() {
                self.untaken_ends -= 1;
            }
        }
    }

    fn in_memory(&self) -> usize {
        self.running.values().map(|running| running.capture.in_memory()).sum()
    }

    /// Reads a pipe; at its end it is closed.
    pub(super) fn readable(&mut self, fd: RawFd) {
        let Some(claim) = self.by_pipe.get(&fd).copied() else { return };
        let room = self.in_memory() < OUTPUT_BUDGET;
        let Some(running) = self.running.get_mut(&claim) else { return };
        let Some(place) = running.pipes.iter().position(|(_, pipe)| pipe.as_raw_fd() == fd) else { return };
        let mut read_now = 0;
        loop {
            let (stream, pipe) = &running.pipes[place];
            match read(pipe, &mut self.buffer) {
                Read::Some(length) => running.capture.take(*stream, &self.buffer[..length], room),
                Read::Later => break,
                Read::End => {
                    running.pipes.remove(place);
                    self.by_pipe.remove(&fd);
                    return;
                }
            }
            if self.followed.contains(&claim) {
                self.grew.insert(claim);
            }
            read_now += self.buffer.len();
            if read_now >= READ_AT_ONCE {
                break;
            }
        }
    }

    /// Hands the pipe with this number to `watch`, if it is open still.
    pub(super) fn watched(&self, fd: RawFd, watch: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) {
        let running = self.by_pipe.get(&fd).and_then(|claim| self.running.get(claim));
        let pipe = running.and_then(|running| running.pipes.iter().find(|(_, pipe)| pipe.as_raw_fd() == fd));
        if let Some((_, pipe)) = pipe
            && let Err(error) = watch(pipe.as_fd())
        {
            tracing::error!(err = %error, "the output of a task is not read");
        }
    }

    /// Whether an attempt has a slot.
    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// From now on the output of a running attempt goes to its file at once.
    pub(super) fn follow(&mut self, claim: ClaimId) {
        if let Some(running) = self.running.get_mut(&claim) {
            running.capture.spill();
            self.followed.insert(claim);
        }
    }

    pub(super) fn unfollow(&mut self, claim: ClaimId) {
        self.followed.remove(&claim);
    }
}

fn end_of(event: &KeeperEvent) -> Option<ClaimId> {
    match event {
        KeeperEvent::Ended(end) => Some(end.claim),
        KeeperEvent::Started { .. } => None,
    }
}

/// Cancel beats every other order; else the first one wins.
fn stronger(earlier: Option<Order>, order: Order) -> Order {
    match earlier {
        Some(earlier) if order != Order::Cancel => earlier,
        _ => order,
    }
}

fn signal_group(pid: i32, signal: Signal) {
    // ESRCH: the whole group is gone, which is what was wanted.
    let _ = killpg(Pid::from_raw(pid), signal);
}

/// Whether a child is dead and not reaped yet.
fn is_dead(pid: i32) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::Pid(Pid::from_raw(pid)), flags), Ok(WaitStatus::StillAlive) | Err(_))
}

/// A dead child, not reaped yet.
fn next_dead() -> Option<i32> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, flags).ok()?.pid().map(Pid::as_raw)
}

enum Read {
    Some(usize),
    Later,
    End,
}

fn read(pipe: &OwnedFd, buffer: &mut [u8]) -> Read {
    loop {
        match nix::unistd::read(pipe, buffer) {
            Ok(0) => return Read::End,
            Ok(length) => return Read::Some(length),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Read::Later,
            Err(_) => return Read::End,
        }
    }
}
