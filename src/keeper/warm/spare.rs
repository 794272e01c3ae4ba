//! A process that waits for its task.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use nix::sys::socket::{ControlMessage, MsgFlags, send, sendmsg};
use nix::unistd::{AccessFlags, access};

use crate::keeper::process::{Outputs, in_memory};
use crate::keeper::protocol::LaunchProcess;
use crate::sys::{self, Bound, Spawn, SpawnError};
use crate::task::ClaimId;

/// How a message is sent.
const AT_ONCE: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// A child of this process, in a session of its own, that becomes what it is told on its socket, once. Dropped, it ends.
#[derive(Debug)]
pub(in crate::keeper) struct Spare {
    pub pid: i32,
    pub(super) socket: OwnedFd,
    /// The environment that it was given; a task's has all of these names.
    pub(super) given: Rc<BTreeSet<CString>>,
    /// What it writes to; none where it is given that with its task, as a fork is.
    pub outputs: Option<Outputs>,
    /// None for a fork.
    pub(super) own: Option<Own>,
}

/// What a process that is no fork has from its start, for it can be given none of it later.
#[derive(Debug)]
pub(super) struct Own {
    /// What it and its descendants carry in the place of a claim.
    pub mark: ClaimId,
    /// An empty file in memory.
    pub stdin: File,
}

/// A process that was told to become a task's.
#[derive(Debug)]
pub(in crate::keeper) struct Told {
    pub pid: i32,
    /// Where it says that it begins with it; none of a fork, which does.
    pub begins: Option<OwnedFd>,
}

impl Spare {
    /// What it and its descendants carry in the place of a claim, if they do.
    pub(in crate::keeper) fn mark(&self) -> Option<ClaimId> {
        self.own.as_ref().map(|own| own.mark)
    }

    /// Makes it the process of a task; none where it cannot be that one.
    ///
    /// # Errors
    /// When a bound cannot be had.
    pub(in crate::keeper) fn become_task(
        self,
        what: &Spawn<'_>,
        launch: &LaunchProcess,
    ) -> Result<Option<Told>, SpawnError> {
        if access(what.cwd.as_c_str(), AccessFlags::X_OK).is_err() {
            // Started cold it says why.
            return Ok(None);
        }
        for bound in what.bounds {
            sys::bind(self.pid, bound).map_err(|error| SpawnError::Bound(*bound, error))?;
        }
        let is_told = match &self.own {
            None => self.tell(what),
            Some(own) => self.write(own, what, launch),
        };
        let is_own = self.own.is_some();
        Ok(is_told.ok().map(|()| Told { pid: self.pid, begins: is_own.then_some(self.socket) }))
    }

    /// One message: the descriptors of what it is to be, and of its streams.
    fn tell(&self, what: &Spawn<'_>) -> io::Result<()> {
        let task = in_memory(&self.described(what))?;
        let mut descriptors: Vec<RawFd> =
            vec![task.as_raw_fd(), what.stdin.as_raw_fd(), what.stdout.as_raw_fd(), what.stderr.as_raw_fd()];
        descriptors.extend(what.value.map(|value| value.as_raw_fd()));
        let rights = [ControlMessage::ScmRights(&descriptors)];
        sendmsg::<()>(self.socket.as_raw_fd(), &[IoSlice::new(b".")], &rights, AT_ONCE, None)?;
        Ok(())
    }

    /// Its length, and what it is to be: begun with the path of what it reads, where that is not the file that it has.
    fn write(&self, own: &Own, what: &Spawn<'_>, launch: &LaunchProcess) -> io::Result<()> {
        // By place: the offset is the process's, too.
        own.stdin.write_all_at(&launch.stdin, 0)?;
        let path = match &launch.stdin_file {
            Some(path) => path.as_str(),
            None if launch.stdin.is_empty() => "/dev/null",
            None => "",
        };
        let task = [path.as_bytes(), &self.described(what)].join(&0);
        let length = u32::try_from(task.len()).map_err(io::Error::other)?;
        let message = [&length.to_le_bytes()[..], &task].concat();
        // What the socket has no room for nobody waits to write.
        match send(self.socket.as_raw_fd(), &message, AT_ONCE)? {
            sent if sent == message.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Umask (or nothing), working directory, number of arguments, arguments, and the variables that it was not
    /// given so; each ends with NUL but the last. All others stay, as a script that starts the interpreter may
    /// have changed them.
    fn described(&self, what: &Spawn<'_>) -> Vec<u8> {
        let umask = what.bounds.iter().find_map(|bound| match bound {
            Bound::Umask(mask) => Some(mask.to_string()),
            _ => None,
        });
        let (umask, count) = (umask.unwrap_or_default(), what.argv.len().to_string());
        let head = [umask.as_bytes(), what.cwd.as_bytes(), count.as_bytes()];
        let changed = what.environment.iter().copied().filter(|variable| !self.given.contains(*variable));
        let words = what.argv.iter().map(CString::as_c_str).chain(changed).map(CStr::to_bytes);
        head.into_iter().chain(words).collect::<Vec<_>>().join(&0)
    }
}
