//! One fork-server: what it has said, and its forks.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, socketpair};
use nix::unistd::Pid;

use super::kind::{self, Kind};
use super::spare::Spare;
use super::{IDLE_MS, SAID, START_MS, Source};
use crate::home::Home;
use crate::keeper::MARK;
use crate::keeper::environment::Environment;
use crate::keeper::pipes::{self, Read};
use crate::keeper::protocol::LaunchProcess;
use crate::sys;
use crate::task::Prepared;
use crate::time;

/// What a fork-server runs.
const PROGRAM: &str = include_str!("server.py");
/// So many forks are made at a time: a helper makes them and ends, so that they become the keeper's, and it is a
/// fork itself.
const BATCH: u8 = 8;
/// More are made when so few are left.
const FEW: usize = 8;
/// How long it may take to make them, ms.
const FORK_MS: i64 = 5_000;

/// A fork-server that runs. Dropped, it ends, and with their sockets its forks.
#[derive(Debug)]
pub(super) struct Server {
    kind: Kind,
    pid: i32,
    control: OwnedFd,
    /// The environment that it was given.
    given: Rc<BTreeSet<CString>>,
    output: Option<OwnedFd>,
    said: Vec<u8>,
    /// Forks that were told of, but are not this process's children yet.
    told: Vec<Spare>,
    spares: VecDeque<Spare>,
    /// It has made forks.
    ready: bool,
    /// A task has had one.
    useful: bool,
    /// Since when forks are on their way, monotonic ms.
    asked_at: Option<i64>,
    /// Monotonic ms.
    used_at: i64,
}

impl Server {
    pub(super) fn start(
        launch: &LaunchProcess,
        kind: Kind,
        beneath: Option<&Environment>,
        home: &Home,
    ) -> io::Result<Self> {
        let (control, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let (output, writing) = sys::output_pipe()?;
        let stdin = File::open("/dev/null")?;
        let mut variables = kind.variables(launch, beneath, home);
        // Of no claim yet, and wide enough for any: a fork writes its own in its place.
        variables.insert(MARK.to_owned(), "00000000000000000000".to_owned());
        let environment = kind::texts(&variables)?;
        let given: Vec<&CStr> = environment.iter().map(CString::as_c_str).collect();
        let imports = match &kind.prepared {
            Prepared::Forks { imports } => imports.as_slice(),
            Prepared::Ahead | Prepared::Worker => &[],
        };
        let streams = [stdin.as_fd(), writing.as_fd(), writing.as_fd()];
        let pid = kind.spawn(["-c", PROGRAM], imports, &given, home, &theirs, streams)?;
        let now = time::monotonic_ms();
        let mut server = Self {
            kind,
            pid,
            control,
            given: Rc::new(environment.into_iter().collect()),
            output: Some(output),
            said: Vec::new(),
            told: Vec::new(),
            spares: VecDeque::new(),
            ready: false,
            useful: false,
            asked_at: None,
            used_at: now,
        };
        server.ask();
        Ok(server)
    }

    /// Asks for more forks where few are left.
    fn ask(&mut self) {
        if self.asked_at.is_none() && self.spares.len() <= FEW {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            // One that cannot be asked is dead, which its socket tells.
            self.asked_at = send(self.control.as_raw_fd(), &[BATCH], flags).ok().map(|_| time::monotonic_ms());
        }
    }

    /// Reads what it wrote.
    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(output) = &self.output {
            match pipes::read(output, &mut buffer) {
                Read::Some(length) => {
                    self.said.extend_from_slice(&buffer[..length]);
                    self.said.drain(..self.said.len().saturating_sub(SAID));
                }
                Read::Later => break,
                Read::End => self.output = None,
            }
        }
    }

    /// Takes one message; false at the end.
    fn hear(&mut self) -> nix::Result<bool> {
        let mut text = [0; 32];
        let mut rights = nix::cmsg_space!([RawFd; 1]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let mut parts = [IoSliceMut::new(&mut text)];
        let message = recvmsg::<()>(self.control.as_raw_fd(), &mut parts, Some(&mut rights), flags)?;
        let length = message.bytes;
        let mut sockets = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = part {
                sockets.extend(numbers.into_iter().filter_map(|fd| sys::adopt(fd).ok()));
            }
        }
        let said = std::str::from_utf8(&text[..length]).unwrap_or_default();
        match (said.parse(), sockets.pop()) {
            (Ok(pid), Some(socket)) => {
                self.told.push(Spare { pid, socket, given: self.given.clone(), outputs: None, own: None })
            }
            _ if said == "forked" => {
                self.ready = true;
                self.asked_at = None;
                self.spares.extend(self.told.drain(..));
            }
            _ => {}
        }
        Ok(length > 0)
    }
}

impl Source for Server {
    fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Not while forks are on their way.
    fn may_start(&mut self) -> bool {
        self.used_at = time::monotonic_ms();
        self.ask();
        !(self.ready && self.spares.is_empty() && self.asked_at.is_some())
    }

    fn take(&mut self) -> Option<Spare> {
        let spare = self.spares.pop_front();
        self.useful |= spare.is_some();
        self.ask();
        spare
    }

    fn read(&mut self) -> bool {
        self.listen();
        loop {
            match self.hear() {
                Ok(true) => {}
                Err(Errno::EAGAIN) => return true,
                Ok(false) | Err(_) => return false,
            }
        }
    }

    fn died(&mut self, pid: i32) -> bool {
        self.pid != pid
    }

    fn said(&mut self) -> String {
        self.listen();
        String::from_utf8_lossy(&self.said).trim_end().to_owned()
    }

    fn is_useful(&self) -> bool {
        self.useful
    }

    fn used_at(&self) -> i64 {
        self.used_at
    }

    fn knows(&self, pid: i32) -> bool {
        self.pid == pid || self.told.iter().chain(&self.spares).any(|spare| spare.pid == pid)
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        [Some(&self.control), self.output.as_ref()].into_iter().flatten().map(AsFd::as_fd).collect()
    }

    fn is_idle(&self) -> bool {
        self.asked_at.is_none()
    }

    fn ends_at(&self) -> i64 {
        match self.asked_at {
            Some(at) => at + if self.ready { FORK_MS } else { START_MS },
            None => self.used_at + IDLE_MS,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Our child and not reaped, or its pid would have come to nobody.
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
    }
}
