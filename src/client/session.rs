//! A client's session: one connection at a time, made when needed, made again when it broke.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use std::os::fd::BorrowedFd;

use super::connection::{Answer, Connection, Received, Until};
use super::error::ClientError;
use super::start::Starter;
use crate::home::Home;

/// How long a daemon that went away without a word (a crash, an upgrade, a service's restart) may take
/// to come back by itself before it is started.
const COME_BACK: Duration = Duration::from_secs(2);
/// How long a waiting client waits for a daemon that it may not start, or that somebody stopped, or for an answer from
/// daemons that die.
const COME_BACK_STOPPED: Duration = Duration::from_secs(30);
/// Between two looks whether the daemon is back.
const LOOK_AFTER_MS: u16 = 50;

/// A client of one home.
#[derive(Debug)]
pub struct Client {
    home: Home,
    /// None: no daemon is started.
    starter: Option<Starter>,
    connection: Option<Connection>,
    /// Lines that [`Self::submit`] sent, from the first whose answer was not taken.
    submitted: VecDeque<Vec<u8>>,
}

impl Client {
    /// A client that connects when it is first used.
    pub fn new(home: Home, starter: Option<Starter>) -> Self {
        Self { home, starter, connection: None, submitted: VecDeque::new() }
    }

    /// The home whose daemon it talks to.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The connection, made now if there is none.
    ///
    /// # Errors
    /// As [`Connection::connect`] and [`Starter::start`].
    pub fn connection(&mut self) -> Result<&mut Connection, ClientError> {
        if self.connection.is_none() {
            let made = match (Connection::connect(&self.home), &self.starter) {
                (Err(ClientError::Unreachable { .. }), Some(starter)) => starter.start(&self.home)?,
                (other, _) => other?,
            };
            self.connection = Some(made);
        }
        Ok(self.connection.as_mut().expect("made above when it was not there"))
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// As [`Self::connection`], [`Connection::send`] and [`Connection::receive`].
    pub fn call(&mut self, request: &impl Serialize) -> Result<Answer, ClientError> {
        let called = self.connection()?.call(request);
        self.forget_if_lost(called)
    }

    /// As [`Self::call`] with the line as it is.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn call_line(&mut self, line: &[u8]) -> Result<Answer, ClientError> {
        let connection = self.connection()?;
        let called = connection.send_line(line).and_then(|()| connection.receive());
        self.forget_if_lost(called)
    }

    /// As [`Self::call`], but sends again after a broken connection, for as long as a daemon may take to come back: for
    /// requests that change nothing, or nothing the second time (a `request_key`). More than once, for one that is being
    /// killed may still accept a connection.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn call_until_answered(&mut self, request: &impl Serialize) -> Result<Answer, ClientError> {
        self.submit(request)?;
        self.next_answer()
    }

    /// Sends a request ahead of its answer, which [`Self::next_answer`] gives, in their order. After a broken connection it is
    /// sent again, so it must change nothing the second time (a `request_key`).
    ///
    /// # Errors
    /// As [`Self::connection`], and when it cannot be written as JSON.
    pub fn submit(&mut self, request: &impl Serialize) -> Result<(), ClientError> {
        self.submitted.push_back(serde_json::to_vec(request).map_err(ClientError::Unwritable)?);
        let last = self.submitted.len() - 1;
        // Behind what a broken connection left unanswered it is sent with that, where the first answer is waited for.
        if last == 0 || self.connection.is_some() { self.send_submitted(last) } else { Ok(()) }
    }

    /// How many requests are submitted whose answers were not taken.
    pub fn submitted(&self) -> usize {
        self.submitted.len()
    }

    /// The answer to the first of what was submitted, from whichever daemon answers it. After an error nothing is submitted any
    /// more.
    ///
    /// # Errors
    /// As [`Self::call_until_answered`].
    pub fn next_answer(&mut self) -> Result<Answer, ClientError> {
        let give_up = Instant::now() + COME_BACK_STOPPED;
        loop {
            let received = match &mut self.connection {
                Some(connection) => connection.receive(),
                None => Err(ClientError::Lost(ErrorKind::NotConnected.into())),
            };
            match self.forget_if_lost(received) {
                Err(ClientError::Lost(_)) if Instant::now() < give_up => {
                    self.come_back(false, Until::default()).inspect_err(|_| self.submitted.clear())?;
                    self.send_submitted(0)?;
                }
                Ok(answer) => {
                    self.submitted.pop_front();
                    return Ok(answer);
                }
                failed => {
                    self.submitted.clear();
                    return failed;
                }
            }
        }
    }

    /// Sends what was submitted, from this place on. A connection that breaks is found out where an answer is waited for.
    fn send_submitted(&mut self, from: usize) -> Result<(), ClientError> {
        let lines = std::mem::take(&mut self.submitted);
        let sent = lines.iter().skip(from).try_for_each(|line| self.connection()?.send_line(line));
        self.submitted = lines;
        match self.forget_if_lost(sent) {
            Err(ClientError::Lost(_)) => Ok(()),
            other => other.inspect_err(|_| self.submitted.clear()),
        }
    }

    /// As [`Self::call`], but ends with the deadline or a wake descriptor. After anything but an
    /// answer, the answer is still to come: take it with [`Self::receive`].
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn send(&mut self, request: &impl Serialize) -> Result<(), ClientError> {
        let sent = self.connection()?.send(request);
        self.forget_if_lost(sent)
    }

    /// The next answer to what was sent.
    ///
    /// # Errors
    /// As [`Connection::receive_until`].
    pub fn receive(&mut self, until: Until<'_>) -> Result<Received, ClientError> {
        let received = self.connection()?.receive_until(until);
        self.forget_if_lost(received)
    }

    /// After `Lost`, or after the daemon said that it is ending (`stopped`): waits until one serves again.
    /// One that crashed is started again if it may be; one that somebody stopped is not.
    /// False: a wake descriptor or the deadline came first.
    ///
    /// # Errors
    /// As [`Self::connection`] when it does not come back.
    pub fn come_back(&mut self, stopped: bool, until: Until<'_>) -> Result<bool, ClientError> {
        self.connection = None;
        let patience = if stopped || self.starter.is_none() { COME_BACK_STOPPED } else { COME_BACK };
        let give_up = Instant::now() + patience;
        loop {
            // One that is ending may still accept: only its answers tell.
            if !stopped || self.is_serving() {
                match Connection::connect(&self.home) {
                    Ok(connection) => {
                        self.connection = Some(connection);
                        return Ok(true);
                    }
                    Err(ClientError::Unreachable { .. }) if Instant::now() < give_up => {}
                    Err(ClientError::Unreachable { .. }) if !stopped => return self.connection().map(|_| true),
                    Err(other) => return Err(other),
                }
            } else if Instant::now() >= give_up {
                return Connection::connect(&self.home).map(|_| true);
            }
            if until.deadline.is_some_and(|deadline| Instant::now() >= deadline) || woken_within(until.wakes) {
                return Ok(false);
            }
        }
    }

    fn is_serving(&self) -> bool {
        let status = serde_json::json!({"action": "status"});
        Connection::connect(&self.home)
            .and_then(|mut connection| connection.call(&status))
            .is_ok_and(|answer| answer.response.ok)
    }

    fn forget_if_lost<T>(&mut self, outcome: Result<T, ClientError>) -> Result<T, ClientError> {
        if matches!(outcome, Err(ClientError::Lost(_) | ClientError::Garbled(_))) {
            self.connection = None;
        }
        outcome
    }
}

/// Pauses between two looks; true when a wake descriptor became readable.
fn woken_within(wakes: &[BorrowedFd<'_>]) -> bool {
    let mut sources: Vec<PollFd<'_>> = wakes.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    poll(&mut sources, PollTimeout::from(LOOK_AFTER_MS)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    /// Answers each line with its own text, until `most` were.
    fn echo(stream: &UnixStream, most: usize) -> Vec<String> {
        let lines = BufReader::new(stream).lines().take(most).map(|line| line.expect("a line"));
        let told = lines.inspect(|line| {
            writeln!(&mut &*stream, "{{\"ok\":true,\"action\":\"add\",\"message\":{line}}}").expect("an open client");
        });
        told.collect()
    }

    #[test]
    fn what_a_broken_connection_left_unanswered_is_sent_again_before_what_follows() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(folder.path()).expect("a short path");
        let listener = UnixListener::bind(home.socket()).expect("a free name");
        let (broken, is_broken) = std::sync::mpsc::channel();
        let peer = std::thread::spawn(move || {
            let (mut first, _) = listener.accept().expect("a client");
            // It reads a line, and dies.
            BufReader::new(&mut first).read_line(&mut String::new()).expect("a line");
            drop(first);
            broken.send(()).expect("the test waits");
            echo(&listener.accept().expect("the client again").0, 4)
        });
        let mut client = Client::new(home, None);
        client.submit(&"one").expect("sent");
        is_broken.recv().expect("the peer tells");
        // The first that follows meets the broken connection, the others find none.
        for request in ["two", "three", "four"] {
            client.submit(&request).expect("kept");
        }
        let answers: Vec<String> = (0..4).map(|_| client.next_answer().expect("an answer").response.message).collect();
        assert_eq!(answers, ["one", "two", "three", "four"]);
        assert_eq!(client.submitted(), 0);
        assert_eq!(peer.join().expect("a peer"), [r#""one""#, r#""two""#, r#""three""#, r#""four""#]);
    }
}
