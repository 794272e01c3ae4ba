//! One connection: lines out, answers in, in order.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, getsockopt, send, sockopt::PeerCredentials};
use nix::unistd::geteuid;
use serde::Serialize;

use super::error::ClientError;
use crate::home::Home;
use crate::protocol::Response;

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;
/// And at first: most answers are short, and their reader is soon gone.
const FIRST_BYTES: usize = 4 * 1024;

/// An answer: the line as it came, for those who pass it on, and what it says.
#[derive(Debug)]
pub struct Answer {
    /// Without its newline.
    pub line: String,
    pub response: Response,
}

/// What ended a wait for an answer.
#[derive(Debug)]
pub enum Received {
    Answer(Box<Answer>),
    /// The deadline came first; the answer is still to come.
    TimedOut,
    /// One of the wake descriptors became readable first; the answer is still to come.
    Woken,
}

/// How long to wait for an answer: for ever by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Until<'a> {
    pub deadline: Option<Instant>,
    /// Become readable when the waiting shall end (a signalfd).
    pub wakes: &'a [BorrowedFd<'a>],
}

/// A connection to the daemon. Several requests may be in flight; answers come in their order.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    chunk: Vec<u8>,
    buffer: Vec<u8>,
    /// No newline is in `buffer` before this place.
    scanned: usize,
}

impl Connection {
    /// Connects to the daemon of `home`.
    ///
    /// # Errors
    /// `Unreachable` when none listens, `NotAllowed` when the socket is somebody else's, or served by somebody else.
    pub fn connect(home: &Home) -> Result<Self, ClientError> {
        let socket = home.socket();
        match UnixStream::connect(&socket) {
            Ok(stream) => match server_of(&stream) {
                Some(server) if !is_trusted(server) => {
                    let said = format!("the user with uid {server} serves it, not this one (uid {})", geteuid());
                    Err(ClientError::NotAllowed { socket, error: io::Error::other(said) })
                }
                _ => Ok(Self { stream, chunk: vec![0; FIRST_BYTES], buffer: Vec::new(), scanned: 0 }),
            },
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(ClientError::NotAllowed { socket, error }),
            Err(error) => Err(ClientError::Unreachable { socket, error }),
        }
    }

    /// Readable when there is an answer, or the connection has ended.
    pub fn readable(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// The daemon's pid, where the system tells it.
    pub fn peer_pid(&self) -> Option<u32> {
        getsockopt(&self.stream, PeerCredentials).ok().and_then(|peer| u32::try_from(peer.pid()).ok())
    }

    /// Sends one request.
    ///
    /// # Errors
    /// `Lost` when the daemon has gone.
    pub fn send(&mut self, request: &impl Serialize) -> Result<(), ClientError> {
        let line = serde_json::to_vec(request).map_err(ClientError::Unwritable)?;
        self.send_line(&line)
    }

    /// Sends one request line as it is; `line` has no newline. Answers to earlier requests are read meanwhile: a daemon that waits
    /// for its answers to be read reads no request.
    ///
    /// # Errors
    /// `Lost` when the daemon has gone.
    pub fn send_line(&mut self, line: &[u8]) -> Result<(), ClientError> {
        let line = [line, b"\n"].concat();
        let mut rest = line.as_slice();
        while !rest.is_empty() {
            match send(self.stream.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.fill_until_writable()?,
                Err(error) => return Err(ClientError::Lost(error.into())),
            }
        }
        Ok(())
    }

    fn fill_until_writable(&mut self) -> Result<(), ClientError> {
        loop {
            let mut ready = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN | PollFlags::POLLOUT)];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(ClientError::Lost(error.into())),
            }
            let [ready] = ready;
            let ready = ready.revents().unwrap_or(PollFlags::empty());
            if ready.contains(PollFlags::POLLIN) {
                self.fill()?;
            }
            // An error is the next send's to name.
            if ready.intersects(PollFlags::POLLOUT | PollFlags::POLLERR | PollFlags::POLLHUP) {
                return Ok(());
            }
        }
    }

    /// The next answer.
    ///
    /// # Errors
    /// `Lost` when the connection ends first, `Garbled` when it is no answer.
    pub fn receive(&mut self) -> Result<Answer, ClientError> {
        loop {
            if let Received::Answer(answer) = self.receive_until(Until::default())? {
                return Ok(*answer);
            }
        }
    }

    /// The next answer, unless the deadline or a wake descriptor comes first.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn receive_until(&mut self, until: Until<'_>) -> Result<Received, ClientError> {
        loop {
            if let Some(line) = self.take_line() {
                let response = serde_json::from_slice(&line).map_err(ClientError::Garbled)?;
                let line = String::from_utf8_lossy(&line).into_owned();
                return Ok(Received::Answer(Box::new(Answer { line, response })));
            }
            match wait_readable(self.stream.as_fd(), until).map_err(ClientError::Lost)? {
                Readable::TimedOut => return Ok(Received::TimedOut),
                Readable::Woken => return Ok(Received::Woken),
                Readable::Stream => self.fill()?,
            }
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// As [`Self::send`] and [`Self::receive`].
    pub fn call(&mut self, request: &impl Serialize) -> Result<Answer, ClientError> {
        self.send(request)?;
        self.receive()
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let found = self.buffer.get(self.scanned..)?.iter().position(|&byte| byte == b'\n');
        let Some(at) = found.map(|at| at + self.scanned) else {
            self.scanned = self.buffer.len();
            return None;
        };
        let rest = self.buffer.split_off(at + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        self.scanned = 0;
        Some(line)
    }

    fn fill(&mut self) -> Result<(), ClientError> {
        match self.stream.read(&mut self.chunk) {
            Ok(0) => Err(ClientError::Lost(ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                self.buffer.extend_from_slice(self.chunk.get(..count).unwrap_or_default());
                if count == self.chunk.len() {
                    self.chunk.resize(READ_BYTES, 0);
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(ClientError::Lost(error)),
        }
    }
}

/// Who listens on the socket.
fn server_of(stream: &UnixStream) -> Option<u32> {
    getsockopt(stream, PeerCredentials).ok().map(|server| server.uid())
}

/// Whether this user tells that one's daemon commands and environment: its own, root's, and as root anybody's.
fn is_trusted(server: u32) -> bool {
    let user = geteuid();
    user.is_root() || server == user.as_raw() || server == 0
}

enum Readable {
    Stream,
    TimedOut,
    Woken,
}

/// Waits for the stream. What wakes comes before what the stream has.
fn wait_readable(stream: BorrowedFd<'_>, until: Until<'_>) -> io::Result<Readable> {
    loop {
        let timeout = match until.deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // One more millisecond: poll rounds down, and a wait that is a little short would spin.
                let ms = if left.is_zero() { 0 } else { left.as_millis().saturating_add(1) };
                PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut sources = vec![PollFd::new(stream, PollFlags::POLLIN)];
        sources.extend(until.wakes.iter().map(|wake| PollFd::new(*wake, PollFlags::POLLIN)));
        match poll(&mut sources, timeout) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(0) if until.deadline.is_some_and(|deadline| deadline > Instant::now()) => {}
            Ok(0) => return Ok(Readable::TimedOut),
            Ok(_) if sources.iter().skip(1).any(|source| source.any().unwrap_or(false)) => return Ok(Readable::Woken),
            Ok(_) => return Ok(Readable::Stream),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    /// A peer on a real socket that hands its connection to `serve`.
    fn peer(serve: impl FnOnce(UnixStream) + Send + 'static) -> (tempfile::TempDir, Home) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(folder.path()).expect("a short path");
        let listener = UnixListener::bind(home.socket()).expect("a free name");
        std::thread::spawn(move || serve(listener.accept().expect("a client").0));
        (folder, home)
    }

    #[test]
    fn answers_come_in_order_however_they_are_cut() {
        let (_folder, home) = peer(|mut stream| {
            let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
            lines.next();
            lines.next();
            stream.write_all(b"{\"ok\":true,\"action\":\"a\",\"mess").expect("an open client");
            stream.write_all(b"age\":\"one\"}\n{\"ok\":false,\"action\":null,\"message\":\"two\"}\n").expect("open");
        });
        let mut connection = Connection::connect(&home).expect("a listening peer");
        connection.send_line(b"{}").expect("an open peer");
        connection.send_line(b"{}").expect("an open peer");
        assert_eq!(connection.receive().expect("the first").response.message, "one");
        let second = connection.receive().expect("the second");
        assert_eq!(second.line, "{\"ok\":false,\"action\":null,\"message\":\"two\"}");
        assert!(matches!(connection.receive(), Err(ClientError::Lost(_))));
    }

    #[test]
    fn a_deadline_leaves_the_answer_to_come() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (_folder, home) = peer(move |mut stream| {
            wait.recv().expect("the test says when");
            stream.write_all(b"{\"ok\":true,\"action\":\"a\",\"message\":\"late\"}\n").expect("an open client");
        });
        let mut connection = Connection::connect(&home).expect("a listening peer");
        let soon = Until { deadline: Some(Instant::now() + Duration::from_millis(5)), wakes: &[] };
        assert!(matches!(connection.receive_until(soon), Ok(Received::TimedOut)));
        go.send(()).expect("the peer waits");
        assert_eq!(connection.receive().expect("an answer").response.message, "late");
    }

    #[test]
    fn nobody_there_is_unreachable() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(folder.path()).expect("a short path");
        assert!(matches!(Connection::connect(&home), Err(ClientError::Unreachable { .. })));
    }
}
