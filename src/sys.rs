//! The only unsafe code of the crate: what the keeper needs of the kernel and no safe wrapper offers.
//!
//! Invariants: [`spawn`] is called from a single-threaded process (the keeper) that has no signal handlers, so between
//! clone and exec nothing else runs in the memory that parent and child share; the child calls async-signal-safe
//! functions only (signal-safety(7)) and everything it needs was allocated before. [`adopt`] is given each number once.
#![expect(unsafe_code, reason = "the one audited module")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// A program to start, all of it prepared.
#[derive(Debug)]
pub struct Spawn<'a> {
    pub program: &'a CString,
    pub argv: &'a [CString],
    pub environment: &'a [&'a CStr],
    pub cwd: &'a CString,
    pub stdin: BorrowedFd<'a>,
    pub stdout: BorrowedFd<'a>,
    pub stderr: BorrowedFd<'a>,
    /// Stays open in the program under its present number.
    pub value: Option<BorrowedFd<'a>>,
    /// A control group's `cgroup.procs`, in which it begins.
    pub group: Option<BorrowedFd<'a>>,
    /// What it is limited by, set in this order.
    pub bounds: &'a [Bound],
}

/// One thing that bounds a program from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Bytes.
    Data(u64),
    /// Seconds until SIGXCPU; SIGKILL comes after [`CPU_GRACE`] more.
    Cpu(u64),
    OpenFiles(u64),
    Nice(i32),
    /// As ioprio_set(2) has it.
    IoPriority(i32),
    Umask(u32),
}

/// CPU seconds between SIGXCPU and SIGKILL.
const CPU_GRACE: u64 = 2;

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
    Group(io::Error),
    /// The bound that cannot be had.
    Bound(Bound, io::Error),
    Cwd(io::Error),
    Exec(io::Error),
}

const STEP_CWD: usize = 1;
const STEP_EXEC: usize = 2;
const STEP_GROUP: usize = 3;
/// That of the first bound; the others follow.
const STEP_BOUND: usize = 4;
/// What the child needs until exec, in bytes.
const STACK: usize = 64 * 1024;

/// What the child of [`spawn`] works with, in memory that it shares with its parent.
struct Child<'a> {
    what: &'a Spawn<'a>,
    argv: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    /// The step that failed (0: none), and the error's number; written by the child.
    failed: (usize, i32),
}

/// Starts a program in a session and process group of its own; it dies with this process.
///
/// As posix_spawn(3) does it: the child borrows this process's memory on a stack of its own, and this process waits
/// until it has called exec or ended (`CLONE_VM | CLONE_VFORK`), so that no page table is copied.
///
/// # Errors
/// When there is no process to be had, or the program or its folder cannot be used.
pub fn spawn(what: &Spawn<'_>) -> Result<i32, SpawnError> {
    let argv = pointers(what.argv);
    let environment = pointers(what.environment);
    let mut child = Child { what, argv: argv.as_ptr(), environment: environment.as_ptr(), failed: (0, 0) };
    let mut stack = Box::<[u128]>::new_uninit_slice(STACK / size_of::<u128>());
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: the stack is aligned, large enough for `run`, and lives until the child has left it, for CLONE_VFORK
    // returns only then; so does `child`. This process has one thread, so nobody else looks at the shared memory.
    let pid = unsafe {
        libc::clone(run, top.cast(), libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, (&raw mut child).cast())
    };
    if pid < 0 {
        return Err(SpawnError::Fork(io::Error::last_os_error()));
    }
    // SAFETY: the child wrote it through the pointer that it was given, and is done.
    let (step, code) = unsafe { (&raw const child.failed).read_volatile() };
    let error = || {
        reap(pid);
        io::Error::from_raw_os_error(code)
    };
    match step {
        0 => Ok(pid),
        STEP_CWD => Err(SpawnError::Cwd(error())),
        STEP_EXEC => Err(SpawnError::Exec(error())),
        STEP_GROUP => Err(SpawnError::Group(error())),
        bound => Err(SpawnError::Bound(what.bounds[bound - STEP_BOUND], error())),
    }
}

/// The child of [`spawn`] until exec.
extern "C" fn run(child: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `spawn` passes a `Child` that outlives this. Every call is on the list of signal-safety(7) or a bare
    // system call, with valid pointers; none allocates or takes a lock.
    unsafe {
        let child = child.cast::<Child<'_>>();
        let what = (*child).what;
        libc::setsid();
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        for signal in [libc::SIGPIPE, libc::SIGCHLD, libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGQUIT] {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::dup2(what.stdin.as_raw_fd(), 0);
        libc::dup2(what.stdout.as_raw_fd(), 1);
        libc::dup2(what.stderr.as_raw_fd(), 2);
        if let Some(value) = what.value {
            libc::fcntl(value.as_raw_fd(), libc::F_SETFD, 0);
        }
        if let Some(group) = what.group
            && libc::write(group.as_raw_fd(), c"0".as_ptr().cast(), 1) < 0
        {
            (&raw mut (*child).failed).write_volatile((STEP_GROUP, *errno()));
            libc::_exit(127)
        }
        for (place, bound) in what.bounds.iter().enumerate() {
            if !set(0, bound) {
                (&raw mut (*child).failed).write_volatile((STEP_BOUND + place, *errno()));
                libc::_exit(127)
            }
        }
        let mut step = STEP_CWD;
        if libc::chdir(what.cwd.as_ptr()) == 0 {
            step = STEP_EXEC;
            libc::execve(what.program.as_ptr(), (*child).argv, (*child).environment);
        }
        (&raw mut (*child).failed).write_volatile((step, *errno()));
        libc::_exit(127)
    }
}

/// Bounds a process of this user that runs; its umask is its own business.
///
/// # Errors
/// When this user may not, or the process is gone.
pub fn bind(pid: i32, bound: &Bound) -> io::Result<()> {
    // SAFETY: bare system calls, without pointers of ours.
    let is_set = matches!(bound, Bound::Umask(_)) || unsafe { set(pid, bound) };
    if is_set { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bounds a process (0: the calling one); whether it could be. Each is a bare system call; a umask is the calling one's.
unsafe fn set(pid: i32, bound: &Bound) -> bool {
    // SAFETY: no pointers are passed here.
    unsafe {
        match *bound {
            Bound::Data(bytes) => limit(pid, libc::RLIMIT_DATA, bytes, bytes),
            Bound::Cpu(seconds) => limit(pid, libc::RLIMIT_CPU, seconds, seconds.saturating_add(CPU_GRACE)),
            Bound::OpenFiles(count) => limit(pid, libc::RLIMIT_NOFILE, count, count),
            Bound::Nice(nice) => libc::setpriority(libc::PRIO_PROCESS, pid.unsigned_abs(), nice) == 0,
            Bound::IoPriority(priority) => libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, priority) == 0,
            Bound::Umask(mask) => {
                libc::umask(mask as libc::mode_t);
                true
            }
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
type Resource = libc::c_int;

unsafe fn limit(pid: i32, resource: Resource, soft: u64, hard: u64) -> bool {
    let limit = libc::rlimit { rlim_cur: soft as libc::rlim_t, rlim_max: hard as libc::rlim_t };
    // SAFETY: the pointer is valid for reading.
    unsafe { libc::prlimit(pid, resource, &raw const limit, ptr::null_mut()) == 0 }
}

/// A process, of ioprio_set(2).
const IOPRIO_WHO_PROCESS: i32 = 1;

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

fn pointers(strings: &[impl AsRef<CStr>]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ref().as_ptr()).chain([ptr::null()]).collect()
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
    unblock(&reading)?;
    Ok((reading, writing))
}

/// A pipe whose writing end does not block; both close on exec.
///
/// # Errors
/// When no descriptors are left.
pub fn input_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reading, writing) = pipe()?;
    unblock(&writing)?;
    Ok((reading, writing))
}

/// Makes that reads and writes of a descriptor do not block.
///
/// # Errors
/// None is known for one that is open.
pub fn unblock(end: &OwnedFd) -> io::Result<()> {
    // SAFETY: a plain fcntl on a descriptor that is open.
    if unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The bytes in a pipe that nobody has read; by either end.
///
/// # Errors
/// When it is no pipe.
pub fn unread(pipe: BorrowedFd<'_>) -> io::Result<u64> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to a valid pointer.
    if unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(count.unsigned_abs()))
}

/// Gives back memory that this process does not need while it waits: what its allocator holds free, and the pages of
/// the program and its libraries that can be had from their files again. Mapped they count as this process's memory,
/// needed or not; those that are needed come back with a fault each.
///
/// # Errors
/// When the kernel does not say what is mapped (proc(5)).
pub fn shrink() -> io::Result<()> {
    let clean = clean_mappings(&std::fs::read_to_string("/proc/self/smaps")?);
    give_back_heap();
    for (from, length) in clean {
        // SAFETY: a private mapping of a file that cannot be written and of which no page was changed (relocated):
        // whoever reads it next finds the same bytes, from the file. This process has one thread, so it is as it was.
        let _ = unsafe { libc::madvise(ptr::with_exposed_provenance_mut(from), length, libc::MADV_DONTNEED) };
    }
    Ok(())
}

/// Gives free memory of the heap back to the system, where the allocator keeps it (glibc does, in an arena for each thread).
pub fn give_back_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: a plain call into the allocator, which locks what it looks at (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Where the mappings begin, and how long they are, that are private, for reading, of a file, and without a page of
/// this process's own. `smaps`: as proc(5) has it.
fn clean_mappings(smaps: &str) -> Vec<(usize, usize)> {
    let mut clean = Vec::new();
    let mut range = None;
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            // The last line of each.
            ["VmFlags:", ..] => clean.extend(range.take()),
            [place, "r--p" | "r-xp", _, _, _, path, ..] if path.starts_with('/') => {
                range = place.split_once('-').and_then(|(from, to)| {
                    let from = usize::from_str_radix(from, 16).ok()?;
                    Some((from, usize::from_str_radix(to, 16).ok()?.checked_sub(from)?))
                });
            }
            ["Anonymous:" | "Swap:", "0", "kB"] => {}
            ["Anonymous:" | "Swap:", ..] => range = None,
            _ => {}
        }
    }
    clean
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

/// Makes this process the one that gets its descendants' orphans (`PR_SET_CHILD_SUBREAPER`).
///
/// # Errors
/// prctl(2)'s.
pub fn adopt_orphans() -> io::Result<()> {
    // SAFETY: a plain call.
    let done = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) } == 0;
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Renames a file where the new name is free. By the system call: Android's libc has a function for it since 11 only.
///
/// # Errors
/// renameat2(2)'s.
pub fn rename_new(from: &CStr, to: &CStr) -> io::Result<()> {
    let (here, new) = (libc::AT_FDCWD, libc::RENAME_NOREPLACE);
    // SAFETY: both are valid C strings.
    let done = unsafe { libc::syscall(libc::SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), new) } == 0;
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_or_relocated_stays() {
        let smaps = "\
1000-3000 r-xp 00000000 fe:00 9 /program
Rss: 8 kB
Anonymous: 0 kB
Swap: 0 kB
VmFlags: rd ex mr mw me
3000-4000 r--p 00002000 fe:00 9 /program
Anonymous: 4 kB
Swap: 0 kB
VmFlags: rd mr mw me
4000-5000 r--p 00003000 fe:00 9 /program
Anonymous: 0 kB
Swap: 4 kB
VmFlags: rd mr mw me
5000-6000 rw-p 00004000 fe:00 9 /program
Anonymous: 0 kB
Swap: 0 kB
VmFlags: rd wr mr mw me
6000-7000 r-xp 00000000 00:00 0 [vdso]
Anonymous: 0 kB
Swap: 0 kB
VmFlags: rd ex mr mw me
";
        assert_eq!(clean_mappings(smaps), [(0x1000, 0x2000)]);
    }
}
