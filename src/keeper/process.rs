//! Starting one process: its pipes, its environment, its arguments.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::MARK;
use super::protocol::LaunchProcess;
use crate::sys::{self, Spawn, SpawnError};
use crate::task::ClaimId;

/// A process that runs.
#[derive(Debug)]
pub(super) struct Started {
    pub pid: i32,
    /// Reading ends, with their streams.
    pub pipes: Vec<(u8, OwnedFd)>,
}

/// Starts it; the error is a sentence for the task.
pub(super) fn start(
    launch: &LaunchProcess,
    environment: Option<&BTreeMap<String, String>>,
    claim: ClaimId,
    forked: impl FnOnce(i32),
) -> Result<Started, String> {
    let descriptors = |error: std::io::Error| format!("no process can be started: {error}");
    let stdin = stdin(&launch.stdin).map_err(descriptors)?;
    let (out, stdout) = sys::output_pipe().map_err(descriptors)?;
    let (err, stderr) = sys::output_pipe().map_err(descriptors)?;
    let value = if launch.value_pipe { Some(sys::output_pipe().map_err(descriptors)?) } else { None };

    let mut variables: BTreeMap<&str, &str> =
        environment.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    variables.extend(launch.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let claim = claim.to_string();
    variables.insert(MARK, &claim);
    let number = value.as_ref().map(|(_, writing)| writing.as_raw_fd().to_string());
    if let Some(number) = &number {
        variables.insert("BATCH_EXECUTOR_VALUE_FD", number);
    }
    let nul = |what: &str| format!("{what} holds a NUL character, which no process can be given");
    let environment = variables
        .iter()
        .map(|(name, value)| {
            CString::new(format!("{name}={value}")).map_err(|_| nul(&format!("the variable `{name}`")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let argv = launch
        .argv
        .iter()
        .map(|word| CString::new(word.as_str()).map_err(|_| nul("an argument")))
        .collect::<Result<Vec<_>, _>>()?;
    let program = CString::new(launch.program.as_str()).map_err(|_| nul("the program's name"))?;
    let cwd = CString::new(launch.cwd.as_str()).map_err(|_| nul("`cwd`"))?;

    let pid = sys::spawn(
        &Spawn {
            program: &program,
            argv: &argv,
            environment: &environment,
            cwd: &cwd,
            stdin: stdin.as_fd(),
            stdout: stdout.as_fd(),
            stderr: stderr.as_fd(),
            value: value.as_ref().map(|(_, writing)| writing.as_fd()),
        },
        forked,
    )
    .map_err(|error| match error {
        SpawnError::Fork(error) => format!("no process can be started: {error}"),
        SpawnError::Cwd(error) => format!("the working directory `{}` cannot be entered: {error}", launch.cwd),
        SpawnError::Exec(error) => format!("`{}` cannot be started: {error}", launch.program),
    })?;
    let mut pipes = vec![(crate::output::STDOUT, out), (crate::output::STDERR, err)];
    pipes.extend(value.map(|(reading, _)| (crate::output::VALUE, reading)));
    Ok(Started { pid, pipes })
}

/// What the process reads: nothing, or the given bytes from memory.
fn stdin(bytes: &[u8]) -> std::io::Result<File> {
    if bytes.is_empty() {
        return File::open("/dev/null");
    }
    let mut file = File::from(memfd_create("stdin", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
