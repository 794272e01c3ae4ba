//! Processes of one kind that are started ahead of their tasks, each for one; for an interpreter that cannot fork.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io;
use std::num::NonZero;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::thread::available_parallelism;

use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::kind::{self, Kind};
use super::spare::{Own, Spare};
use super::{IDLE_MS, SAID, START_MS, Source};
use crate::home::Home;
use crate::keeper::MARK;
use crate::keeper::environment::Environment;
use crate::keeper::pipes::{self, Read};
use crate::keeper::process::{Outputs, in_memory, signal_group};
use crate::keeper::protocol::LaunchProcess;
use crate::sys;
use crate::task::ClaimId;
use crate::time;

/// What each runs until it has its task.
const PROGRAM: &str = include_str!("boot.js");
/// Of a kind at once, and no more than there are cores: so many can begin at the same time, and each that waits has
/// some 40 MB of memory.
const MOST: usize = 4;
/// When so many in a row have died before a task had one, they are of no use.
const MOST_DEAD: usize = 3;

/// One without a task.
#[derive(Debug)]
struct Waiting {
    spare: Spare,
    /// Monotonic ms.
    started_at: i64,
    /// It has said that it waits.
    ready: bool,
}

/// Those of one kind that have no task yet. Dropped, they end.
#[derive(Debug)]
pub(super) struct Ahead {
    kind: Kind,
    home: Home,
    /// The environment that they are given, but for the mark.
    given: Rc<BTreeSet<CString>>,
    /// The oldest first.
    waiting: Vec<Waiting>,
    /// How many are to wait. Asked once: it costs reads of files, and is wanted whenever something may start.
    most: usize,
    /// How many have died since a task had one.
    dead: usize,
    said: Vec<u8>,
    /// Monotonic ms.
    used_at: i64,
}

impl Ahead {
    /// Starts none yet: see [`Source::fill`].
    pub(super) fn start(
        launch: &LaunchProcess,
        kind: Kind,
        beneath: Option<&Environment>,
        home: &Home,
    ) -> io::Result<Self> {
        let variables = kind.variables(launch, beneath, home);
        // Others may run code of the user's own, and before the task has its environment and folder.
        let options = variables.get("NODE_OPTIONS").map(String::as_str).unwrap_or_default();
        if let Some(option) = options.split_whitespace().find(|option| !option.starts_with("--max-")) {
            return Err(io::Error::other(format!("NODE_OPTIONS has {option}")));
        }
        Ok(Self {
            given: Rc::new(kind::texts(&variables)?.into_iter().collect()),
            kind,
            home: home.clone(),
            waiting: Vec::new(),
            most: available_parallelism().map_or(1, NonZero::get).min(MOST),
            dead: 0,
            said: Vec::new(),
            used_at: time::monotonic_ms(),
        })
    }

    fn add(&mut self, mark: ClaimId) -> io::Result<()> {
        let (socket, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        sys::unblock(&socket)?;
        let (stdin, outputs) = (in_memory(&[])?, Outputs::new()?);
        let marked = kind::text(&format!("{MARK}={mark}"))?;
        let environment: Vec<&CStr> = self.given.iter().map(CString::as_c_str).chain([marked.as_c_str()]).collect();
        let streams = [stdin.as_fd(), outputs.stdout.as_fd(), outputs.stderr.as_fd()];
        let pid = self.kind.spawn(["-e", PROGRAM], &[], &environment, &self.home, &theirs, streams)?;
        let (given, own) = (self.given.clone(), Own { mark, stdin });
        let spare = Spare { pid, socket, given, outputs: Some(outputs), own: Some(own) };
        self.waiting.push(Waiting { spare, started_at: time::monotonic_ms(), ready: false });
        Ok(())
    }

    /// One is of no use any more; whether the others are.
    fn lose(&mut self, place: usize) -> bool {
        let Waiting { spare, .. } = self.waiting.remove(place);
        signal_group(spare.pid, Signal::SIGKILL);
        self.dead += 1;
        let mut buffer = [0; SAID];
        if let Some(outputs) = spare.outputs
            && let Read::Some(length) = pipes::read(&outputs.err, &mut buffer)
        {
            self.said = buffer[..length].to_vec();
        }
        self.dead < MOST_DEAD
    }

    fn starts_until(&self) -> Option<i64> {
        let starting = self.waiting.iter().find(|waiting| !waiting.ready);
        starting.map(|waiting| waiting.started_at + START_MS)
    }
}

impl Source for Ahead {
    fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Where none is ready a task starts cold.
    fn may_start(&mut self) -> bool {
        self.used_at = time::monotonic_ms();
        true
    }

    fn take(&mut self) -> Option<Spare> {
        let place = self.waiting.iter().position(|waiting| waiting.ready)?;
        self.dead = 0;
        Some(self.waiting.remove(place).spare)
    }

    fn fill(&mut self, next_mark: &mut dyn FnMut() -> ClaimId) -> io::Result<Vec<(i32, ClaimId, RawFd)>> {
        let begun = self.waiting.len();
        while self.waiting.len() < self.most {
            self.add(next_mark())?;
        }
        let new = self.waiting[begun..].iter().map(|waiting| &waiting.spare);
        Ok(new.filter_map(|spare| Some((spare.pid, spare.mark()?, spare.socket.as_raw_fd()))).collect())
    }

    fn read(&mut self) -> bool {
        let mut place = 0;
        while let Some(waiting) = self.waiting.get_mut(place) {
            match pipes::read(&waiting.spare.socket, &mut [0]) {
                Read::Some(_) => waiting.ready = true,
                Read::Later => place += 1,
                Read::End if self.lose(place) => {}
                Read::End => return false,
            }
        }
        true
    }

    fn died(&mut self, pid: i32) -> bool {
        let place = self.waiting.iter().position(|waiting| waiting.spare.pid == pid);
        place.is_none_or(|place| self.lose(place))
    }

    fn said(&mut self) -> String {
        String::from_utf8_lossy(&self.said).trim().to_owned()
    }

    /// Lost, they were none.
    fn is_useful(&self) -> bool {
        false
    }

    fn used_at(&self) -> i64 {
        self.used_at
    }

    fn knows(&self, pid: i32) -> bool {
        self.waiting.iter().any(|waiting| waiting.spare.pid == pid)
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.waiting.iter().map(|waiting| waiting.spare.socket.as_fd()).collect()
    }

    /// Nothing is expected of them.
    fn is_idle(&self) -> bool {
        self.used_at + IDLE_MS <= time::monotonic_ms() || self.starts_until().is_none()
    }

    fn ends_at(&self) -> i64 {
        let idle = self.used_at + IDLE_MS;
        self.starts_until().map_or(idle, |until| until.min(idle))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        for waiting in &self.waiting {
            // Our children and not reaped, or they would be known no more.
            signal_group(waiting.spare.pid, Signal::SIGKILL);
        }
    }
}
