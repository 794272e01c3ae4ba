//! The small process that owns the children and outlives the daemon.
//!
//! One thread, no tokio, no SQLite. It starts the waiting attempts in order as slots free, drains their
//! output, ends what it is told to, and keeps every end until the daemon has it on disk. The cap
//! lives here. The core (`core`) knows nothing of the socket (`front`).

mod capture;
mod core;
mod daemon;
mod environment;
mod events;
mod front;
mod groups;
mod oom;
mod orphans;
mod pipes;
mod process;
pub mod protocol;
mod replace;
mod room;
pub mod slots;
mod suspension;
mod table;
mod warm;

pub(crate) use orphans::{all_pids, mark, variable};

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::RawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};

use crate::home::{self, Home};
use crate::sys;

/// The mark that every task carries in its environment, with its claim as value; what escapes is found by it.
pub const MARK: &str = "BATCH_EXECUTOR_CLAIM";
/// What a keeper that serves writes to its standard output.
pub const READY: &[u8] = b"ready\n";

/// What the keeper needs to know beside its home.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The cap of an attempt's log file, in bytes.
    pub log_cap_bytes: u64,
    /// What tasks' output must leave free on the disk, in bytes.
    pub floor_bytes: u64,
    /// How long after the last daemon left what nobody took is stored, so that the keeper may leave, in ms.
    pub patience_ms: i64,
    /// The descriptor with what an earlier program in this process left: [`protocol::ToKeeper::Become`].
    pub adopt: Option<RawFd>,
}

/// Runs the keeper of `home` until it may leave; gives the exit code: 75 when another one holds the home.
pub fn run(home: &Home, options: Options) -> u8 {
    match serve(home, options) {
        Ok(()) => 0,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 75,
        Err(error) => {
            tracing::error!(err = %error, "the keeper failed");
            // Where READY was to come, the daemon reads why it does not.
            drop(writeln!(io::stdout(), "{error}"));
            if error.kind() == io::ErrorKind::PermissionDenied { 77 } else { 70 }
        }
    }
}

fn serve(home: &Home, options: Options) -> io::Result<()> {
    // Fails only where it is a session's leader already, which is as good.
    let _ = nix::unistd::setsid();
    std::env::set_current_dir(home.root())?;
    sys::adopt_orphans()?;
    let mut front = match options.adopt {
        Some(memory) => front::Front::new(home, options, replace::adopt(memory)?)?,
        None => {
            let lock = lock(&home.keeper_lock())?.ok_or(io::ErrorKind::WouldBlock)?;
            let untaken = events::Untaken::load(&home.keeper_ends())?;
            let table = table::Table { untaken, ..table::Table::default() };
            let listener = bind(&home.keeper_socket())?;
            front::Front::new(home, options, replace::Adopted { lock, listener, table })?
        }
    };
    let mut stdout = io::stdout();
    // Whoever started it may be gone by now.
    drop(stdout.write_all(READY).and_then(|()| stdout.flush()));
    front.run()
}

/// Binds the keeper's socket. Only under the lock: whoever left one there is dead.
fn bind(socket: &Path) -> io::Result<UnixListener> {
    drop(std::fs::remove_file(socket));
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the keeper's lock; none if another process holds it. POSIX, so children do not inherit it.
///
/// # Errors
/// When the lock's file cannot be used.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = lock_file(path)?;
    match fcntl(&file, FcntlArg::F_SETLK(&WHOLE)) {
        Ok(_) => Ok(Some(file)),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits until no keeper lives: the proof is its lock. Holds nothing when it returns.
///
/// # Errors
/// When the lock's file cannot be used.
pub(crate) fn wait_for_its_death(path: &Path) -> io::Result<()> {
    let file = lock_file(path)?;
    loop {
        match fcntl(&file, FcntlArg::F_SETLKW(&WHOLE)) {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    home::open_file(path, File::options().create(true).read(true).write(true))
}

/// A lock on a whole file, for writing (fcntl(2)).
const WHOLE: nix::libc::flock = nix::libc::flock {
    l_type: nix::libc::F_WRLCK as nix::libc::c_short,
    l_whence: nix::libc::SEEK_SET as nix::libc::c_short,
    l_start: 0,
    l_len: 0,
    l_pid: 0,
};
