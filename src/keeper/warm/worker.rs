//! A worker: a process of a user's own function that takes one task after the other, each as a line.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::home;
use crate::keeper::process::Started;
use crate::keeper::protocol::LaunchProcess;
use crate::keeper::table::Pipe;
use crate::output::{Answer, LONGEST_ANSWER};
use crate::sys;
use crate::task::ClaimId;

/// What is read of a long line's file at a time, in bytes.
const PART: usize = 64 * 1024;

/// A worker that was started. It is the process of the attempt that it works on, and in between one of [`super::Workers`].
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::keeper) struct Worker {
    /// What it was started as, without a line.
    kind: Box<LaunchProcess>,
    /// What it and its descendants carry in the place of a claim.
    pub mark: ClaimId,
    /// As the slot table has it.
    pub started: RangeInclusive<u64>,
    /// None when it was told to end.
    stdin: Option<Pipe>,
    /// Bytes of its task's line that it was given.
    written: u64,
    /// What it has answered so far, and where its line ends.
    said: ByteBuf,
    end: Option<usize>,
    /// Whether it has answered a task before.
    served: bool,
    /// Whether it is to end after this task.
    pub last: bool,
    /// Why it is ended before it has answered.
    pub fault: Option<String>,
    /// Whether its stdin is polled.
    #[serde(skip)]
    polled: bool,
}

impl Worker {
    /// The worker that was started for `launch`; none where that is to be a process of its own.
    pub(in crate::keeper) fn of(
        launch: &LaunchProcess,
        process: &mut Started,
        mark: ClaimId,
        started: RangeInclusive<u64>,
    ) -> Option<Self> {
        let stdin = process.stdin.take()?;
        let kind = LaunchProcess {
            program: launch.program.clone(),
            argv: launch.argv.clone(),
            cwd: launch.cwd.clone(),
            environment: launch.environment,
            variables: launch.variables.clone(),
            limits: launch.limits.clone(),
            ..LaunchProcess::default()
        };
        Some(Self {
            // CPU time is counted from the start of a process: the next task would have what this one left of it.
            last: kind.limits.cpu.is_some(),
            kind: Box::new(kind),
            mark,
            started,
            stdin: Some(Pipe(stdin)),
            written: 0,
            said: ByteBuf::new(),
            end: None,
            served: false,
            fault: None,
            polled: false,
        })
    }

    /// Whether it can do what is to be started.
    pub(super) fn fits(&self, launch: &LaunchProcess) -> bool {
        let kind = &self.kind;
        self.stdin.is_some()
            && kind.environment == launch.environment
            && kind.program == launch.program
            && kind.argv == launch.argv
            && kind.cwd == launch.cwd
            && kind.variables == launch.variables
            && kind.limits == launch.limits
    }

    pub(super) fn environment(&self) -> i64 {
        self.kind.environment
    }

    /// Gives it more of the line of its task; the descriptor to be polled for when it takes more.
    ///
    /// # Errors
    /// When it reads no more, or the line cannot be had.
    pub(in crate::keeper) fn feed(&mut self, launch: &LaunchProcess) -> io::Result<Option<RawFd>> {
        let Some(stdin) = &self.stdin else { return Ok(None) };
        loop {
            let rest = rest(launch, self.written)?;
            if rest.is_empty() {
                return Ok(None);
            }
            match nix::unistd::write(stdin, &rest) {
                Ok(length) => self.written += length as u64,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    return Ok((!std::mem::replace(&mut self.polled, true)).then(|| stdin.as_raw_fd()));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(in crate::keeper) fn stdin(&self) -> Option<&Pipe> {
        self.stdin.as_ref()
    }

    /// Takes its stdin away, which tells it to end. To be closed.
    pub(in crate::keeper) fn take_stdin(&mut self) -> Option<Pipe> {
        self.stdin.take()
    }

    /// Takes what it answers.
    pub(in crate::keeper) fn hear(&mut self, bytes: &[u8]) {
        let end = || Some(self.said.len() + bytes.iter().position(|byte| *byte == b'\n')?);
        self.end = self.end.or_else(end);
        self.said.extend_from_slice(bytes);
    }

    /// How long its answer is, if that is whole, or longer than any may be.
    fn answer(&self) -> Option<usize> {
        self.end.or_else(|| (self.said.len() > LONGEST_ANSWER).then_some(LONGEST_ANSWER + 1))
    }

    pub(in crate::keeper) fn has_answered(&self) -> bool {
        self.answer().is_some()
    }

    /// Whether it can take a task after this one: it has read the whole line, and answered by one that is an answer.
    pub(in crate::keeper) fn is_sound(&self, launch: &LaunchProcess) -> bool {
        let is_read = || {
            let all = rest(launch, self.written).is_ok_and(|rest| rest.is_empty());
            all && self.stdin.as_ref().is_some_and(|stdin| sys::unread(stdin.as_fd()).is_ok_and(|left| left == 0))
        };
        let answer = self.answer().filter(|length| length + 1 == self.said.len());
        answer.is_some_and(|length| Answer::read(&self.said[..length]).is_ok()) && is_read()
    }

    /// Whether it is sure that it has not begun with its task: it had done another, and read nothing since.
    pub(in crate::keeper) fn has_not_begun(&self) -> bool {
        let unread = |stdin: &Pipe| sys::unread(stdin.as_fd()).is_ok_and(|left| left == self.written);
        self.served && self.said.is_empty() && self.stdin.as_ref().is_some_and(unread)
    }

    /// Takes its answer, after which it is free. Err: what there is of one that is not whole.
    pub(in crate::keeper) fn take_answer(&mut self) -> Result<Vec<u8>, Vec<u8>> {
        let length = self.answer();
        let mut line = std::mem::take(&mut self.said).into_vec();
        let Some(length) = length else { return Err(line) };
        (self.written, self.end, self.served) = (0, None, true);
        line.truncate(length);
        Ok(line)
    }
}

/// What follows of a task's line after so many bytes.
fn rest(launch: &LaunchProcess, written: u64) -> io::Result<Cow<'_, [u8]>> {
    let Some(path) = &launch.stdin_file else {
        let from = usize::try_from(written).unwrap_or(usize::MAX);
        return Ok(Cow::Borrowed(launch.stdin.get(from..).unwrap_or_default()));
    };
    let mut part = vec![0; PART];
    let length = home::open_file(Path::new(path), File::options().read(true))?.read_at(&mut part, written)?;
    part.truncate(length);
    Ok(Cow::Owned(part))
}
