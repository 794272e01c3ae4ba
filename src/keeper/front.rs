//! The keeper's front end: the socket, the loop, and when it may leave.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixListener;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::Options;
use super::core::Core;
use super::daemon::Daemon;
use super::protocol::{FromKeeper, KEEPER_PROTOCOL, ToKeeper, Told, Welcome};
use super::replace::{Adopted, replace_by};
use crate::home::{Home, Place};
use crate::sys;
use crate::time;
use crate::version::VERSION;

/// More than this on its way to the daemon, and events wait.
const OUT_HIGH: usize = 4 * 1024 * 1024;
/// Under load events gather this long and share a commit; the first after a pause goes at once. Starts alone gather longer:
/// no slot waits for what they say.
const GATHER_MS: i64 = 8;
const GATHER_STARTS_MS: i64 = 200;
/// Followed attempts are told of at most this often, ms.
const GREW_EVERY_MS: i64 = 20;
/// When nothing has happened for so long it gives back the memory that it does not need to wait, ms.
const QUIET_MS: i64 = 1000;

pub(super) struct Front {
    home: Home,
    options: Options,
    core: Core,
    epoll: Epoll,
    lock: File,
    listener: UnixListener,
    signals: SignalFd,
    daemon: Option<Daemon>,
    alone_since: i64,
    had_daemon: bool,
    /// The untaken events are in the file of an earlier keeper too.
    ends_on_disk: bool,
    grew_at: i64,
    events_at: i64,
    /// When it gives memory back; none when it has, and nothing happened since.
    shrinks_at: Option<i64>,
}

impl Front {
    pub(super) fn new(home: &Home, options: Options, adopted: Adopted) -> io::Result<Self> {
        let Adopted { lock, listener, table } = adopted;
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        watch(&epoll, listener.as_fd(), false)?;
        watch(&epoll, signals.as_fd(), false)?;
        let mut core = Core::new(home.clone(), options, table)?;
        // What died before the signals were watched.
        core.child_died();
        let mut front = Self {
            home: home.clone(),
            options,
            core,
            epoll,
            lock,
            listener,
            signals,
            daemon: None,
            alone_since: time::monotonic_ms(),
            had_daemon: false,
            ends_on_disk: home.keeper_ends().exists(),
            grew_at: 0,
            events_at: 0,
            shrinks_at: Some(time::monotonic_ms() + QUIET_MS),
        };
        front.watch_opened();
        Ok(front)
    }

    /// Serves until it may leave.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let ready = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            let ready: Vec<RawFd> =
                events[..ready].iter().filter_map(|event| RawFd::try_from(event.data()).ok()).collect();
            let happened = !ready.is_empty();
            for fd in ready {
                self.handle(fd);
            }
            self.core.tick();
            self.obey_daemon();
            self.unwatch_closed();
            self.core.pump();
            self.watch_opened();
            self.tell_daemon();
            self.shrink_when_quiet(happened);
            if self.may_leave() {
                // Unlinked before the lock is free: the next keeper's socket is never the one removed.
                if self.is_at_home() {
                    drop(std::fs::remove_file(self.home.keeper_socket()));
                }
                return Ok(());
            }
        }
    }

    fn timeout(&self) -> EpollTimeout {
        let now = time::monotonic_ms();
        let patience =
            self.is_waiting_for_a_daemon().then(|| (self.alone_since + self.options.patience_ms - now).max(0));
        let grew = (!self.core.grew.is_empty()).then(|| (self.grew_at + GREW_EVERY_MS - now).max(0));
        let events = self.has_events().then(|| (self.events_due_at() - now).max(0));
        let shrinks = self.shrinks_at.map(|at| (at - now).max(0));
        match [self.core.next_tick(), patience, grew, events, shrinks].into_iter().flatten().min() {
            Some(0) => EpollTimeout::ZERO,
            // Rounded up, or the last millisecond would be spent spinning.
            Some(ms) => EpollTimeout::try_from(i32::try_from(ms + 1).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::NONE),
            None => EpollTimeout::NONE,
        }
    }

    /// One wake-up after the last thing that happened.
    fn shrink_when_quiet(&mut self, happened: bool) {
        let now = time::monotonic_ms();
        if happened {
            self.shrinks_at = Some(now + QUIET_MS);
        } else if self.shrinks_at.is_some_and(|at| at <= now) {
            self.shrinks_at = None;
            if let Err(error) = sys::shrink() {
                tracing::debug!(err = %error, "the pages of the program stay in memory");
            }
        }
    }

    fn handle(&mut self, fd: RawFd) {
        if fd == self.listener.as_raw_fd() {
            self.accept();
        } else if fd == self.signals.as_raw_fd() {
            // The one signal that is watched waits at most once (signal(7)); one that comes now is told of again.
            let _ = self.signals.read_signal();
            self.core.child_died();
        } else if self.daemon.as_ref().is_some_and(|daemon| daemon.stream.as_raw_fd() == fd) {
            self.read_daemon();
        } else {
            self.core.readable(fd);
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let own = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials)
                .is_ok_and(|peer| peer.uid() == nix::unistd::geteuid().as_raw() || peer.uid() == 0);
            if !own || stream.set_nonblocking(true).is_err() || watch(&self.epoll, stream.as_fd(), false).is_err() {
                continue;
            }
            // A second daemon can only be the successor: the daemons' own lock decides.
            self.daemon = Some(Daemon::new(stream));
            self.core.alone();
        }
    }

    fn read_daemon(&mut self) {
        if self.daemon.as_mut().is_some_and(|daemon| daemon.read().is_err()) {
            self.daemon_left();
        }
    }

    fn daemon_left(&mut self) {
        self.daemon = None;
        self.core.alone();
        self.alone_since = time::monotonic_ms();
    }

    /// Carries out what the daemon asked for.
    fn obey_daemon(&mut self) {
        loop {
            let Some(daemon) = &mut self.daemon else { return };
            match daemon.input.take::<ToKeeper>() {
                Ok(Some(message)) => self.obey(message),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(err = %error, "the daemon sent what is no message");
                    return self.daemon_left();
                }
            }
        }
    }

    /// Sends the daemon what is new: in one write, after what could start was started.
    fn tell_daemon(&mut self) {
        if time::monotonic_ms() >= self.events_due_at() {
            self.send_events();
        }
        self.send_grew();
        self.flush();
    }

    /// Monotonic ms. Where nothing runs, nothing comes that could share the commit.
    fn events_due_at(&self) -> i64 {
        let table = &self.core.table;
        let has_end = self.daemon.as_ref().is_some_and(|daemon| table.untaken.has_end_since(daemon.next_event));
        let gather = if has_end { GATHER_MS } else { GATHER_STARTS_MS };
        self.events_at + if table.running.is_empty() { 0 } else { gather }
    }

    /// Whether there is an event that the daemon was not sent and has room for.
    fn has_events(&self) -> bool {
        let listens = |daemon: &&Daemon| daemon.greeted && daemon.output.len() <= OUT_HIGH;
        self.daemon.as_ref().filter(listens).is_some_and(|d| self.core.table.untaken.has_since(d.next_event))
    }

    fn obey(&mut self, message: ToKeeper) {
        let answer = match message {
            ToKeeper::Hello { .. } => return self.greet(),
            ToKeeper::Environment { id, variables } => return self.core.environment(id, variables),
            ToKeeper::Launch { wave } => return wave.into_iter().for_each(|launch| self.core.launch(launch)),
            ToKeeper::Groups { tasks } => return self.core.groups_in(tasks),
            ToKeeper::Taken { upto } => return self.taken(upto),
            ToKeeper::Unfollow { claim } => return self.core.unfollow(claim),
            ToKeeper::Caps { request, cap, functions } => {
                self.core.table.cap = cap as usize;
                self.core.table.function_caps = functions;
                FromKeeper::Done { request }
            }
            ToKeeper::Hold { request } => {
                self.core.held = true;
                FromKeeper::Yielded { request, claims: self.core.take_back(None) }
            }
            ToKeeper::Resume { request } => {
                self.core.held = false;
                FromKeeper::Done { request }
            }
            ToKeeper::TakeBack { request, claims } => {
                FromKeeper::Yielded { request, claims: self.core.take_back(Some(&claims)) }
            }
            ToKeeper::End { request, claims, order, grace_ms } => {
                FromKeeper::Ending { request, answers: self.core.end_all(claims, order, grace_ms) }
            }
            ToKeeper::Suspend { request, claims, by, on } => {
                let (held, ending) = self.core.suspend(claims, by, on);
                FromKeeper::Suspended { request, held, ending }
            }
            ToKeeper::Become { path } => {
                let table = &self.core.table;
                let error = replace_by(&path, &self.home, self.options, &self.lock, &self.listener, table);
                FromKeeper::Refused { error: format!("`{}` cannot be run: {error}", path.display()) }
            }
            ToKeeper::Follow { request, claim } => {
                self.core.follow(claim);
                FromKeeper::Done { request }
            }
        };
        // What happened before the answer is told before the answer.
        self.send_events();
        self.send(&answer);
    }

    fn taken(&mut self, upto: u64) {
        self.core.taken(upto);
        if self.core.table.untaken.is_empty() {
            self.forget_ends();
        }
    }

    /// Removes the file of ends: all that was in it is on the daemon's disk.
    fn forget_ends(&mut self) {
        if std::mem::take(&mut self.ends_on_disk) {
            drop(std::fs::remove_file(self.home.keeper_ends()));
        }
    }

    fn greet(&mut self) {
        let welcome = FromKeeper::Welcome(Welcome {
            protocol: KEEPER_PROTOCOL,
            version: VERSION.to_owned(),
            pid: std::process::id(),
            waiting: self.core.waiting_claims(),
            running: self.core.running_claims(),
            ended: self.core.table.untaken.ended().iter().copied().collect(),
        });
        self.had_daemon = true;
        // Who followed has gone. The environments stay: what waits since the old daemon refers to them.
        self.core.table.followed.clear();
        self.send(&welcome);
        if let Some(daemon) = &mut self.daemon {
            daemon.greeted = true;
        }
    }

    fn send_events(&mut self) {
        if !self.has_events() {
            return;
        }
        self.events_at = time::monotonic_ms();
        let Some(daemon) = &mut self.daemon else { return };
        for (seq, event) in self.core.table.untaken.since(daemon.next_event) {
            if daemon.output.len() > OUT_HIGH {
                break;
            }
            daemon.send(&Told::Event { seq: *seq, event });
            daemon.next_event = seq + 1;
        }
    }

    fn send_grew(&mut self) {
        let now = time::monotonic_ms();
        if self.core.grew.is_empty() || now < self.grew_at + GREW_EVERY_MS {
            return;
        }
        self.grew_at = now;
        for claim in std::mem::take(&mut self.core.grew) {
            self.send(&FromKeeper::Grew { claim });
        }
    }

    fn send(&mut self, message: &FromKeeper) {
        if let Some(daemon) = &mut self.daemon {
            daemon.send(message);
        }
    }

    fn flush(&mut self) {
        if self.daemon.as_mut().is_some_and(|daemon| daemon.flush(&self.epoll).is_err()) {
            self.daemon_left();
        }
    }

    fn unwatch_closed(&mut self) {
        for pipe in self.core.closed.drain(..) {
            // Fails for one that never was watched.
            let _ = self.epoll.delete(&pipe);
        }
    }

    fn watch_opened(&mut self) {
        for fd in std::mem::take(&mut self.core.opened) {
            self.core.watched(fd, |pipe, is_input| watch(&self.epoll, pipe, is_input));
        }
    }

    /// Whether the home is still the one that this keeper holds.
    fn is_at_home(&self) -> bool {
        Place::of_open(&self.home.keeper_lock(), &self.lock).is_ok_and(|lock| lock.is_kept())
    }

    /// Nothing runs, no daemon is connected, and one may still come for what this keeper has.
    fn is_waiting_for_a_daemon(&self) -> bool {
        self.daemon.is_none() && self.core.is_idle()
    }

    /// Nothing runs, no daemon is connected, no end is untaken (or they are in the file).
    fn may_leave(&mut self) -> bool {
        if !self.is_waiting_for_a_daemon() {
            return false;
        }
        let nothing_to_tell = self.core.table.untaken.ended().is_empty();
        if nothing_to_tell && self.had_daemon {
            return true;
        }
        if time::monotonic_ms() < self.alone_since + self.options.patience_ms {
            return false;
        }
        if nothing_to_tell {
            return true;
        }
        if !self.is_at_home() {
            // The home was deleted: nobody will ever ask for them, and they are nothing to a home that has its name now.
            return true;
        }
        match self.core.table.untaken.store(&self.home.keeper_ends()) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(err = %error, "untaken ends cannot be stored; trying again");
                self.alone_since = time::monotonic_ms();
                false
            }
        }
    }
}

/// Watches for reading, or where it is a pipe to write to for room in it, each time that there is some anew; the
/// descriptor's number comes back with its events.
fn watch(epoll: &Epoll, fd: BorrowedFd<'_>, is_input: bool) -> io::Result<()> {
    let flags = if is_input { EpollFlags::EPOLLOUT | EpollFlags::EPOLLET } else { EpollFlags::EPOLLIN };
    let event = EpollEvent::new(flags, u64::try_from(fd.as_raw_fd()).map_err(io::Error::other)?);
    Ok(epoll.add(fd, event)?)
}
