//! Opening the queue: identity, pragmas (read back, for SQLite ignores a misspelt one in silence), migrations.

use std::mem::ManuallyDrop;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::LazyLock;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::db::Db;
use super::error::{self, OpenError, QueueError};

static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(migrations);

#[cfg(not(feature = "next"))]
fn migrations() -> Migrator {
    sqlx::migrate!()
}

/// With one more than there are.
#[cfg(feature = "next")]
fn migrations() -> Migrator {
    use sqlx::migrate::{Migration, MigrationType};

    let mut migrator = sqlx::migrate!();
    let version = 1 + migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
    let add = sqlx::AssertSqlSafe("ALTER TABLE executor ADD COLUMN next INTEGER".to_owned());
    let next =
        Migration::new(version, "next".into(), MigrationType::Simple, sqlx::SqlSafeStr::into_sql_str(add), false);
    migrator.migrations.to_mut().push(next);
    migrator
}

/// In the file's header: "BaEx".
const APPLICATION_ID: i64 = 0x4261_4578;
/// Every SQLite before it can corrupt a WAL file when two connections write or checkpoint at the same
/// moment (sqlite.org/wal.html, "The WAL-Reset Bug").
const SQLITE_AT_LEAST: (&str, &[u32]) = ("3.51.3", &[3, 51, 3]);
/// The size of a page, SQLite's own default.
pub(super) const PAGE_BYTES: u64 = 4096;
/// How the writer's connection is set. It moves the log into the file itself, and hears of errors.
const WRITING: [(&str, i64); 5] = [
    ("synchronous", 2 /* FULL */),
    ("foreign_keys", 0),
    ("temp_store", 2 /* MEMORY */),
    ("wal_autocheckpoint", 0),
    ("journal_size_limit", 64 << 20),
];
/// Readers beside the writer; each is a thread of sqlx.
const READERS: u32 = 4;
/// How many of them may look tasks over for filters.
pub(super) const SCANS: usize = 2;

/// A connection of sqlx that may write; closed by whoever means it, as [`Db`].
pub(super) type Migrated = ManuallyDrop<SqliteConnection>;

/// Opens (or creates) the queue for writing, migrated.
pub(super) async fn writer(path: &Path) -> Result<Db, OpenError> {
    let migrated = migrated(path).await?;
    let reading = |error| OpenError::reading(path, error);
    let db = Db::open(path).map_err(reading)?;
    for (pragma, wanted) in WRITING {
        let found = db.set(pragma, wanted).map_err(reading)?;
        if found != wanted {
            let (found, wanted) = (found.to_string(), wanted.to_string());
            return Err(OpenError::Pragma { path: path.to_owned(), pragma, found, wanted });
        }
    }
    // Before the other goes, which then is not the last, and moves nothing of the log.
    db.one("SELECT count(*) FROM sqlite_master", [], |_| Ok(())).map_err(reading)?;
    ManuallyDrop::into_inner(migrated).close().await.map_err(|error| OpenError::opening(path, error))?;
    Ok(db)
}

/// Opens (or creates) the queue with its pragmas, read back, and its tables.
pub(super) async fn migrated(path: &Path) -> Result<Migrated, OpenError> {
    let open = |error| OpenError::opening(path, error);
    refuse_newer(path).await?;
    let connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .pragma("application_id", APPLICATION_ID.to_string())
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(false)
        // Termux has no folder for what a migration sorts.
        .pragma("temp_store", "MEMORY")
        // Nothing is moved out of the log by the way.
        .pragma("wal_autocheckpoint", "0")
        .disable_statement_logging()
        .connect()
        .await
        .map_err(open)?;
    let mut connection = ManuallyDrop::new(connection);
    for file in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(file);
        if Path::new(&name).exists() {
            std::fs::set_permissions(&name, std::fs::Permissions::from_mode(0o600)).map_err(OpenError::File)?;
        }
    }
    check_sqlite(&mut connection).await?;
    for (pragma, wanted) in [("journal_mode", "wal"), ("synchronous", "2"), ("auto_vacuum", "2")] {
        let found = pragma_text(&mut connection, pragma).await.map_err(open)?;
        if found != wanted {
            return Err(OpenError::Pragma { path: path.to_owned(), pragma, found, wanted: wanted.to_owned() });
        }
    }
    MIGRATIONS.run(&mut *connection).await.map_err(|error| OpenError::migrating(path, error))?;
    Ok(connection)
}

/// A small pool that cannot write.
pub(super) async fn readers(path: &Path) -> Result<SqlitePool, OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(false)
        .pragma("query_only", "1")
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .min_connections(0)
        .connect_with(options)
        .await
        .map_err(|error| OpenError::opening(path, error))
}

/// The newest migration of this program.
pub fn known_schema() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Looks at an existing file without changing it.
pub(super) async fn refuse_newer(path: &Path) -> Result<(), OpenError> {
    let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    if bytes == 0 {
        return Ok(());
    }
    let open = |error| OpenError::opening(path, error);
    // A connection that may write would move the write-ahead log into the file when it is closed.
    let mut connection = SqliteConnectOptions::new().filename(path).read_only(true).connect().await.map_err(open)?;
    let application = match pragma_text(&mut connection, "application_id").await {
        // A journal waits to be rolled back. A queue has one only while it is made, when there is no table yet.
        Err(error) if error::is_rollback_needed(&error) => {
            return if bytes <= PAGE_BYTES { Ok(()) } else { Err(OpenError::Foreign { path: path.to_owned() }) };
        }
        application => application.map_err(open)?,
    };
    let migrated: bool = sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'")
        .fetch_one(&mut connection)
        .await
        .map_err(open)?;
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_master").fetch_one(&mut connection).await.map_err(open)?;
    if application != APPLICATION_ID.to_string() && tables > 0 {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let found: i64 = if migrated {
        sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
            .fetch_one(&mut connection)
            .await
            .map_err(open)?
    } else {
        0
    };
    connection.close().await.map_err(open)?;
    let known = known_schema();
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    Ok(())
}

async fn check_sqlite(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let found = sqlite_version(connection).await?;
    let parts: Vec<u32> = found.split('.').filter_map(|part| part.parse().ok()).collect();
    if parts.as_slice() < SQLITE_AT_LEAST.1 {
        return Err(OpenError::OldSqlite { found, needed: SQLITE_AT_LEAST.0 });
    }
    Ok(())
}

/// The version of the SQLite that is linked in.
pub(super) async fn sqlite_version(connection: &mut SqliteConnection) -> Result<String, QueueError> {
    Ok(sqlx::query_scalar("SELECT sqlite_version()").fetch_one(connection).await?)
}

/// A pragma's value as text, whatever its type.
async fn pragma_text(connection: &mut SqliteConnection, pragma: &'static str) -> Result<String, sqlx::Error> {
    let statement = match pragma {
        "journal_mode" => "SELECT CAST(journal_mode AS TEXT) FROM pragma_journal_mode",
        "synchronous" => "SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous",
        "auto_vacuum" => "SELECT CAST(auto_vacuum AS TEXT) FROM pragma_auto_vacuum",
        _ => "SELECT CAST(application_id AS TEXT) FROM pragma_application_id",
    };
    sqlx::query_scalar(statement).fetch_one(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_killed_daemon_left_in_the_log_stays_there_when_the_queue_is_opened() {
        let (killed, next) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let first = writer(&killed.path().join("queue.db")).await.expect("a queue");
        first.run("UPDATE executor SET reason = 'in the log'", []).expect("written");
        for file in ["queue.db", "queue.db-wal"] {
            std::fs::copy(killed.path().join(file), next.path().join(file)).expect("copied");
        }
        first.close().expect("closed");

        let path = next.path().join("queue.db");
        let before = std::fs::read(&path).expect("the file");
        let db = writer(&path).await.expect("opened");
        assert!(std::fs::read(&path).expect("the file") == before, "nothing is moved into it");
        let reason: String = db.one("SELECT reason FROM executor", [], |row| row.get(0)).expect("read");
        assert_eq!(reason, "in the log");
        db.close().expect("closed");
        assert!(std::fs::read(&path).expect("the file") != before, "by closing it is");
    }
    #[tokio::test]
    async fn a_migration_needs_no_folder_for_what_it_sorts() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut connection = migrated(&folder.path().join("queue.db")).await.expect("a queue");
        let store: i64 = sqlx::query_scalar("PRAGMA temp_store").fetch_one(&mut *connection).await.expect("read");
        assert_eq!(store, 2, "in memory");
        ManuallyDrop::into_inner(connection).close().await.expect("closed");
    }
}
