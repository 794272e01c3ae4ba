//! What daemon and keeper say to each other: a length (`u32` LE), then MessagePack with named fields.
//!
//! The keeper's messages are one ordered stream; an answer comes after every event that came before it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::secret::Wanted;
use crate::task::{ClaimId, Limits, Order, Prepared, Priority, TaskId};

/// The revision of this protocol.
pub const KEEPER_PROTOCOL: u32 = if cfg!(feature = "next") { 6 } else { 5 };
/// The first that knows [`LaunchProcess::secrets`] and limits; a keeper that does not must not get any.
pub const WITH_SECRETS: u32 = 2;
/// The first that knows [`Prepared::Worker`]; another would take the worker for a program of one task.
pub const WITH_WORKERS: u32 = 3;
/// The first that knows [`Prepared::Ahead`]; another would not understand the message.
pub const WITH_AHEAD: u32 = 4;
/// The first that knows [`ToKeeper::Suspend`] and [`ToKeeper::Groups`].
pub const WITH_SUSPEND: u32 = 5;
/// No message is longer; a longer one is damage.
const LONGEST: usize = 256 * 1024 * 1024;

/// From the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToKeeper {
    Hello {
        protocol: u32,
    },
    /// An environment, sent once and referred to by its id.
    Environment {
        id: i64,
        variables: BTreeMap<String, String>,
    },
    Launch {
        wave: Vec<Launch>,
    },
    /// How many attempts may have a slot, and how many of each function. Answered `Done`.
    Caps {
        request: u64,
        cap: u32,
        functions: BTreeMap<String, u32>,
    },
    /// Starts nothing more and gives back what waits. Answered `Yielded`.
    Hold {
        request: u64,
    },
    /// Starts again. Answered `Done`.
    Resume {
        request: u64,
    },
    /// Gives back those of the claims that have not started. Answered `Yielded`.
    TakeBack {
        request: u64,
        claims: Vec<ClaimId>,
    },
    /// Ends attempts; none: all that run. Answered `Ending`.
    End {
        request: u64,
        claims: Option<Vec<ClaimId>>,
        order: Order,
        grace_ms: i64,
    },
    /// Where attempts get control groups of their own from now on; none: nowhere.
    Groups {
        tasks: Option<PathBuf>,
    },
    /// Suspends attempts for this reason, or lets them go on as far as it is the last one; none: all that run. Answered
    /// `Suspended`.
    Suspend {
        request: u64,
        claims: Option<Vec<ClaimId>>,
        by: SuspendedBy,
        on: bool,
    },
    /// Writes the output of a running attempt to its file from now on and tells of its growth. Answered `Done`.
    Follow {
        request: u64,
        claim: ClaimId,
    },
    Unfollow {
        claim: ClaimId,
    },
    /// Every event up to this one is on the disk.
    Taken {
        upto: u64,
    },
    /// Replaces itself by the program at `path` (execve(2)) under what runs. The connection ends with it;
    /// where that fails it stays what it is, answered `Refused`.
    Become {
        path: PathBuf,
    },
}

/// From the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromKeeper {
    Welcome(Welcome),
    Event {
        seq: u64,
        event: KeeperEvent,
    },
    Done {
        request: u64,
    },
    Yielded {
        request: u64,
        claims: Vec<ClaimId>,
    },
    Ending {
        request: u64,
        answers: Vec<(ClaimId, EndAnswer)>,
    },
    /// Of the claims of the request, those that run, and those that are being ended and go on.
    Suspended {
        request: u64,
        held: Vec<ClaimId>,
        ending: Vec<ClaimId>,
    },
    /// A followed attempt has written more.
    Grew {
        claim: ClaimId,
    },
    /// It cannot become what it was told to; why.
    Refused {
        error: String,
    },
}

/// [`FromKeeper::Event`] as it is sent: by reference.
#[derive(Debug, Serialize)]
pub(super) enum Told<'a> {
    Event { seq: u64, event: &'a KeeperEvent },
}

/// The inventory, the first message.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Welcome {
    pub protocol: u32,
    pub version: String,
    pub pid: u32,
    pub waiting: Vec<ClaimId>,
    pub running: Vec<ClaimId>,
    /// Ended, and the end not taken yet.
    pub ended: Vec<ClaimId>,
}

/// An attempt to run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Launch {
    pub claim: ClaimId,
    pub task_id: TaskId,
    pub attempt: u32,
    pub priority: Priority,
    pub function: String,
    pub timeout_ms: Option<i64>,
    /// Between SIGTERM and SIGKILL when it runs out of its time.
    pub grace_ms: i64,
    pub work: LaunchWork,
}

/// What it is to run.
#[derive(Debug, Serialize, Deserialize)]
pub enum LaunchWork {
    Simulate { duration_ms: i64, fails: bool },
    Unrunnable { error: String },
    Process(Box<LaunchProcess>),
}

/// A process to start.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct LaunchProcess {
    pub program: String,
    pub argv: Vec<String>,
    pub cwd: String,
    /// The id of the environment beneath.
    pub environment: i64,
    /// On top of it.
    pub variables: Vec<(String, String)>,
    #[serde(with = "serde_bytes")]
    pub stdin: Vec<u8>,
    /// In place of `stdin`, when that is long. To unlink at the end.
    pub stdin_file: Option<String>,
    pub value_pipe: bool,
    /// To unlink at the end.
    pub script: Option<String>,
    /// Variables whose values are read when it has its slot, and masked in what it writes.
    #[serde(default)]
    pub secrets: Vec<Wanted>,
    #[serde(default)]
    pub limits: Limits,
    /// What may be there before it.
    #[serde(default)]
    pub prepared: Option<Prepared>,
}

/// An event; kept until it is taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum KeeperEvent {
    Started { claim: ClaimId, task_id: TaskId, started_at: i64 },
    Ended(Box<KeeperEnd>),
}

/// The end of an attempt, before anybody has judged it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeeperEnd {
    pub claim: ClaimId,
    pub task_id: TaskId,
    pub attempt: u32,
    pub function: String,
    pub started_at: i64,
    pub finished_at: i64,
    pub run_ms: i64,
    /// The time limit that it had.
    pub timeout_ms: Option<i64>,
    /// The limits that it had.
    #[serde(default)]
    pub limits: Limits,
    pub order: Option<Order>,
    pub how: How,
    #[serde(with = "serde_bytes")]
    pub frames: Vec<u8>,
    pub spilled: bool,
    pub dropped: i64,
}

/// What kind of end it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum How {
    Simulated {
        duration_ms: i64,
        failed: bool,
    },
    /// There never was a process; why, and whether trying again could help.
    NotRun {
        error: String,
        permanent: bool,
    },
    Process {
        exit_code: Option<i32>,
        signal: Option<i32>,
        cpu_us: i64,
        max_rss: i64,
        /// It died of SIGKILL while the kernel killed processes for want of memory.
        #[serde(default)]
        out_of_memory: bool,
    },
    /// A worker has answered; the line is [`crate::output::VALUE`].
    Answered,
}

/// Why an attempt is suspended: it goes on when none of these is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SuspendedBy {
    /// Its task is paused.
    Task,
    /// The executor is.
    Executor,
    /// A gate is closed.
    Gate,
}

/// What an order to end met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndAnswer {
    /// It had not started, and now will not.
    Yielded,
    /// It runs and was told to end.
    Ordered,
    /// It had ended before.
    Ended,
    /// The keeper does not have it.
    Unknown,
}

/// A message with its length.
///
/// # Errors
/// When it cannot be encoded (never, for these types).
pub fn encode<M: Serialize>(message: &M) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    append(&mut bytes, message)?;
    Ok(bytes)
}

/// Appends a message with its length.
///
/// # Errors
/// As [`encode`]; nothing is appended then.
pub(super) fn append<M: Serialize>(bytes: &mut Vec<u8>, message: &M) -> io::Result<()> {
    let start = bytes.len();
    bytes.extend([0; 4]);
    let written = rmp_serde::encode::write_named(bytes, message).map_err(io::Error::other);
    let length = written.and_then(|()| u32::try_from(bytes.len() - start - 4).map_err(io::Error::other));
    match length {
        Ok(length) => bytes[start..start + 4].copy_from_slice(&length.to_le_bytes()),
        Err(_) => bytes.truncate(start),
    }
    length.map(drop)
}

/// Bytes that came, taken off message by message.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// Where the first message that was not taken begins.
    start: usize,
}

impl Inbox {
    /// Where to append what comes.
    pub fn space(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.start);
        self.start = 0;
        &mut self.bytes
    }

    /// Takes the first whole message, if there is one.
    ///
    /// # Errors
    /// When the bytes are no message.
    pub fn take<M: DeserializeOwned>(&mut self) -> io::Result<Option<M>> {
        let Some((length, rest)) = self.bytes[self.start..].split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > LONGEST {
            return Err(io::Error::other(format!("a message of {length} bytes")));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = rmp_serde::from_slice(body).map_err(io::Error::other)?;
        self.start += 4 + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_off_whole_and_in_order() {
        let mut inbox = Inbox::default();
        let sent = encode(&vec![1, 2]).expect("bytes");
        inbox.space().extend(&sent);
        inbox.space().extend(&sent[..5]);
        assert_eq!(inbox.take::<Vec<i32>>().expect("a message"), Some(vec![1, 2]));
        assert_eq!(inbox.take::<Vec<i32>>().expect("no message yet"), None);
        inbox.space().extend(&sent[5..]);
        assert_eq!(inbox.take::<Vec<i32>>().expect("a message"), Some(vec![1, 2]));
    }

    #[test]
    fn damage_is_an_error() {
        let mut inbox = Inbox::default();
        inbox.space().extend([0xFF; 8]);
        assert!(inbox.take::<Vec<i32>>().is_err());
    }
}
