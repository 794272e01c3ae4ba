//! Reading the pipes of a task.

use std::os::fd::AsFd;

use nix::errno::Errno;

use crate::time;

/// No pipe holds more (pipe(7), the default of `/proc/sys/fs/pipe-max-size`): past it somebody still writes.
const MOST_IN_A_PIPE: usize = 1024 * 1024;
/// How long the pipes of an attempt that has ended are drained, ms.
const DRAIN_MS: i64 = 1000;

/// What one read gave.
pub(super) enum Read {
    Some(usize),
    Later,
    End,
}

pub(super) fn read(pipe: impl AsFd, buffer: &mut [u8]) -> Read {
    loop {
        match nix::unistd::read(&pipe, buffer) {
            Ok(0) => return Read::End,
            Ok(length) => return Read::Some(length),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Read::Later,
            Err(_) => return Read::End,
        }
    }
}

/// Reads what an attempt that has ended left in a pipe. `still_written` is called when more comes than a
/// pipe can hold: something that escaped writes on.
pub(super) fn drain(pipe: impl AsFd, buffer: &mut [u8], mut take: impl FnMut(&[u8]), mut still_written: impl FnMut()) {
    let begun = time::monotonic_ms();
    let mut unexpected = 0;
    while let Read::Some(length) = read(&pipe, buffer) {
        take(&buffer[..length]);
        unexpected += length;
        if unexpected > MOST_IN_A_PIPE {
            unexpected = 0;
            still_written();
            if time::monotonic_ms() - begun > DRAIN_MS {
                break;
            }
        }
    }
}
