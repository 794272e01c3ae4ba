//! Warm tasks: forks of an interpreter that is prepared, made before a task wants one.
//!
//! A fork-server is a child of the keeper (`server.py`): it imports what the configuration lists and forks on
//! request. A fork waits on a socket of its own until it is given one task, and becomes its process; the keeper is its
//! parent and knows its pid before. So an attempt is started warm as it is started cold, in one step: it takes a
//! fork that is there. While a server is starting, or cannot be had, tasks start cold.

mod server;
mod spare;
mod worker;
mod workers;

use std::os::fd::{BorrowedFd, RawFd};

use super::environment::Environment;
use super::protocol::LaunchProcess;
use crate::home::Home;
use crate::time;
use server::{Kind, Server};
pub(super) use spare::Spare;
pub(super) use worker::Worker;
pub(super) use workers::{Free, Workers};

/// Fork-servers at once; each keeps an interpreter in memory.
const MOST_SERVERS: usize = 4;
/// A server that was used since does not make way for another kind, ms.
const SETTLED_MS: i64 = 10_000;
/// One that died before a task had a fork of it is not started again for so long, ms.
const REST_MS: i64 = 60_000;

/// The fork-servers.
#[derive(Default)]
pub(super) struct Warm {
    servers: Vec<Server>,
    /// Kinds that cannot be had for now, and until when (monotonic ms).
    resting: Vec<(Kind, i64)>,
    /// Descriptors that appeared and are to be polled.
    pub opened: Vec<RawFd>,
    pub workers: Workers,
}

impl Warm {
    /// Whether a process may start now: in a fork that is there, or cold. False for the moment until a fork comes.
    pub(super) fn may_start(&mut self, launch: &LaunchProcess, environment: Option<&Environment>, home: &Home) -> bool {
        if server::imports(launch).is_none() {
            return true;
        }
        if let Some(server) = self.servers.iter_mut().find(|server| server.kind.fits(launch)) {
            return server.may_start();
        }
        self.start(launch, environment, home);
        true
    }

    fn start(&mut self, launch: &LaunchProcess, environment: Option<&Environment>, home: &Home) {
        let now = time::monotonic_ms();
        self.resting.retain(|(_, until)| *until > now);
        if self.resting.iter().any(|(kind, _)| kind.fits(launch)) {
            return;
        }
        if self.servers.len() >= MOST_SERVERS {
            let oldest = self.servers.iter().enumerate().min_by_key(|(_, server)| server.used_at);
            match oldest {
                Some((place, server)) if server.used_at + SETTLED_MS < now => self.servers.swap_remove(place).end(),
                _ => return,
            }
        }
        match Server::start(launch, environment, home) {
            Ok(server) => {
                self.opened.extend(server.descriptors());
                self.servers.push(server);
            }
            Err(error) => {
                tracing::warn!(err = %error, program = launch.program, "no fork-server can be started");
                self.resting.push((Kind::of(launch, environment), now + REST_MS));
            }
        }
    }

    /// A fork for a process, if there is one.
    pub(super) fn take(&mut self, launch: &LaunchProcess) -> Option<Spare> {
        server::imports(launch)?;
        self.servers.iter_mut().find(|server| server.kind.fits(launch))?.take()
    }

    /// Reads what a worker without a task has written, or the servers.
    pub(super) fn readable(&mut self, fd: RawFd) {
        if !self.workers.read(fd) {
            self.read();
        }
    }

    /// Reads what the servers have said.
    pub(super) fn read(&mut self) {
        let mut place = 0;
        while let Some(server) = self.servers.get_mut(place) {
            if server.read() {
                place += 1;
            } else {
                self.lost(place);
            }
        }
    }

    /// A child has died: was it a server?
    pub(super) fn died(&mut self, pid: i32) {
        if let Some(place) = self.servers.iter().position(|server| server.pid == pid) {
            self.lost(place);
        }
    }

    fn lost(&mut self, place: usize) {
        let mut server = self.servers.swap_remove(place);
        let said = server.said();
        tracing::warn!(said, imports = ?server.kind.imports, "a fork-server of [runtimes.python] has ended");
        if !server.useful {
            self.resting.push((server.kind.clone(), time::monotonic_ms() + REST_MS));
        }
        server.end();
    }

    /// Whether a child is a server or a fork without a task.
    pub(super) fn knows(&self, pid: i32) -> bool {
        self.servers.iter().any(|server| server.knows(pid))
    }

    /// The descriptor with this number, if it is a server's or of a worker without a task.
    pub(super) fn descriptor(&self, fd: RawFd) -> Option<BorrowedFd<'_>> {
        self.servers.iter().find_map(|server| server.descriptor(fd)).or_else(|| self.workers.descriptor(fd))
    }

    /// An environment has changed: what was prepared in the old one is of no use.
    pub(super) fn forget(&mut self, environment: i64) {
        let of_it = |server: &mut Server| server.kind.environment == environment;
        self.servers.extract_if(.., of_it).for_each(Server::end);
        self.workers.end(Some(environment));
    }

    /// When [`Self::tick`] has something to do, monotonic ms.
    pub(super) fn next_tick(&self) -> Option<i64> {
        self.servers.iter().map(Server::ends_at).chain(self.workers.next_tick()).min()
    }

    /// Ends the servers that nobody uses, and those that are stuck.
    pub(super) fn tick(&mut self) {
        let now = time::monotonic_ms();
        self.workers.tick(now);
        while let Some(place) = self.servers.iter().position(|server| server.ends_at() <= now) {
            if self.servers[place].is_idle() {
                self.servers.swap_remove(place).end();
            } else {
                self.lost(place);
            }
        }
    }
}
