//! What `doctor` asks of the database; grows with the queue, so never part of a start.

use sqlx::SqliteConnection;

use super::super::error::QueueError;
use super::super::open::sqlite_version;
use super::super::{Queue, known_schema};

/// The state of the file.
#[derive(Debug, Clone)]
pub struct DatabaseHealth {
    pub sqlite: String,
    pub schema: i64,
    /// `ok`, or what `PRAGMA quick_check` found.
    pub check: String,
    /// None: the tallies agree with the rows.
    pub tally_difference: Option<String>,
}

impl Queue {
    /// Checks the file and the tallies.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn health(&self) -> Result<DatabaseHealth, QueueError> {
        let mut connection = self.readers.acquire().await?;
        let sqlite = sqlite_version(&mut connection).await?;
        let found: Vec<String> =
            sqlx::query_scalar("SELECT quick_check FROM pragma_quick_check").fetch_all(&mut *connection).await?;
        let tally_difference = tally_difference(&mut connection).await?;
        Ok(DatabaseHealth { sqlite, schema: known_schema(), check: found.join("; "), tally_difference })
    }
}

/// Where the tallies are not the rows, if they are not.
pub(in crate::queue) async fn tally_difference(
    connection: &mut SqliteConnection,
) -> Result<Option<String>, QueueError> {
    // One statement, so one moment: the writer goes on meanwhile.
    let differences: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT tally.state, tally.priority, tasks, coalesce(n, 0) FROM tally
         LEFT JOIN (SELECT state, priority, count(*) AS n FROM task GROUP BY state, priority) AS counted
             ON counted.state = tally.state AND counted.priority = tally.priority
         WHERE tasks <> coalesce(n, 0)",
    )
    .fetch_all(connection)
    .await?;
    Ok(differences.first().map(|(state, priority, tallied, counted)| {
        format!("state {state}, priority {priority}: tallied {tallied}, counted {counted}")
    }))
}
