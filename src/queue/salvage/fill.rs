//! A fresh queue is filled with salvaged rows and made whole.

use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::Repaired;
use super::pages::Pages;
use super::rows::{self, Row, Value};
use crate::queue::error::QueueError;

/// About so many rows go into one transaction.
const CHUNK: u32 = 5000;
/// More tasks than a page holds: so many ids are left out for each page that cannot be read.
const IDS_OF_A_PAGE: i64 = 200;

/// A table of the fresh queue.
#[derive(Debug)]
pub(super) struct Table {
    pub name: String,
    pub without_rowid: bool,
    pub root: u32,
    /// In the order in which they are stored.
    columns: Vec<String>,
    /// The column that is the row's id and is not stored in the record.
    id_column: Option<usize>,
}

/// The tables of a fresh queue whose rows are salvaged. The tallies are not: they are counted.
pub(super) async fn tables(connection: &mut SqliteConnection) -> Result<Vec<Table>, QueueError> {
    let found: Vec<(String, bool, u32)> = sqlx::query_as(
        "SELECT list.name, wr, rootpage FROM pragma_table_list AS list JOIN sqlite_master AS made ON made.name = list.name
         WHERE list.schema = 'main' AND list.type = 'table' AND list.name NOT IN ('sqlite_schema', 'tally', '_sqlx_migrations')",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut tables = Vec::new();
    for (name, without_rowid, root) in found {
        // A table without rowid stores its key first.
        let columns: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT name, type, pk FROM pragma_table_info(?1) ORDER BY CASE WHEN NOT ?2 THEN 0 WHEN pk > 0 THEN pk ELSE 1000 END, cid",
        )
        .bind(&name)
        .bind(without_rowid)
        .fetch_all(&mut *connection)
        .await?;
        let keys = columns.iter().filter(|(_, _, key)| *key > 0).count();
        let is_id = |(_, kind, key): &(String, String, i64)| *key > 0 && kind == "INTEGER" && keys == 1;
        let id_column = if without_rowid { None } else { columns.iter().position(is_id) };
        let columns = columns.into_iter().map(|(column, ..)| column).collect();
        tables.push(Table { name, without_rowid, root, columns, id_column });
    }
    Ok(tables)
}

impl Table {
    /// Takes a stored row in; a row of an earlier schema has fewer columns, at the end.
    fn insert(&self, row: Row) -> Option<sqlx::query::Query<'_, sqlx::Sqlite, SqliteArguments>> {
        if row.values.is_empty() || row.values.len() > self.columns.len() {
            return None;
        }
        let named: Vec<String> = self.columns[..row.values.len()].iter().map(|name| format!("\"{name}\"")).collect();
        let places = vec!["?"; named.len()].join(", ");
        // What a migration has put in gives way to what was stored.
        let text = format!("INSERT OR REPLACE INTO \"{}\" ({}) VALUES ({places})", self.name, named.join(", "));
        let mut query = sqlx::query(AssertSqlSafe(text));
        for (column, value) in row.values.into_iter().enumerate() {
            query = match value {
                Value::Null if self.id_column == Some(column) => query.bind(row.id),
                Value::Null => query.bind(None::<i64>),
                Value::Integer(number) => query.bind(number),
                Value::Real(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
                Value::Blob(bytes) => query.bind(bytes),
            };
        }
        Some(query)
    }
}

/// Fills a fresh queue.
pub(super) struct Filler<'c> {
    connection: &'c mut SqliteConnection,
    tables: Vec<Table>,
    counts: Vec<u64>,
    unreadable_rows: u64,
    /// The highest ids that were ever given, as far as the file says: for tasks and batches.
    sequences: Vec<(String, i64)>,
    in_transaction: u32,
}

impl<'c> Filler<'c> {
    pub(super) async fn new(connection: &'c mut SqliteConnection, tables: Vec<Table>) -> Result<Self, QueueError> {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        let counts = vec![0; tables.len()];
        Ok(Self { connection, tables, counts, unreadable_rows: 0, sequences: Vec::new(), in_transaction: 0 })
    }

    /// Whether no row was found.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// Takes the rows of a page in.
    pub(super) async fn page(&mut self, pages: &Pages, page: u32, table: usize) -> Result<(), QueueError> {
        let of = &self.tables[table];
        let Some(content) = rows::content(pages, page, of.without_rowid) else { return Ok(()) };
        for row in content.rows {
            let Some(row) = row else {
                self.unreadable_rows += 1;
                continue;
            };
            if of.name == "sqlite_sequence" {
                if let [Value::Text(name), Value::Integer(last)] = row.values.as_slice() {
                    self.sequences.push((name.clone(), *last));
                }
                continue;
            }
            let Some(insert) = of.insert(row) else {
                self.unreadable_rows += 1;
                continue;
            };
            match insert.execute(&mut *self.connection).await {
                Ok(_) => self.counts[table] += 1,
                // A value that its column does not take.
                Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| is_constraint(&code)) => {
                    self.unreadable_rows += 1;
                }
                Err(error) => return Err(error.into()),
            }
            self.in_transaction += 1;
        }
        if self.in_transaction >= CHUNK {
            self.in_transaction = 0;
            self.run("COMMIT; BEGIN IMMEDIATE").await?;
        }
        Ok(())
    }

    async fn run(&mut self, statements: &'static str) -> Result<u64, QueueError> {
        Ok(sqlx::query(statements).execute(&mut *self.connection).await?.rows_affected())
    }

    /// Makes what was taken in a whole queue.
    pub(super) async fn finish(mut self, unreadable_pages: usize) -> Result<Repaired, QueueError> {
        let mut notes = Vec::new();
        self.keep_ids(unreadable_pages).await?;
        let has = |tables: &[Table], counts: &[u64], name| {
            tables.iter().zip(counts).any(|(table, count)| table.name == name && *count > 0)
        };
        if !has(&self.tables, &self.counts, "executor") {
            self.run(NO_EXECUTOR).await?;
            notes.push("the executor's state was lost; it is stopped".to_owned());
        }
        if !has(&self.tables, &self.counts, "clock") {
            self.run(NO_CLOCK).await?;
            notes.push("delays and the deadline were lost; what waited may run at once".to_owned());
        }
        for (statements, note) in MEND {
            let rows = self.run(statements).await?;
            if rows > 0 && !note.is_empty() {
                notes.push(format!("{note}: {rows}"));
            }
        }
        self.run("COMMIT").await?;
        let mut tables = Vec::new();
        for table in self.tables.iter().filter(|table| table.name != "sqlite_sequence") {
            let count = format!("SELECT count(*) FROM \"{}\"", table.name);
            let rows: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *self.connection).await?;
            tables.push((table.name.clone(), rows.unsigned_abs()));
        }
        let unreadable_rows = self.unreadable_rows;
        Ok(Repaired { saved: std::path::PathBuf::new(), tables, unreadable_pages, unreadable_rows, notes })
    }

    /// No id is given twice: the next one is beyond all that were given, and where the file does not say which was the
    /// last, beyond all that may have been on the pages that cannot be read.
    async fn keep_ids(&mut self, unreadable_pages: usize) -> Result<(), QueueError> {
        let unseen = i64::try_from(unreadable_pages).unwrap_or(0).saturating_mul(IDS_OF_A_PAGE);
        let tasks: i64 = sqlx::query_scalar(
            "SELECT max(coalesce((SELECT max(id) FROM task), 0), coalesce((SELECT max(task_id) FROM task_input), 0),
                 coalesce((SELECT max(task_id) FROM attempt), 0), coalesce((SELECT max(task_id) FROM output), 0))",
        )
        .fetch_one(&mut *self.connection)
        .await?;
        let batches: i64 = sqlx::query_scalar(
            "SELECT max(coalesce((SELECT max(id) FROM batch), 0), coalesce((SELECT max(batch_id) FROM task), 0))",
        )
        .fetch_one(&mut *self.connection)
        .await?;
        for (table, seen) in [("task", tasks), ("batch", batches)] {
            let stored = self.sequences.iter().filter(|(name, _)| name == table).map(|(_, last)| *last).max();
            let last = stored.map_or(seen.saturating_add(unseen), |stored| stored.max(seen));
            sqlx::query(
                "DELETE FROM sqlite_sequence WHERE name = ?1; INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)",
            )
            .bind(table)
            .bind(last)
            .execute(&mut *self.connection)
            .await?;
        }
        Ok(())
    }
}

/// SQLITE_CONSTRAINT or SQLITE_MISMATCH.
fn is_constraint(code: &str) -> bool {
    code.parse::<i64>().is_ok_and(|code| [19, 20].contains(&(code & 0xff)))
}

/// Claims that a keeper may still hold must not be given again.
const NO_EXECUTOR: &str = "UPDATE executor SET next_claim = 1048576 + coalesce((SELECT max(claim) FROM task), 0), reason = 'repaired' WHERE id = 1";
/// Queue time begins anew.
const NO_CLOCK: &str = "UPDATE task SET state = 0, ready_at = NULL WHERE state = 1 AND paused IS NULL; UPDATE executor SET deadline = NULL";
/// What makes the rows a queue, in this order, and what is said of the rows that it changed.
const MEND: &[(&str, &str)] = &[
    (
        "DELETE FROM task WHERE state NOT BETWEEN 0 AND 5 OR priority NOT BETWEEN 0 AND 3 OR name = '' OR function = ''",
        "tasks left out, for their values make no sense",
    ),
    (
        "DELETE FROM task_input WHERE task_id NOT IN (SELECT id FROM task)",
        "tasks lost of which only the parameters could be read",
    ),
    (
        "DELETE FROM attempt WHERE task_id NOT IN (SELECT id FROM task) OR outcome NOT BETWEEN 0 AND 5",
        "attempts left out, for their tasks are lost",
    ),
    ("DELETE FROM output WHERE (task_id, number) NOT IN (SELECT task_id, number FROM attempt)", ""),
    ("DELETE FROM suspect WHERE task_id NOT IN (SELECT id FROM task)", ""),
    ("DELETE FROM task_input WHERE NOT json_valid(params) OR json_type(params) <> 'object'", ""),
    ("DELETE FROM context WHERE NOT json_valid(environment) OR json_type(environment) <> 'object'", ""),
    ("UPDATE attempt SET result = NULL WHERE NOT json_valid(result)", "results that could not be read"),
    ("UPDATE task SET permanent_exit_codes = NULL WHERE NOT json_valid(permanent_exit_codes)", ""),
    (
        "UPDATE task SET state = 4, claim = NULL, ready_at = NULL, cancel_requested = 0, run_ms = coalesce(run_ms, 0),
             finished_at = CAST(unixepoch('subsec') * 1000 AS INTEGER),
             reason = 'its parameters, folder or environment were lost with a damaged page of the queue; add it anew'
         WHERE state < 3 AND id NOT IN (SELECT task_id FROM task_input JOIN context ON context.id = context_id)",
        "queued tasks that have failed, for their parameters, folder or environment are lost",
    ),
    (
        "INSERT INTO task_input (task_id, params, context_id) SELECT id, '{}', 0 FROM task
         WHERE id NOT IN (SELECT task_id FROM task_input)",
        "tasks that have lost their parameters",
    ),
    (
        "INSERT INTO context (id, hash, cwd, environment)
         SELECT DISTINCT context_id, CAST('lost ' || context_id AS BLOB), '/', '{}' FROM task_input
         WHERE context_id NOT IN (SELECT id FROM context)",
        "",
    ),
    (
        "INSERT INTO batch (id, created_at) SELECT batch_id, min(created_at) FROM task
         WHERE batch_id NOT IN (SELECT id FROM batch) GROUP BY batch_id",
        "batches that have lost their names",
    ),
    (
        "UPDATE task SET claim = NULL WHERE claim IS NOT NULL AND state NOT IN (0, 2);
         UPDATE task SET state = 0, paused = NULL WHERE state = 2 AND claim IS NULL;
         UPDATE task SET state = 0, ready_at = NULL WHERE state = 1 AND ready_at IS NULL AND paused IS NULL",
        "",
    ),
    (
        "UPDATE executor SET next_claim = max(next_claim, 1 + coalesce((SELECT max(claim) FROM task), 0)),
             state = iif(state BETWEEN 0 AND 2, state, 0), max_concurrent = min(max(max_concurrent, 1), 10000)",
        "",
    ),
    (
        "UPDATE tally SET (tasks, run_ms) = (SELECT count(*), coalesce(sum(run_ms) FILTER (WHERE task.state >= 3), 0)
             FROM task WHERE task.state = tally.state AND task.priority = tally.priority);
         UPDATE batch SET (queued, running, completed, failed, cancelled, run_ms) =
             (SELECT count(*) FILTER (WHERE state < 2), count(*) FILTER (WHERE state = 2),
                  count(*) FILTER (WHERE state = 3), count(*) FILTER (WHERE state = 4),
                  count(*) FILTER (WHERE state = 5), coalesce(sum(run_ms) FILTER (WHERE state IN (3, 4)), 0)
              FROM task WHERE batch_id = batch.id);
         DELETE FROM batch WHERE expecting + queued + running + completed + failed + cancelled = 0",
        "",
    ),
];
