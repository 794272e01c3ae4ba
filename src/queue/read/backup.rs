//! A consistent copy of the queue, made while it is in use.

use std::path::Path;

use sqlx::{ConnectOptions, Connection};

use super::super::Queue;
use super::super::error::{self, QueueError};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The copy's disk, not the queue's.
    #[error("the backup cannot be written: {0}")]
    Copy(sqlx::Error),
}

impl Queue {
    /// Copies the queue, as it is at one moment, into the empty file `into`. It is one read transaction: the writer goes
    /// on, and its log grows by what is written meanwhile (docs/architecture.md says why it is done so).
    ///
    /// # Errors
    /// When the queue cannot be read, or the copy cannot be written.
    pub async fn back_up(&self, into: &Path) -> Result<(), BackupError> {
        // A connection of its own: none of the few readers is taken from others, and those may not write any file.
        let options = (*self.readers.connect_options()).clone().read_only(true).pragma("query_only", "0");
        let mut connection = options.connect().await.map_err(QueueError::from)?;
        let copied = sqlx::query("VACUUM INTO ?1").bind(into.to_string_lossy()).execute(&mut connection).await;
        drop(connection.close().await);
        // Left where there was no room for the copy.
        let mut journal = into.as_os_str().to_owned();
        journal.push("-journal");
        drop(std::fs::remove_file(journal));
        copied.map(drop).map_err(|error| {
            if error::is_damage(&error) { BackupError::Queue(error.into()) } else { BackupError::Copy(error) }
        })
    }
}
