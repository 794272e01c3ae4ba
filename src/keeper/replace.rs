//! Replacing the keeper by another program under running tasks: execve(2) keeps the pid, and with it the
//! children and the POSIX lock; the descriptors stay open, and the table travels in a memfd.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::Options;
use super::table::{Inherited, Table};
use crate::home::Home;

/// What an earlier self of this process left.
pub(super) struct Adopted {
    pub lock: File,
    pub listener: UnixListener,
    pub table: Table,
}

/// Runs the program at `path` in this process; comes back only when that fails.
pub(super) fn replace_by(
    path: &Path,
    home: &Home,
    options: Options,
    lock: &File,
    listener: &UnixListener,
    table: &Table,
) -> io::Error {
    let written = rmp_serde::to_vec_named(&(lock.as_raw_fd(), listener.as_raw_fd(), table)).map_err(io::Error::other);
    let memory = match written.and_then(|bytes| in_memory(&bytes)) {
        Ok(memory) => memory,
        Err(error) => return error,
    };
    let pipes = table.running.values().flat_map(|running| running.shared()).map(AsFd::as_fd);
    let kept: Vec<BorrowedFd<'_>> = pipes.chain([lock.as_fd(), listener.as_fd(), memory.as_fd()]).collect();
    let inherit = |flag| {
        for fd in &kept {
            // Does not fail for a descriptor that is open.
            let _ = fcntl(fd, FcntlArg::F_SETFD(flag));
        }
    };
    inherit(FdFlag::empty());
    let error = Command::new(path)
        .arg("keeper")
        .arg("--home")
        .arg(home.root())
        .args(["--log-cap-bytes", &options.log_cap_bytes.to_string()])
        .args(["--floor-bytes", &options.floor_bytes.to_string()])
        .args(["--patience-ms", &options.patience_ms.to_string()])
        .args(["--adopt", &memory.as_raw_fd().to_string()])
        .exec();
    inherit(FdFlag::FD_CLOEXEC);
    error
}

fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut memory = File::from(memfd_create("keeper", MFdFlags::MFD_CLOEXEC)?);
    memory.write_all(bytes)?;
    memory.rewind()?;
    Ok(memory)
}

/// Takes over what the descriptor `memory` describes.
pub(super) fn adopt(memory: RawFd) -> io::Result<Adopted> {
    let mut bytes = Vec::new();
    File::from(OwnedFd::try_from(Inherited(memory))?).read_to_end(&mut bytes)?;
    let (lock, listener, table): (RawFd, RawFd, Table) = rmp_serde::from_slice(&bytes).map_err(io::Error::other)?;
    Ok(Adopted {
        lock: OwnedFd::try_from(Inherited(lock))?.into(),
        listener: OwnedFd::try_from(Inherited(listener))?.into(),
        table,
    })
}
