//! The thread that reads a log, from near its end on, as it is written.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use batch_executor::client::{Client, ClientError, Received, Until};
use batch_executor::protocol::{ErrorCode, LogsData};
use batch_executor::task::TaskId;
use serde_json::json;

use super::app::{Message, spawn};
use crate::context::{accepted, data};
use crate::failure::Failure;

/// How much of the end is read at first, and after more was written than can be read; in bytes.
const END: i64 = 256 << 10;
/// What is read at once.
const PIECE: i64 = 64 << 10;
/// More than this behind, a part is skipped.
const FAR_BEHIND: i64 = 4 * END;
/// Between two pieces while much is written.
const PACE: Duration = Duration::from_millis(100);

/// A part of a log.
#[derive(Debug)]
pub enum Piece {
    Text {
        attempt: u32,
        text: String,
        ended: bool,
        skipped: bool,
    },
    /// Nothing more will come, and why.
    Failed(String),
}

/// Reads the log of a task until it ends, or until the other end of what is given back is dropped. Pieces carry `number`.
///
/// # Errors
/// When the system has no descriptor or thread left.
pub fn follow(client: Client, task_id: TaskId, number: u64, to: SyncSender<Message>) -> io::Result<OwnedFd> {
    let (wake, held) = io::pipe()?;
    let tell = to.clone();
    let mut reader = Reader { client, task_id, number, to, wake: wake.into() };
    spawn("log", &tell, move || {
        if let Err(failure) = reader.read() {
            reader.tell(Piece::Failed(failure.text().0));
        }
    })?;
    Ok(held.into())
}

struct Reader {
    client: Client,
    task_id: TaskId,
    number: u64,
    to: SyncSender<Message>,
    wake: OwnedFd,
}

impl Reader {
    fn tell(&self, piece: Piece) -> bool {
        self.to.send(Message::Log(self.number, piece)).is_ok()
    }

    fn read(&mut self) -> Result<(), Failure> {
        let (mut offset, mut attempt, mut skipped) = (-END, None, false);
        loop {
            let mut request =
                json!({"action": "logs", "task_id": self.task_id, "offset": offset, "limit": PIECE, "follow": true});
            if let Some(attempt) = attempt {
                request["attempt"] = json!(attempt);
            }
            let Some(piece) = self.piece(&request)? else { return Ok(()) };
            let ended = piece.ended && piece.next_offset >= piece.size;
            let behind = piece.size - piece.next_offset;
            attempt = Some(piece.attempt);
            let pause = if behind > 0 { Duration::ZERO } else { PACE };
            let told = Piece::Text { attempt: piece.attempt, text: piece.text, ended, skipped };
            if !self.tell(told) || ended {
                return Ok(());
            }
            skipped = behind > FAR_BEHIND;
            offset = if skipped { piece.size - END } else { piece.next_offset };
            thread::sleep(pause);
        }
    }

    /// None: nobody wants it any more.
    fn piece(&mut self, request: &serde_json::Value) -> Result<Option<LogsData>, Failure> {
        loop {
            let wakes = [self.wake.as_fd()];
            let until = Until { deadline: None, wakes: &wakes };
            let stopped = match self.client.send(request).and_then(|()| self.client.receive(until)) {
                Ok(Received::Answer(answer)) => {
                    let code = answer.response.error.as_ref().map(|refusal| refusal.code);
                    if code != Some(ErrorCode::ShuttingDown) {
                        return Ok(Some(data(&accepted(Ok(*answer))?)?));
                    }
                    true
                }
                Ok(Received::Woken | Received::TimedOut) => return Ok(None),
                Err(ClientError::Lost(_)) => false,
                Err(error) => return Err(error.into()),
            };
            if !self.client.come_back(stopped, until)? {
                return Ok(None);
            }
        }
    }
}
