//! The only unsafe code of the crate: what the keeper needs of the kernel and no safe wrapper offers.
//!
//! Invariants: [`spawn`] is called from a single-threaded process (the keeper), so between fork and
//! exec no lock can be held by another thread; the child calls async-signal-safe functions only
//! (signal-safety(7)) and everything it needs was allocated before the fork.
#![expect(unsafe_code, reason = "the one audited module")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// A program to start, all of it prepared.
#[derive(Debug)]
pub struct Spawn<'a> {
    pub program: &'a CString,
    pub argv: &'a [CString],
    pub environment: &'a [CString],
    pub cwd: &'a CString,
    pub stdin: BorrowedFd<'a>,
    pub stdout: BorrowedFd<'a>,
    pub stderr: BorrowedFd<'a>,
    /// Stays open in the program under its present number.
    pub value: Option<BorrowedFd<'a>>,
}

/// What the kernel says of a child that was reaped.
#[derive(Debug, Clone, Copy)]
pub struct Reaped {
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    /// User and system, µs.
    pub cpu_us: i64,
    /// Bytes.
    pub max_rss: i64,
}

/// Which step of starting a program failed.
#[derive(Debug)]
pub enum SpawnError {
    Fork(io::Error),
    Cwd(io::Error),
    Exec(io::Error),
}

const STEP_CWD: u8 = 1;
const STEP_EXEC: u8 = 2;

/// Starts a program in a session and process group of its own; it dies with this process.
/// `started` is called with the pid before the program runs its first instruction at the latest.
///
/// # Errors
/// When there is no process to be had, or the program or its folder cannot be used.
pub fn spawn(what: &Spawn<'_>, started: impl FnOnce(i32)) -> Result<i32, SpawnError> {
    let argv = pointers(what.argv);
    let environment = pointers(what.environment);
    let (failure, in_child) = pipe().map_err(SpawnError::Fork)?;
    // SAFETY: the process has one thread, and the child only calls `child`, which is async-signal-safe.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: the pointers were made above from what lives until exec; this is the child of fork.
        unsafe { child(what, argv.as_ptr(), environment.as_ptr(), in_child.as_raw_fd()) }
    }
    if pid < 0 {
        return Err(SpawnError::Fork(io::Error::last_os_error()));
    }
    drop(in_child);
    started(pid);
    let mut report = [0_u8; 5];
    let mut file = std::fs::File::from(failure);
    match io::Read::read_exact(&mut file, &mut report) {
        // Closed by exec: it runs.
        Err(_) => Ok(pid),
        Ok(()) => {
            let [step, code @ ..] = report;
            reap(pid);
            let error = io::Error::from_raw_os_error(i32::from_ne_bytes(code));
            Err(if step == STEP_CWD { SpawnError::Cwd(error) } else { SpawnError::Exec(error) })
        }
    }
}

/// # Safety
/// Only in the child of a fork of a single-threaded process; `argv` and `environment` end with null.
unsafe fn child(
    what: &Spawn<'_>,
    argv: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    report: i32,
) -> ! {
    // SAFETY: every call is on the list of signal-safety(7) or a bare system call, with valid pointers.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        for signal in [libc::SIGPIPE, libc::SIGCHLD, libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGQUIT] {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::dup2(what.stdin.as_raw_fd(), 0);
        libc::dup2(what.stdout.as_raw_fd(), 1);
        libc::dup2(what.stderr.as_raw_fd(), 2);
        if let Some(value) = what.value {
            libc::fcntl(value.as_raw_fd(), libc::F_SETFD, 0);
        }
        let mut step = STEP_CWD;
        if libc::chdir(what.cwd.as_ptr()) == 0 {
            step = STEP_EXEC;
            libc::execve(what.program.as_ptr(), argv, environment);
        }
        let [a, b, c, d] = (*errno()).to_ne_bytes();
        let failed = [step, a, b, c, d];
        libc::write(report, failed.as_ptr().cast(), failed.len());
        libc::_exit(127)
    }
}

#[cfg(target_os = "android")]
unsafe fn errno() -> *mut i32 {
    // SAFETY: always a valid pointer (errno(3)).
    unsafe { libc::__errno() }
}

#[cfg(not(target_os = "android"))]
unsafe fn errno() -> *mut i32 {
    // SAFETY: always a valid pointer (errno(3)).
    unsafe { libc::__errno_location() }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both are new and owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Reaps a child that is dead or about to be; none if it is no child of ours.
pub fn reap(pid: i32) -> Option<Reaped> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is valid, and both pointers are valid for writing.
    let (reaped, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid, &raw mut status, 0, &raw mut usage), usage)
    };
    if reaped != pid {
        return None;
    }
    let micros = |t: libc::timeval| t.tv_sec * 1_000_000 + t.tv_usec;
    Some(Reaped {
        exit_code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        cpu_us: micros(usage.ru_utime) + micros(usage.ru_stime),
        max_rss: usage.ru_maxrss * 1024,
    })
}

/// A pipe whose reading end does not block; both close on exec.
///
/// # Errors
/// When no descriptors are left.
pub fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reading, writing) = pipe()?;
    // SAFETY: a plain fcntl on a descriptor that we own.
    if unsafe { libc::fcntl(reading.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((reading, writing))
}

/// Owns a descriptor that this process opened before it replaced itself by this program; closed on exec again.
///
/// # Errors
/// When it is not open.
pub fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: plain fcntl; a number that is no descriptor is an error.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and the program that owned it is gone: it named each descriptor once in what it left.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
