//! The keeper's core: waiting attempts, slots, timers, ends. Knows processes, but no socket.
//!
//! Whoever drives it polls the descriptors that [`Core::watched`] hands out, calls [`Core::readable`], [`Core::child_died`] and
//! [`Core::tick`], and takes the events.

mod attempt;
mod end;
mod suspend;
mod worker;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::signal::Signal;

use super::Options;
use super::environment::Environment;
use super::groups::Groups;
use super::oom::OomKills;
use super::pipes::{self, Read};
use super::process::{next_dead, signal_group};
use super::protocol::{How, Launch, LaunchWork};
use super::room::Room;
use super::slots::SlotTable;
use super::table::{Pipe, Running, Table, Timer};
use super::warm::Warm;
use crate::home::Home;
use crate::space::Floor;
use crate::sys;
use crate::task::{ClaimId, Order};
use crate::time;

/// With more ends than this that the daemon has not taken, nothing starts.
const MOST_UNTAKEN: usize = 1024;
/// What one turn reads from one pipe at most, so that none starves the others.
const READ_AT_ONCE: usize = 4 * 64 * 1024;

pub(super) struct Core {
    home: Home,
    log_cap: u64,
    pub table: Table,
    /// Nothing starts: there is no daemon, or it said so.
    pub held: bool,
    /// Followed attempts that have written since the daemon was told.
    pub grew: BTreeSet<ClaimId>,
    /// Descriptors that appeared and are to be polled.
    pub opened: Vec<RawFd>,
    /// Descriptors that are polled no more and are to be closed. A child that is on its way through exec(3) has copies
    /// for a moment, so closing one does not end its being polled.
    pub closed: Vec<Pipe>,
    slots: SlotTable,
    warm: Warm,
    groups: Groups,
    // What follows is derived from the table.
    mains: BTreeMap<i32, ClaimId>,
    by_pipe: BTreeMap<RawFd, ClaimId>,
    timers: BTreeSet<(i64, ClaimId, Timer)>,
    /// How many run of each function.
    open: BTreeMap<String, u32>,
    room: Room,
    oom_kills: OomKills,
    buffer: Vec<u8>,
    /// `/dev/null`.
    nothing: File,
}

impl Core {
    /// A core that holds what is in `table`, the attempts that run included.
    pub(super) fn new(home: Home, options: Options, mut table: Table) -> io::Result<Self> {
        let had_process = table.running.iter().filter_map(|(claim, running)| Some((*claim, Some(running.pid?))));
        let ended = table.untaken.ended().iter().map(|claim| (*claim, None));
        let slots = SlotTable::create(&home.keeper_slots(), had_process.chain(ended))?;
        let running = std::mem::take(&mut table.running);
        let mut core = Self {
            log_cap: options.log_cap_bytes,
            table,
            held: true,
            grew: BTreeSet::new(),
            opened: Vec::new(),
            closed: Vec::new(),
            slots,
            warm: Warm::default(),
            groups: Groups::default(),
            mains: BTreeMap::new(),
            by_pipe: BTreeMap::new(),
            timers: BTreeSet::new(),
            open: BTreeMap::new(),
            room: Room::new(Floor::new(home.root().to_owned(), options.floor_bytes)),
            oom_kills: OomKills::new(),
            home,
            buffer: vec![0; 64 * 1024],
            nothing: File::open("/dev/null")?,
        };
        for running in running.into_values() {
            core.opened.extend(running.pipes.iter().map(|(_, pipe)| pipe.as_raw_fd()));
            if let (Some(worker), Some(pid)) = (&running.worker, running.pid) {
                core.warm.workers.came(pid, worker.mark);
            }
            if let (Some(ahead), Some(pid)) = (&running.ahead, running.pid) {
                core.warm.came(pid, ahead.mark);
            }
            let claim = running.launch.claim;
            core.adopt(running);
            core.feed(claim);
        }
        // What was prepared before this process was replaced is nobody's.
        core.sweep();
        Ok(core)
    }

    pub(super) fn waiting_claims(&self) -> Vec<ClaimId> {
        self.table.waiting.keys().map(|(_, _, claim)| *claim).collect()
    }

    pub(super) fn running_claims(&self) -> Vec<ClaimId> {
        self.table.running.keys().copied().collect()
    }

    /// Adds an attempt to those that wait; one that is here already is refused.
    pub(super) fn launch(&mut self, launch: Launch) {
        let claim = launch.claim;
        if !self.table.running.contains_key(&claim) && !self.table.untaken.ended().contains(&claim) {
            self.table.waiting.insert((Reverse(launch.priority), launch.task_id, claim), launch);
        }
    }

    /// Gives back what has not started: all, or those of `claims`.
    pub(super) fn take_back(&mut self, claims: Option<&[ClaimId]>) -> Vec<ClaimId> {
        let claims: Option<BTreeSet<&ClaimId>> = claims.map(|claims| claims.iter().collect());
        let wanted = |claim: &ClaimId| claims.as_ref().is_none_or(|claims| claims.contains(claim));
        let back: Vec<_> = self.table.waiting.keys().filter(|(_, _, claim)| wanted(claim)).copied().collect();
        for key in &back {
            self.table.waiting.remove(key);
        }
        back.into_iter().map(|(_, _, claim)| claim).collect()
    }

    /// Starts what may start.
    pub(super) fn pump(&mut self) {
        while !self.held
            && self.table.running.len() < self.table.cap
            && self.table.untaken.ended().len() <= MOST_UNTAKEN
        {
            let next = self.table.waiting.iter().find(|(_, launch)| self.has_room(&launch.function));
            let Some((key, launch)) = next else { break };
            let key = *key;
            if let LaunchWork::Process(process) = &launch.work
                && !self.warm.may_start(process, self.table.environments.get(&process.environment), &self.home)
            {
                break;
            }
            if let Some(launch) = self.table.waiting.remove(&key) {
                self.start(launch);
            }
        }
        // After what may start: each costs more than most tasks' first moments.
        self.warm.fill(|| self.table.next_mark());
        self.opened.append(&mut self.warm.opened);
        self.closed.append(&mut self.warm.workers.closed);
    }

    /// An environment that attempts refer to.
    pub(super) fn environment(&mut self, id: i64, variables: BTreeMap<String, String>) {
        let environment = Environment::from(variables);
        if self.table.environments.get(&id) != Some(&environment) {
            self.warm.forget(id);
            self.table.environments.insert(id, environment);
        }
    }

    fn has_room(&self, function: &str) -> bool {
        let open = || self.open.get(function).copied().unwrap_or(0);
        self.table.function_caps.get(function).is_none_or(|cap| open() < *cap)
    }

    /// Gives an attempt its slot: one that was just started, or that this process started before it was replaced.
    fn adopt(&mut self, running: Box<Running>) {
        let claim = running.launch.claim;
        if let Some(pid) = running.pid {
            self.mains.insert(pid, claim);
        }
        for (_, pipe) in &running.pipes {
            self.by_pipe.insert(pipe.as_raw_fd(), claim);
        }
        self.timers.extend(running.timers());
        self.room.add(&running.capture);
        *self.open.entry(running.launch.function.clone()).or_default() += 1;
        self.table.running.insert(claim, running);
    }

    /// Takes an attempt's slot.
    fn release(&mut self, claim: ClaimId) -> Option<Box<Running>> {
        let running = self.table.running.remove(&claim)?;
        for timer in running.timers() {
            self.timers.remove(&timer);
        }
        for fd in running.descriptors() {
            self.by_pipe.remove(&fd);
        }
        self.table.followed.remove(&claim);
        self.room.remove(&running.capture);
        if let Some(open) = self.open.get_mut(&running.launch.function) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&running.launch.function);
            }
        }
        Some(running)
    }

    /// There is no daemon, or another one: nothing starts, and no worker serves what that one declares.
    pub(super) fn alone(&mut self) {
        self.held = true;
        self.warm.workers.end(None);
        for worker in self.table.running.values_mut().filter_map(|running| running.worker.as_mut()) {
            worker.last = true;
        }
    }

    /// Whether nothing runs, workers without a task included.
    pub(super) fn is_idle(&self) -> bool {
        self.table.running.is_empty() && self.warm.workers.is_empty()
    }

    /// The milliseconds until [`Self::tick`] has something to do.
    pub(super) fn next_tick(&self) -> Option<i64> {
        let next = [self.timers.first().map(|(at, ..)| *at), self.warm.next_tick()].into_iter().flatten().min();
        next.map(|at| (at - time::monotonic_ms()).max(0))
    }

    /// Does what is due.
    pub(super) fn tick(&mut self) {
        let now = time::monotonic_ms();
        self.warm.tick();
        while let Some((at, claim, timer)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Simulated => self.simulated(claim),
                Timer::Limit => {
                    if let Some(grace_ms) = self.table.running.get(&claim).map(|running| running.launch.grace_ms) {
                        self.end(claim, Order::Timeout, grace_ms);
                    }
                }
                Timer::Kill => {
                    if let Some(pid) = self.table.running.get(&claim).and_then(|running| running.pid) {
                        signal_group(pid, Signal::SIGKILL);
                    }
                }
            }
        }
    }

    fn simulated(&mut self, claim: ClaimId) {
        if let Some(running) = self.release(claim)
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
            self.warm.died(pid);
            match self.mains.remove(&pid) {
                Some(claim) => self.main_died(pid, claim),
                None => drop(sys::reap(pid)),
            }
        }
        if sweep {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        self.table.orphans.sweep(&self.mains, &self.home.lock(), &mut self.warm);
        self.groups.sweep();
    }

    /// Whether there is room for output in memory.
    fn has_memory(&self) -> bool {
        self.room.in_memory(self.table.untaken.output())
    }

    /// Reads a pipe; at its end it is closed.
    pub(super) fn readable(&mut self, fd: RawFd) {
        let Some(claim) = self.by_pipe.get(&fd).copied() else { return self.warm.readable(fd) };
        let room = self.has_memory();
        let Some(running) = self.table.running.get_mut(&claim) else { return };
        let Some(place) = running.pipes.iter().position(|(_, pipe)| pipe.as_raw_fd() == fd) else {
            return self.feed(claim);
        };
        self.room.remove(&running.capture);
        let was_in_file = running.capture.is_in_file();
        let mut read_now = 0;
        while read_now < READ_AT_ONCE {
            let (stream, pipe) = &running.pipes[place];
            let stream = *stream;
            match pipes::read(pipe, &mut self.buffer) {
                Read::Some(length) => running.take(stream, &self.buffer[..length], room),
                Read::Later => break,
                Read::End => {
                    self.closed.push(running.pipes.remove(place).1);
                    self.by_pipe.remove(&fd);
                    break;
                }
            }
            if self.table.followed.contains(&claim) {
                self.grew.insert(claim);
            }
            read_now += self.buffer.len();
        }
        self.room.grown(&mut running.capture, was_in_file, read_now);
        self.hear(claim);
    }

    /// Hands the pipe with this number to `watch`, if it is open still, and whether it is one to write to.
    pub(super) fn watched(&self, fd: RawFd, watch: impl FnOnce(BorrowedFd<'_>, bool) -> io::Result<()>) {
        let running = self.by_pipe.get(&fd).and_then(|claim| self.table.running.get(claim));
        let pipe = running.and_then(|running| running.pipes.iter().find(|(_, pipe)| pipe.as_raw_fd() == fd));
        let stdin = running.and_then(|running| running.worker.as_ref()?.stdin()).map(AsFd::as_fd);
        let stdin = stdin.filter(|stdin| stdin.as_raw_fd() == fd);
        if let Some(fd) = pipe.map(|(_, pipe)| pipe.as_fd()).or(stdin).or_else(|| self.warm.descriptor(fd))
            && let Err(error) = watch(fd, stdin.is_some())
        {
            tracing::error!(err = %error, "the output of a task, or what is kept warm, is not read");
        }
    }

    /// From now on the output of a running attempt goes to its file at once.
    pub(super) fn follow(&mut self, claim: ClaimId) {
        if let Some(running) = self.table.running.get_mut(&claim) {
            self.room.remove(&running.capture);
            let was_in_file = running.capture.is_in_file();
            running.capture.spill();
            self.room.grown(&mut running.capture, was_in_file, 0);
            self.table.followed.insert(claim);
        }
    }

    /// The daemon has every event up to this one on its disk.
    pub(super) fn taken(&mut self, upto: u64) {
        for claim in self.table.untaken.taken(upto) {
            self.slots.remove(claim);
        }
    }

    pub(super) fn unfollow(&mut self, claim: ClaimId) {
        self.table.followed.remove(&claim);
    }
}
