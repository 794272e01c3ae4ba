//! One connection: lines in, answers out, in order.
//!
//! Consecutive adds are under way together; any other request waits for those before it. What a
//! client does not read stops what is read from it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tracing::Instrument;

use super::Shared;
use super::handlers::{self, Incoming, Reply};
use super::lines::{Line, Lines};
use crate::defect;
use crate::protocol::{Action, ErrorCode, Parsed, Refusal, Response, parse_line};
use crate::sys;

/// Adds of one connection under way at once,
const PIPELINE: usize = 64;
/// and their lines together, in bytes: a request takes many times its length in memory.
const PIPELINE_BYTES: usize = 768 * 1024;
/// How long an ending daemon waits for a client that does not read its answer.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A connection that carried more than this, in bytes, leaves memory behind that the allocator would keep.
const MUCH: u64 = 1024 * 1024;
/// What one read takes: at first, and at most where the one before was full. In bytes.
const FIRST_CHUNK: usize = 4 * 1024;
const CHUNK: usize = 64 * 1024;

type Call = Pin<Box<dyn Future<Output = Response> + Send>>;

enum Answer {
    Ready(Response),
    Pending(Call),
}

pub(super) struct Connection {
    stream: UnixStream,
    pid: Option<i32>,
    service: Shared,
    lines: Lines,
    answers: VecDeque<Answer>,
    /// The length of the lines whose answers are due.
    pipelined: usize,
    /// Bytes that it brought.
    carried: u64,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, pid: Option<i32>, service: Shared) -> Self {
        let lines = Lines::new(service.settings.max_request_bytes);
        Self { stream, pid, service, lines, answers: VecDeque::new(), pipelined: 0, carried: 0 }
    }

    /// Serves until the client hangs up or the daemon ends.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.serve().await {
            tracing::debug!(err = %error, "a connection ended");
        }
        let carried = self.carried;
        drop(self);
        if carried > MUCH {
            sys::give_back_heap();
        }
    }

    async fn serve(&mut self) -> io::Result<()> {
        let mut room = FIRST_CHUNK;
        loop {
            while let Some(line) = self.lines.next_line() {
                self.take(line).await?;
            }
            self.flush().await?;
            tokio::select! {
                ready = self.stream.readable() => ready?,
                () = self.service.ends() => return Ok(()),
            }
            match self.read(room) {
                Ok(0) => return Ok(()),
                Ok(length) => room = if length < room { FIRST_CHUNK } else { CHUNK },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads at most `room` bytes; the answer is how many it were. Between reads nothing is held: a thousand connections that are
    /// idle cost nothing.
    fn read(&mut self, room: usize) -> io::Result<usize> {
        let (mut short, mut long) = ([0; FIRST_CHUNK], Vec::new());
        let chunk = if room <= FIRST_CHUNK {
            short.as_mut_slice()
        } else {
            long.resize(room, 0);
            long.as_mut_slice()
        };
        let length = self.stream.try_read(chunk)?;
        self.carried += length as u64;
        self.lines.push(&chunk[..length]);
        Ok(length)
    }

    async fn take(&mut self, line: Line) -> io::Result<()> {
        let parsed = match line {
            Line::Whole(line) if line.iter().all(u8::is_ascii_whitespace) => return Ok(()),
            Line::Whole(line) => {
                self.pipelined += line.len();
                parse_line(&line)
            }
            Line::TooLong => {
                let most = self.service.settings.max_request_bytes;
                let message =
                    format!("the line is longer than {most} bytes (setting max_request_bytes); send it in parts");
                let refusal = Refusal::new(ErrorCode::TooLarge, message);
                self.answers.push_back(Answer::Ready(refused(None, None, refusal)));
                return self.flush().await;
            }
        };
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(bad) => {
                self.answers.push_back(Answer::Ready(refused(bad.id, bad.action, bad.refusal)));
                return Ok(());
            }
        };
        let together = matches!(parsed.request.action, Action::Add(_) | Action::AddBatch(_));
        if !together {
            self.flush().await?;
        }
        let watched = matches!(&parsed.request.action, Action::Wait(_))
            || matches!(&parsed.request.action, Action::Logs(logs) if logs.follow)
            || matches!(&parsed.request.action, Action::Watch(watch) if watch.follow);
        let mut call = call(self.service.clone(), self.pid, parsed);
        if watched {
            let answer = tokio::select! {
                answer = &mut call => answer,
                () = hung_up(&self.stream) => return Err(io::ErrorKind::BrokenPipe.into()),
            };
            self.answers.push_back(Answer::Ready(answer));
            return self.flush().await;
        }
        // The first poll hands the operation to the writer, in the order of the lines.
        let answer = match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Answer::Ready(answer),
            Poll::Pending => Answer::Pending(call),
        };
        self.answers.push_back(answer);
        let full = self.answers.len() >= PIPELINE || self.pipelined >= PIPELINE_BYTES;
        if !together || full { self.flush().await } else { Ok(()) }
    }

    /// Waits for the answers that are due and writes them. A client that has gone does not end what it asked for.
    async fn flush(&mut self) -> io::Result<()> {
        let mut written = Ok(());
        while let Some(answer) = self.answers.pop_front() {
            let response = match answer {
                Answer::Ready(response) => response,
                Answer::Pending(call) => call.await,
            };
            if written.is_ok() {
                written = self.write(&line(&response)).await;
            }
        }
        self.pipelined = 0;
        written
    }

    /// A client that does not read holds nobody up but itself, also when the daemon ends.
    async fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let too_late = async {
            self.service.ends().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            written = self.stream.write_all(line) => written,
            () = too_late => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Resolves when the client has gone for good. One that has only ended its requests (`nc -U`) has not.
async fn hung_up(stream: &UnixStream) {
    // Its own registration, of the writing side: what the client sends meanwhile hides nothing.
    let watched = stream.as_fd().try_clone_to_owned().and_then(|fd| UnixStream::from_std(fd.into()));
    let Ok(watched) = watched else { return std::future::pending().await };
    loop {
        match watched.ready(Interest::WRITABLE).await {
            // Heard of; what is waited for is the next change.
            Ok(ready) if !ready.is_write_closed() => {
                let _ = watched.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            }
            _ => return,
        }
    }
}

fn call(service: Shared, pid: Option<i32>, parsed: Parsed) -> Call {
    let Parsed { request, mut warnings } = parsed;
    let (name, id) = (request.action.name(), request.id);
    let span = tracing::debug_span!("request", action = name);
    let incoming = Incoming { pid, cwd: request.cwd, environment: request.environment.unwrap_or_default() };
    let mut work = Box::pin(handlers::handle(service, incoming, request.action).instrument(span));
    Box::pin(async move {
        // A defect of ours answers this request and ends nothing else.
        let done = std::future::poll_fn(|context| {
            defect::shielded(|| work.as_mut().poll(context)).unwrap_or_else(|| {
                Poll::Ready(Err(Refusal::new(ErrorCode::Internal, "internal error; see the daemon's log")))
            })
        })
        .await;
        match done {
            Ok(Reply { message, data, warnings: more }) => {
                warnings.extend(more);
                Response {
                    ok: true,
                    id,
                    action: Some(name.to_owned()),
                    message,
                    data: Some(data),
                    warnings: Some(warnings),
                    error: None,
                }
            }
            Err(refusal) => refused(id, Some(name.to_owned()), refusal),
        }
    })
}

/// A refusal as an answer.
pub(super) fn refused(id: Option<Value>, action: Option<String>, refusal: Refusal) -> Response {
    Response {
        ok: false,
        id,
        action,
        message: refusal.message.clone(),
        data: None,
        warnings: None,
        error: Some(refusal),
    }
}

/// An answer as a line.
pub(super) fn line(response: &Response) -> Vec<u8> {
    // Only a map with keys that are no text could fail, and there is none.
    let mut line = serde_json::to_vec(response).unwrap_or_default();
    line.push(b'\n');
    line
}
