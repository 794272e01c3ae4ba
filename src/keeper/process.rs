//! Starting one process (its pipes, its environment, its arguments), signalling it, finding it dead.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::MARK;
use super::environment::Environment;
use super::protocol::LaunchProcess;
use super::table::BEGINS;
use super::warm::Spare;
use crate::home::{self, Home};
use crate::output;
use crate::platform;
use crate::secret;
use crate::sys::{self, Bound, Spawn, SpawnError};
use crate::task::{ClaimId, IoNice, Limits, Prepared};

/// A process that runs.
#[derive(Debug)]
pub(super) struct Started {
    pub pid: i32,
    /// Reading ends, with their streams.
    pub pipes: Vec<(u8, OwnedFd)>,
    /// The writing end of a worker's stdin.
    pub stdin: Option<OwnedFd>,
    /// What it is known by, if it was started ahead of its task.
    pub mark: Option<ClaimId>,
}

/// What a process writes its output to, and where that is read.
#[derive(Debug)]
pub(super) struct Outputs {
    pub out: OwnedFd,
    pub err: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

impl Outputs {
    /// Two pipes.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub(super) fn new() -> std::io::Result<Self> {
        let (out, stdout) = sys::output_pipe()?;
        let (err, stderr) = sys::output_pipe()?;
        Ok(Self { out, err, stdout, stderr })
    }
}

/// Why a process was not started.
#[derive(Debug)]
pub(super) struct NotStarted {
    /// A sentence for the task.
    pub error: String,
    /// Whether trying again could not help.
    pub permanent: bool,
}

/// What the machine lacks now and may have later (fork(2), execve(2), pipe(2)).
const PASSING: &[Errno] =
    &[Errno::EAGAIN, Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE, Errno::ETXTBSY, Errno::ENOSPC, Errno::EIO];

impl NotStarted {
    fn by(what: &str, error: &std::io::Error) -> Self {
        let passes = error.raw_os_error().is_some_and(|code| PASSING.contains(&Errno::from_raw(code)));
        Self { error: format!("{what}: {error}"), permanent: !passes }
    }

    fn nul(what: &str) -> Self {
        Self { error: format!("{what} holds a NUL character, which no process can be given"), permanent: true }
    }
}

/// The process that reads a process's secrets, with the environment beneath and the names of its attempt.
pub(super) fn secrets_reader(launch: &LaunchProcess, home: &Home) -> LaunchProcess {
    let of_attempt = |(name, _): &&(String, String)| name.starts_with("BATCH_EXECUTOR_");
    LaunchProcess {
        program: platform::running_program().display().to_string(),
        argv: vec!["batch-executor".to_owned(), "read-secrets".to_owned()],
        cwd: home.root().display().to_string(),
        environment: launch.environment,
        variables: launch.variables.iter().filter(of_attempt).cloned().collect(),
        stdin: secret::asked(&launch.secrets),
        ..LaunchProcess::default()
    }
}

/// Starts it: in `spare`, where that can become it, else anew. `secrets`: the values of what it wants, in the same order.
/// `nothing`: what it reads where it is given nothing to read; `group`: the `cgroup.procs` of its control group.
pub(super) fn start(
    launch: &LaunchProcess,
    beneath: Option<&Environment>,
    claim: ClaimId,
    secrets: &[secret::Value],
    nothing: &File,
    group: Option<&File>,
    mut spare: Option<Spare>,
) -> Result<Started, NotStarted> {
    let descriptors = |error: std::io::Error| NotStarted::by("no process can be started", &error);
    let (stdin, feed) = match launch.prepared {
        Some(Prepared::Worker) => {
            let (reading, feed) = sys::input_pipe().map_err(descriptors)?;
            (Some(File::from(reading)), Some(feed))
        }
        _ => (stdin(launch).map_err(descriptors)?, None),
    };
    let mark = spare.as_ref().and_then(Spare::mark);
    let outputs = match spare.as_mut().and_then(|spare| spare.outputs.take()) {
        Some(outputs) => outputs,
        None => Outputs::new().map_err(descriptors)?,
    };
    let value = if launch.value_pipe { Some(sys::output_pipe().map_err(descriptors)?) } else { None };

    let mut variables: BTreeMap<&str, &[u8]> =
        launch.secrets.iter().zip(secrets).map(|(wanted, value)| (wanted.variable.as_str(), value.bytes())).collect();
    variables.extend(launch.variables.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
    let carried = mark.unwrap_or(claim).to_string();
    variables.insert(MARK, carried.as_bytes());
    let number = value.as_ref().map(|(_, writing)| writing.as_raw_fd().to_string());
    if let Some(number) = &number {
        variables.insert("BATCH_EXECUTOR_VALUE_FD", number.as_bytes());
    }
    let own = variables
        .iter()
        .map(|(name, value)| {
            CString::new([name.as_bytes(), b"=", value].concat())
                .map_err(|_| NotStarted::nul(&format!("the variable `{name}`")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let is_own = |name: &[u8]| str::from_utf8(name).is_ok_and(|name| variables.contains_key(name));
    let others = beneath.into_iter().flat_map(|beneath| beneath.without(is_own));
    let environment: Vec<&CStr> = others.chain(own.iter().map(CString::as_c_str)).collect();
    let argv = launch
        .argv
        .iter()
        .map(|word| CString::new(word.as_str()).map_err(|_| NotStarted::nul("an argument")))
        .collect::<Result<Vec<_>, _>>()?;
    let program = CString::new(launch.program.as_str()).map_err(|_| NotStarted::nul("the program's name"))?;
    let cwd = CString::new(launch.cwd.as_str()).map_err(|_| NotStarted::nul("`cwd`"))?;

    let what = Spawn {
        program: &program,
        argv: &argv,
        environment: &environment,
        cwd: &cwd,
        stdin: stdin.as_ref().unwrap_or(nothing).as_fd(),
        stdout: outputs.stdout.as_fd(),
        stderr: outputs.stderr.as_fd(),
        value: value.as_ref().map(|(_, writing)| writing.as_fd()),
        group: group.map(AsFd::as_fd),
        bounds: &bounds(&launch.limits),
    };
    let started = match spare.map(|spare| spare.become_task(&what, launch)) {
        Some(Ok(None)) => return start(launch, beneath, claim, secrets, nothing, group, None),
        Some(Ok(Some(told))) => Ok((told.pid, told.begins)),
        Some(Err(error)) => Err(error),
        None => sys::spawn(&what).map(|pid| (pid, None)),
    };
    let (pid, begins) = started.map_err(|error| match error {
        // What is not allowed now is not allowed to the next attempt.
        SpawnError::Bound(bound, error) => NotStarted { error: not_had(bound, &error), permanent: true },
        SpawnError::Group(error) => NotStarted::by("its control group cannot be entered", &error),
        SpawnError::Fork(error) => NotStarted::by("no process can be started", &error),
        SpawnError::Cwd(error) => {
            NotStarted::by(&format!("the working directory `{}` cannot be entered", launch.cwd), &error)
        }
        SpawnError::Exec(error) => NotStarted::by(&format!("`{}` cannot be started", launch.program), &error),
    })?;
    let mut pipes = vec![(output::STDOUT, outputs.out), (output::STDERR, outputs.err)];
    pipes.extend(value.map(|(reading, _)| (output::VALUE, reading)));
    pipes.extend(begins.map(|begins| (BEGINS, begins)));
    Ok(Started { pid, pipes, stdin: feed, mark })
}

/// The classes of ioprio_set(2), where it has them.
const BEST_EFFORT: i32 = 2 << 13;
const IDLE: i32 = 3 << 13;

fn bounds(limits: &Limits) -> Vec<Bound> {
    let io = |nice| match nice {
        IoNice::Idle => IDLE,
        IoNice::Level(level) => BEST_EFFORT | i32::from(level),
    };
    let bounds = [
        limits.umask.map(Bound::Umask),
        limits.nice.map(Bound::Nice),
        limits.ionice.map(io).map(Bound::IoPriority),
        limits.open_files.map(Bound::OpenFiles),
        limits.cpu.map(Bound::Cpu),
        limits.memory.map(Bound::Data),
    ];
    bounds.into_iter().flatten().collect()
}

fn not_had(bound: Bound, error: &std::io::Error) -> String {
    let (name, value) = match bound {
        Bound::Data(bytes) => ("memory", bytes.to_string()),
        Bound::Cpu(seconds) => ("cpu", seconds.to_string()),
        Bound::OpenFiles(count) => ("open_files", count.to_string()),
        Bound::Nice(nice) => ("nice", nice.to_string()),
        Bound::IoPriority(_) => ("ionice", "this".to_owned()),
        Bound::Umask(mask) => ("umask", format!("{mask:03o}")),
    };
    format!("`limits.{name}` of {value} is more than this user may have here: {error}")
}

/// What the process reads: nothing, the given bytes from memory, or a file.
fn stdin(launch: &LaunchProcess) -> std::io::Result<Option<File>> {
    if let Some(path) = &launch.stdin_file {
        return home::open_file(Path::new(path), File::options().read(true)).map(Some);
    }
    if launch.stdin.is_empty() {
        return Ok(None);
    }
    in_memory(&launch.stdin).map(Some)
}

/// A file with these bytes, to be read from their beginning; it has no name and no disk.
pub(super) fn in_memory(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("stdin", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Signals a task's process group.
pub(super) fn signal_group(pid: i32, signal: Signal) {
    // ESRCH: the whole group is gone, which is what was wanted.
    let _ = killpg(Pid::from_raw(pid), signal);
}

/// Whether a child is dead and not reaped yet.
pub(super) fn is_dead(pid: i32) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::Pid(Pid::from_raw(pid)), flags), Ok(WaitStatus::StillAlive) | Err(_))
}

/// A dead child, not reaped yet.
pub(super) fn next_dead() -> Option<i32> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, flags).ok()?.pid().map(Pid::as_raw)
}
