//! A fork that waits for its task.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::{AccessFlags, access};

use crate::keeper::process::in_memory;
use crate::sys::{self, Bound, Spawn, SpawnError};

/// A child of this process, in a session of its own, that becomes what it is told on its socket, once. Dropped, it ends.
#[derive(Debug)]
pub(in crate::keeper) struct Spare {
    pub pid: i32,
    pub(super) socket: OwnedFd,
    /// The environment that its server was given; a task's has all of these names.
    pub(super) given: Rc<BTreeSet<CString>>,
}

impl Spare {
    /// Makes it the process of a task; false where it cannot be that one.
    ///
    /// # Errors
    /// When a bound cannot be had.
    pub(in crate::keeper) fn become_task(self, what: &Spawn<'_>) -> Result<bool, SpawnError> {
        if access(what.cwd.as_c_str(), AccessFlags::X_OK).is_err() {
            // Started cold it says why.
            return Ok(false);
        }
        for bound in what.bounds {
            sys::bind(self.pid, bound).map_err(|error| SpawnError::Bound(*bound, error))?;
        }
        Ok(self.tell(what).is_ok())
    }

    /// One message: the descriptors of what it is to be, and of its streams.
    fn tell(&self, what: &Spawn<'_>) -> io::Result<()> {
        let task = in_memory(&self.described(what))?;
        let mut descriptors: Vec<RawFd> =
            vec![task.as_raw_fd(), what.stdin.as_raw_fd(), what.stdout.as_raw_fd(), what.stderr.as_raw_fd()];
        descriptors.extend(what.value.map(|value| value.as_raw_fd()));
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(self.socket.as_raw_fd(), &[IoSlice::new(b".")], &rights, flags, None)?;
        Ok(())
    }

    /// Umask (or nothing), working directory, number of arguments, arguments, and the variables that its server was not
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
