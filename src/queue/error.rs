//! What can go wrong with the queue, sorted by what follows from it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::FromSqlError;
use sqlx::migrate::MigrateError;

use crate::space::Shortage;

/// Why an operation on the queue failed. Cloneable: one failed commit answers every caller of its group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// Disk full, read-only, busy: rolled back, and tried again by whoever asks again.
    #[error("the queue cannot be written now: {0}; nothing was changed")]
    Unavailable(Arc<str>),
    /// The disk is at its floor: what would add to it is refused.
    #[error("{0}; nothing was added: make room, and ask again")]
    NoRoom(Shortage),
    /// An I/O error or corruption: the daemon ends (exit 74) and what was asked may or may not be in the queue.
    #[error(
        "the queue is damaged or its disk fails: {0}; what was asked for may or may not be in the queue, and the daemon ends. See what to do with: batch-executor doctor"
    )]
    Damaged(String),
    /// The file is no longer at its place: what was asked is in a file that nobody finds. The daemon ends.
    #[error("the queue `{0}` was deleted, moved or replaced under the daemon; what was asked is not kept")]
    Gone(PathBuf),
    /// A statement of ours is wrong.
    #[error("internal error in the queue: {0}")]
    Statement(Arc<str>),
    /// A stored value that this program cannot have written.
    #[error(
        "the queue holds a value that is not understood: {0}. Repair it with: batch-executor daemon stop, then batch-executor doctor --repair"
    )]
    Value(String),
    /// The writer has ended.
    #[error("the daemon is ending")]
    Closed,
}

/// Primary result codes of SQLite (sqlite.org/rescode.html) that pass by themselves.
const PASSING: &[i64] = &[
    5,  /* BUSY */
    6,  /* LOCKED */
    7,  /* NOMEM */
    8,  /* READONLY */
    13, /* FULL */
    14, /* CANTOPEN */
];
/// Those after which this file must not be written any more.
const FATAL: &[i64] = &[10 /* IOERR */, 11 /* CORRUPT */, 26 /* NOTADB */];

/// Those of a file that is no database, or not any more.
const DAMAGED: &[i64] = &[11 /* CORRUPT */, 26 /* NOTADB */];

/// I/O errors by their extended code that pass by themselves: no memory, and no room for the shared memory.
const PASSING_IO: &[i64] = &[3082 /* IOERR_NOMEM */, 4874 /* IOERR_SHMSIZE */];
/// Those of a file system on which the readers cannot share memory with the writer.
const NO_SHARED_MEMORY: &[i64] =
    &[4618 /* IOERR_SHMOPEN */, 5130 /* IOERR_SHMLOCK */, 5386 /* IOERR_SHMMAP */];

fn extended_code(error: &sqlx::Error) -> Option<i64> {
    error.as_database_error()?.code()?.parse().ok()
}

fn primary_code(error: &sqlx::Error) -> Option<i64> {
    extended_code(error).map(|code| code & 0xff)
}

/// Whether the file is damaged, whatever the disk does.
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    primary_code(error).is_some_and(|code| DAMAGED.contains(&code))
}

/// Whether a journal must be rolled back before the file can be read.
pub(super) fn is_rollback_needed(error: &sqlx::Error) -> bool {
    extended_code(error) == Some(776 /* READONLY_ROLLBACK */)
}

impl From<sqlx::Error> for QueueError {
    fn from(error: sqlx::Error) -> Self {
        let is_value = matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_));
        Self::sorted(extended_code(&error), is_value, error.to_string())
    }
}

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};

        let is_value = matches!(
            error,
            FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..)
        );
        let code = error.sqlite_error().map(|error| error.extended_code.into());
        let text = code.map_or_else(|| error.to_string(), |code| format!("(code: {code}) {error}"));
        Self::sorted(code, is_value, text)
    }
}

impl From<FromSqlError> for QueueError {
    fn from(error: FromSqlError) -> Self {
        rusqlite::Error::from(error).into()
    }
}

impl QueueError {
    /// The error of an extended code; `is_value`: a column's value is not of its type, which is checked when it is written.
    fn sorted(extended: Option<i64>, is_value: bool, text: String) -> Self {
        match extended.map(|code| code & 0xff) {
            None if is_value => Self::Value(text),
            Some(code) if PASSING.contains(&code) || extended.is_some_and(|code| PASSING_IO.contains(&code)) => {
                Self::Unavailable(text.into())
            }
            Some(code) if FATAL.contains(&code) => Self::Damaged(text),
            _ => Self::Statement(text.into()),
        }
    }

    /// Whether this file must not be written any more.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Gone(_))
    }

    /// Whether nothing is written any more by this daemon, for this reason or because it is ending.
    pub const fn is_over(&self) -> bool {
        self.is_final() || matches!(self, Self::Closed)
    }
}

impl OpenError {
    /// What is read and written first shows damage that the way in did not.
    pub(super) fn reading(path: &Path, error: QueueError) -> Self {
        match error {
            QueueError::Damaged(error) | QueueError::Value(error) => Self::Damaged { path: path.to_owned(), error },
            error => Self::Read(error),
        }
    }

    pub(super) fn migrating(path: &Path, error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) if is_damage(&error) => {
                Self::Damaged { path: path.to_owned(), error: error.to_string() }
            }
            error => Self::Migrate { path: path.to_owned(), error },
        }
    }

    pub(super) fn opening(path: &Path, error: sqlx::Error) -> Self {
        let path = path.to_owned();
        if is_damage(&error) {
            Self::Damaged { path, error: error.to_string() }
        } else if extended_code(&error).is_some_and(|code| NO_SHARED_MEMORY.contains(&code)) {
            Self::SharedMemory { path, error }
        } else {
            Self::Open { path, error }
        }
    }
}

/// Why the queue cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the queue `{path}` was written by a newer batch-executor (schema {found}, this program knows {known}); it was left untouched: install the newer program"
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("`{path}` is not a queue of batch-executor; it was left untouched")]
    Foreign { path: PathBuf },
    #[error("the bundled SQLite is {found}, but at least {needed} is needed")]
    OldSqlite { found: String, needed: &'static str },
    #[error(
        "the queue `{path}` cannot be used: `PRAGMA {pragma}` is {found}, not {wanted} (is the home on a file system without shared memory?)"
    )]
    Pragma { path: PathBuf, pragma: &'static str, found: String, wanted: String },
    #[error(
        "the queue `{path}` is damaged or no database ({error}); it was left untouched: save what can be read with `batch-executor doctor --repair`, or put a backup in its place"
    )]
    Damaged { path: PathBuf, error: String },
    #[error(
        "the queue `{path}` is on a file system without shared memory ({error}); it was left untouched: choose a home on a local disk with --home or BATCH_EXECUTOR_HOME"
    )]
    SharedMemory { path: PathBuf, error: sqlx::Error },
    #[error("the queue `{path}` cannot be opened: {error}")]
    Open { path: PathBuf, error: sqlx::Error },
    #[error("the queue `{path}` cannot be migrated: {error}")]
    Migrate { path: PathBuf, error: MigrateError },
    #[error("the queue's file cannot be prepared: {0}")]
    File(io::Error),
    #[error(transparent)]
    Read(#[from] QueueError),
}
