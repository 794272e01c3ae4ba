//! One fork-server: what it is prepared for, what it has said, and its forks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSliceMut, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, socketpair};
use nix::unistd::Pid;

use super::spare::Spare;
use crate::home::Home;
use crate::keeper::MARK;
use crate::keeper::environment::Environment;
use crate::keeper::pipes::{self, Read};
use crate::keeper::protocol::LaunchProcess;
use crate::sys::{self, Spawn, SpawnError};
use crate::task::Prepared;
use crate::time;

/// What a fork-server runs.
const PROGRAM: &str = include_str!("server.py");
/// So many forks are made at a time: a helper makes them and ends, so that they become the keeper's, and it is a
/// fork itself.
const BATCH: u8 = 8;
/// More are made when so few are left.
const FEW: usize = 8;
/// A server that nobody has used for so long ends, ms.
const IDLE_MS: i64 = 60_000;
/// How long it may take to import what it is to import, and to make its forks, ms.
const START_MS: i64 = 60_000;
const FORK_MS: i64 = 5_000;
/// What is kept of what it writes, in bytes.
const SAID: usize = 2 * 1024;
/// Variables of a task's own that an interpreter, or a library at its import, reads at its start; these prefixes. The
/// others are set when a fork becomes the task.
const AT_START: &[&str] = &[
    "PYTHON",
    "LD_",
    "LC_",
    "LANG",
    "TZ",
    "PATH",
    "HOME",
    "VIRTUAL_ENV",
    "CONDA",
    "MALLOC_",
    "GLIBC_",
    "OMP_",
    "OPENBLAS_",
    "MKL_",
    "BLIS_",
    "NUMEXPR_",
    "NUMBA_",
    "CUDA_",
];

/// What a fork-server is prepared for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    program: String,
    /// The zeroth argument.
    name: String,
    pub imports: Vec<String>,
    /// The id of the environment beneath.
    pub environment: i64,
    variables: Vec<(String, String)>,
    /// The working directory, where the interpreter depends on it.
    folder: Option<String>,
}

impl Kind {
    pub(super) fn of(launch: &LaunchProcess, environment: Option<&Environment>) -> Self {
        let own = launch.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let beneath = environment.into_iter().flat_map(Environment::iter);
        let path = own.chain(beneath).find(|(name, _)| *name == "PYTHONPATH").map(|(_, path)| path);
        let is_relative = path.is_some_and(|path| path.split(':').any(|part| !part.starts_with('/')));
        Self {
            folder: (is_relative || is_script(&launch.program)).then(|| launch.cwd.clone()),
            program: launch.program.clone(),
            name: launch.argv.first().cloned().unwrap_or_default(),
            imports: imports(launch).cloned().unwrap_or_default(),
            environment: launch.environment,
            variables: at_start(launch).cloned().collect(),
        }
    }

    pub(super) fn fits(&self, launch: &LaunchProcess) -> bool {
        self.program == launch.program
            && Some(&self.name) == launch.argv.first()
            && Some(&self.imports) == imports(launch)
            && self.environment == launch.environment
            && self.variables.iter().eq(at_start(launch))
            && self.folder.as_ref().is_none_or(|folder| *folder == launch.cwd)
    }
}

/// What is to be imported for it, where it may run in a fork.
pub(super) fn imports(launch: &LaunchProcess) -> Option<&Vec<String>> {
    match &launch.prepared {
        Some(Prepared::Forks { imports }) => Some(imports),
        Some(Prepared::Worker) | None => None,
    }
}

/// Whether a program is a script, which may choose the interpreter by the folder that it is in, as pyenv's do.
fn is_script(program: &str) -> bool {
    let mut begin = [0; 2];
    File::open(program).and_then(|mut file| file.read_exact(&mut begin)).is_ok() && begin == *b"#!"
}

fn at_start(launch: &LaunchProcess) -> impl Iterator<Item = &(String, String)> {
    launch.variables.iter().filter(|(name, _)| AT_START.iter().any(|prefix| name.starts_with(prefix)))
}

/// A fork-server that runs.
#[derive(Debug)]
pub(super) struct Server {
    pub kind: Kind,
    pub pid: i32,
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
    pub useful: bool,
    /// Since when forks are on their way, monotonic ms.
    asked_at: Option<i64>,
    /// Monotonic ms.
    pub used_at: i64,
}

impl Server {
    pub(super) fn start(launch: &LaunchProcess, environment: Option<&Environment>, home: &Home) -> io::Result<Self> {
        let kind = Kind::of(launch, environment);
        let (control, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let (output, writing) = sys::output_pipe()?;
        let stdin = File::open("/dev/null")?;
        let root = home.root().display().to_string();
        let mut variables: BTreeMap<&str, &str> = environment.into_iter().flat_map(Environment::iter).collect();
        variables.extend(kind.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        // Names that every task has: they are there, with values of their own, before any fork.
        let own = launch.variables.iter().filter(|(name, _)| name.starts_with("BATCH_EXECUTOR_"));
        variables.extend(own.map(|(name, value)| (name.as_str(), value.as_str())));
        // Of no claim yet, and wide enough for any: a fork writes its own in its place.
        variables.extend([(MARK, "00000000000000000000"), ("BATCH_EXECUTOR_HOME", root.as_str())]);
        let text = |text: String| CString::new(text).map_err(io::Error::other);
        let environment =
            variables.iter().map(|(name, value)| text(format!("{name}={value}"))).collect::<io::Result<Vec<_>>>()?;
        let (number, keeper) = (theirs.as_raw_fd().to_string(), std::process::id().to_string());
        let words = [kind.name.as_str(), "-c", PROGRAM, &number, &keeper].into_iter().map(str::to_owned);
        let argv = words.chain(kind.imports.iter().cloned()).map(text).collect::<io::Result<Vec<_>>>()?;
        let pid = sys::spawn(&Spawn {
            program: &text(kind.program.clone())?,
            argv: &argv,
            environment: &environment.iter().map(CString::as_c_str).collect::<Vec<_>>(),
            cwd: &text(kind.folder.clone().unwrap_or(root))?,
            stdin: stdin.as_fd(),
            stdout: writing.as_fd(),
            stderr: writing.as_fd(),
            value: Some(theirs.as_fd()),
            bounds: &[],
        })
        .map_err(|error| match error {
            SpawnError::Fork(error)
            | SpawnError::Bound(_, error)
            | SpawnError::Cwd(error)
            | SpawnError::Exec(error) => error,
        })?;
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

    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        [Some(&self.control), self.output.as_ref()].into_iter().flatten().map(AsRawFd::as_raw_fd)
    }

    pub(super) fn descriptor(&self, fd: RawFd) -> Option<BorrowedFd<'_>> {
        let own = [Some(&self.control), self.output.as_ref()].into_iter().flatten();
        own.map(AsFd::as_fd).find(|own| own.as_raw_fd() == fd)
    }

    /// As [`super::Warm::may_start`].
    pub(super) fn may_start(&mut self) -> bool {
        self.used_at = time::monotonic_ms();
        self.ask();
        !(self.ready && self.spares.is_empty() && self.asked_at.is_some())
    }

    pub(super) fn take(&mut self) -> Option<Spare> {
        let spare = self.spares.pop_front();
        self.useful |= spare.is_some();
        self.ask();
        spare
    }

    /// Asks for more forks where few are left.
    fn ask(&mut self) {
        if self.asked_at.is_none() && self.spares.len() <= FEW {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            // One that cannot be asked is dead, which its socket tells.
            self.asked_at = send(self.control.as_raw_fd(), &[BATCH], flags).ok().map(|_| time::monotonic_ms());
        }
    }

    /// Reads what it has said; false when it is gone.
    pub(super) fn read(&mut self) -> bool {
        self.listen();
        loop {
            match self.hear() {
                Ok(true) => {}
                Err(Errno::EAGAIN) => return true,
                Ok(false) | Err(_) => return false,
            }
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
            (Ok(pid), Some(socket)) => self.told.push(Spare { pid, socket, given: self.given.clone() }),
            _ if said == "forked" => {
                self.ready = true;
                self.asked_at = None;
                self.spares.extend(self.told.drain(..));
            }
            _ => {}
        }
        Ok(length > 0)
    }

    /// The last of what it wrote.
    pub(super) fn said(&mut self) -> String {
        self.listen();
        String::from_utf8_lossy(&self.said).trim_end().to_owned()
    }

    pub(super) fn knows(&self, pid: i32) -> bool {
        self.pid == pid || self.told.iter().chain(&self.spares).any(|spare| spare.pid == pid)
    }

    /// Nothing is expected of it.
    pub(super) fn is_idle(&self) -> bool {
        self.asked_at.is_none()
    }

    /// When it is to end, if nothing happens before; monotonic ms.
    pub(super) fn ends_at(&self) -> i64 {
        match self.asked_at {
            Some(at) => at + if self.ready { FORK_MS } else { START_MS },
            None => self.used_at + IDLE_MS,
        }
    }

    /// Ends it, and with their sockets its forks.
    pub(super) fn end(self) {
        // Our child and not reaped, or its pid would have come to nobody.
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
    }
}
