//! The connected daemon: its socket, and what is on its way in and out.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use serde::Serialize;

use super::protocol::{Inbox, append};

pub(super) struct Daemon {
    pub stream: UnixStream,
    pub input: Inbox,
    pub output: Vec<u8>,
    /// It is watched for taking more of `output`.
    is_behind: bool,
    /// The first event that was not sent to it.
    pub next_event: u64,
    pub greeted: bool,
}

impl Daemon {
    /// One at the other end of a socket that does not block and is watched for reading.
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, input: Inbox::default(), output: Vec::new(), is_behind: false, next_event: 0, greeted: false }
    }

    /// Takes what has come; fails when the daemon has left.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    self.input.space().extend_from_slice(&chunk[..length]);
                    if length < chunk.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Puts a message on its way.
    pub(super) fn send<M: Serialize>(&mut self, message: &M) {
        // Never fails for these types.
        let _ = append(&mut self.output, message);
    }

    /// Sends what it takes now; the rest when `epoll` says that it takes more. Fails when the daemon has left.
    pub(super) fn flush(&mut self, epoll: &Epoll) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let is_behind = !self.output.is_empty();
        if is_behind != self.is_behind {
            self.is_behind = is_behind;
            let mut wanted = EpollFlags::EPOLLIN;
            wanted.set(EpollFlags::EPOLLOUT, is_behind);
            let mut event = EpollEvent::new(wanted, u64::try_from(self.stream.as_raw_fd()).unwrap_or(0));
            // Fails only for a descriptor that is not watched, and this one is.
            let _ = epoll.modify(&self.stream, &mut event);
        }
        Ok(())
    }
}
