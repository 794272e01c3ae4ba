//! The program now installed takes this process over: whether it can, what is left open for it, what is taken over.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, Flock, fcntl};

use super::signals::Signals;
use crate::failpoint;
use crate::home::Home;
use crate::sys;

/// How long the program that is to take over may take to say that it can.
const CHECK_PATIENCE: Duration = Duration::from_secs(10);
/// The flag with what one program leaves open for the next: `--inherited=LOCK:LISTENER`.
const INHERITED: &str = "inherited";

/// The descriptors that the program before this one, in the same process, left open: the home stays locked
/// and its clients wait instead of finding nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited {
    lock: RawFd,
    listener: RawFd,
}

impl std::str::FromStr for Inherited {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers =
            text.split_once(':').and_then(|(lock, listener)| Some((lock.parse().ok()?, listener.parse().ok()?)));
        numbers.map(|(lock, listener)| Self { lock, listener }).ok_or_else(|| "two descriptors are needed".to_owned())
    }
}

/// This process's arguments, without what is said of descriptors that were inherited.
fn own_arguments() -> impl Iterator<Item = OsString> {
    let inherited = format!("--{INHERITED}=");
    std::env::args_os().skip(1).filter(move |argument| !argument.as_bytes().starts_with(inherited.as_bytes()))
}

/// Whether the program now installed could take over: it runs, and finds a good configuration and a queue
/// that it knows.
pub(super) async fn check(program: &Path) -> Result<(), String> {
    let mut command = tokio::process::Command::new(program);
    command.args(own_arguments()).arg("--check").stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(CHECK_PATIENCE, command.output()).await {
        Err(_) => return Err(format!("`{}` did not answer within {CHECK_PATIENCE:?}", program.display())),
        Ok(Err(error)) => return Err(format!("`{}` cannot be run: {error}", program.display())),
        Ok(Ok(output)) => output,
    };
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

/// Becomes the program now installed, in this process. Comes back only when that cannot be done.
pub(super) fn become_program(program: &Path, lock: &Flock<File>, listener: &OwnedFd) -> io::Error {
    let handed_over = format!("--{INHERITED}={}:{}", lock.as_raw_fd(), listener.as_raw_fd());
    // A signal in between would end the process: it waits until the new program's handlers are in.
    let ready = stays_open(&**lock).and_then(|()| stays_open(listener)).and_then(|()| {
        Signals::all().thread_block()?;
        Ok(())
    });
    match ready {
        Ok(()) => {
            failpoint::reach("before-exec");
            Command::new(program).args(own_arguments()).arg(handed_over).exec()
        }
        Err(error) => error,
    }
}

/// Lets a descriptor outlive this program in this process.
fn stays_open(fd: impl AsFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

/// Takes the descriptors over that the program before left open, if they are what they are said to be.
pub(super) fn adopt(home: &Home, inherited: Option<Inherited>) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
    let Some(Inherited { lock, listener }) = inherited else { return Ok(None) };
    let behind = |fd: RawFd| std::fs::metadata(format!("/proc/self/fd/{fd}")).map(|meta| (meta.dev(), meta.ino()));
    let named = std::fs::metadata(home.lock())?;
    if behind(lock)? != (named.dev(), named.ino()) || lock == listener {
        return Err(io::Error::other("the inherited descriptors are not this home's"));
    }
    let (lock, listener) = (sys::adopt(lock)?, sys::adopt(listener)?);
    Ok(Some((lock, listener)))
}
