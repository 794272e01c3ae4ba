//! The connection that writes: SQLite in the writer's own thread, so that a statement is a call and no way to another thread
//! (docs/performance.md). Readers have sqlx's pool, and migrations its connection.

use std::mem::ManuallyDrop;
use std::path::Path;

use rusqlite::{CachedStatement, Connection, OpenFlags, Params, Row};

use super::error::QueueError;

/// More than there are statements of ours.
const KEPT_PREPARED: usize = 128;

/// It is closed by whoever means it, and never dropped: SQLite moves the log into the file when it closes, and nothing must be
/// written any more where a sync has failed or a page is damaged.
pub(super) struct Db(ManuallyDrop<Connection>);

impl Db {
    /// Opens a queue that is there, as it is.
    pub(super) fn open(path: &Path) -> Result<Self, QueueError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(KEPT_PREPARED);
        Ok(Self(ManuallyDrop::new(connection)))
    }

    /// Sets a pragma of this connection; the answer is what it is then, for SQLite ignores a misspelt one in silence.
    pub(super) fn set(&self, pragma: &str, value: i64) -> Result<i64, QueueError> {
        self.0.pragma_update(None, pragma, value)?;
        Ok(self.0.pragma_query_value(None, pragma, |row| row.get(0))?)
    }

    /// A statement that is prepared once and kept.
    pub(super) fn prepare(&self, statement: &str) -> Result<CachedStatement<'_>, QueueError> {
        Ok(self.0.prepare_cached(statement)?)
    }

    /// Carries a statement out that gives no rows; the answer is how many it changed.
    pub(super) fn run(&self, statement: &str, values: impl Params) -> Result<usize, QueueError> {
        Ok(self.prepare(statement)?.execute(values)?)
    }

    /// All rows.
    pub(super) fn all<T>(
        &self,
        statement: &str,
        values: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, QueueError> {
        Ok(self.prepare(statement)?.query_map(values, read)?.collect::<Result<_, _>>()?)
    }

    /// The first row; none where there is none.
    pub(super) fn first<T>(
        &self,
        statement: &str,
        values: impl Params,
        mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, QueueError> {
        let mut statement = self.prepare(statement)?;
        let mut rows = statement.query(values)?;
        Ok(rows.next()?.map(&mut read).transpose()?)
    }

    /// The row of a statement that always has one.
    pub(super) fn one<T>(
        &self,
        statement: &str,
        values: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, QueueError> {
        Ok(self.prepare(statement)?.query_row(values, read)?)
    }

    /// As [`Self::one`], of a statement that comes once and is not kept.
    pub(super) fn once<T>(
        &self,
        statement: &str,
        values: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, QueueError> {
        Ok(self.0.query_row(statement, values, read)?)
    }

    /// The id of the row that was inserted last.
    pub(super) fn last_id(&self) -> i64 {
        self.0.last_insert_rowid()
    }

    /// Closes it, by which the log is moved into the file where no reader is left.
    pub(super) fn close(self) -> Result<(), QueueError> {
        ManuallyDrop::into_inner(self.0).close().map_err(|(connection, error)| {
            std::mem::forget(connection);
            error.into()
        })
    }
}
