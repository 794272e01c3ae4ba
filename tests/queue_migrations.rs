//! A queue of an earlier program goes on; one that is newer, foreign or damaged is refused, untouched.

#[path = "support/shim.rs"]
mod shim;
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use support::Daemon;

/// Written by the program whose newest migration was 0001, killed together with its keeper while tasks ran.
const SCHEMA_1: &str = include_str!("migrations/schema_1.sql");

fn on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

async fn connect(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    options.connect().await.expect("a database")
}

/// A home whose queue is made by statements.
fn home_with(statements: &str) -> Daemon {
    let daemon = Daemon::home_only();
    std::fs::create_dir(daemon.home()).expect("a home");
    on(async {
        let mut connection = connect(&daemon.home().join("queue.db")).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut connection).await.expect("made");
        connection.close().await.expect("closed");
    });
    daemon
}

/// Every file of the queue with its bytes.
fn bytes(daemon: &Daemon) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(daemon.home()).expect("a home").map(|entry| entry.expect("an entry"));
    let queue = files.filter(|file| file.file_name().to_string_lossy().starts_with("queue"));
    queue.map(|f| (f.file_name().to_string_lossy().into_owned(), std::fs::read(f.path()).expect("bytes"))).collect()
}

/// Starts a daemon that must refuse the queue; gives the exit code and what it said.
fn refused(daemon: &Daemon) -> (Option<i32>, String) {
    let output = daemon.cli(&["daemon"]);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Starts a daemon that is killed at its `nth` write of the log; says whether it was.
fn killed_at(daemon: &mut Daemon, library: &str, nth: usize) -> bool {
    let (home, arm) = (daemon.home().display().to_string(), daemon.work().display().to_string());
    let fault = format!("write queue.db-wal {nth} 0 once");
    daemon.spawn(&[("LD_PRELOAD", library), ("SHIM_HOME", &home), ("SHIM_ARM", &arm), ("SHIM_FAULT", &fault)]);
    loop {
        if daemon.has_died() {
            return true;
        }
        if std::os::unix::net::UnixStream::connect(daemon.home().join("daemon.sock")).is_ok() {
            daemon.kill();
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn a_migration_that_is_killed_at_any_write_is_made_by_the_next_daemon() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = shim::compile(folder.path()).display().to_string();
    let step = if std::env::var("TORTURE").is_ok_and(|form| form == "full") { 1 } else { 7 };
    let mut lives = 0;
    for nth in (1..).step_by(step) {
        // Nothing runs, so that what is there stays as it was.
        let mut daemon = home_with(&format!("{SCHEMA_1}; UPDATE executor SET state = 0;"));
        if !killed_at(&mut daemon, &library, nth) {
            break;
        }
        lives += 1;
        daemon.serve();
        assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 13);
        let health = daemon.ok(json!({"action": "health"}));
        assert_eq!((&health["database"], &health["tally_difference"]), (&json!("ok"), &Value::Null), "write {nth}");
    }
    assert!(lives > 3, "only {lives} were killed while they migrated");
}

/// The clock of a queue whose daemon was killed just now: what is due in a day is not due yet, whenever this runs.
fn just_left() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    format!("UPDATE clock SET wall_ms = {now};")
}

/// The queues that programs of earlier schemas left: the names of their files and the statements that make them.
fn earlier_queues() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrations");
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let dumps = files.filter(|file| file.extension().is_some_and(|extension| extension == "sql"));
    dumps.map(|file| (file.display().to_string(), std::fs::read_to_string(file).expect("statements"))).collect()
}

#[test]
fn a_queue_of_any_earlier_schema_is_all_there_and_goes_on() {
    let queues = earlier_queues();
    assert!(queues.len() > 4, "{queues:?}");
    for (name, statements) in queues {
        eprintln!("{name}");
        goes_on(&statements);
    }
}

fn goes_on(statements: &str) {
    let mut daemon = home_with(&format!("{statements}; {}", just_left()));
    daemon.serve();
    let status = daemon.ok(json!({"action": "status"}));
    assert_eq!((&status["state"], &status["max_concurrent"]), (&json!("running"), &json!(2)), "the run goes on");
    // Two that ran ten minutes when it was written, and the one of a function that is not known.
    daemon.ok(json!({"action": "cancel", "task_ids": [8, 9]}));
    let counts = json!({"total": 13, "queued": 2, "running": 0, "completed": 6, "failed": 2, "cancelled": 3});
    daemon.until(&json!({"action": "status"}), |status| status["counts"] == counts);

    let show = |id: i64| daemon.ok(json!({"action": "show", "task_id": id}));
    let ended = |id: i64| {
        let task = show(id);
        (task["name"].clone(), task["status"].clone(), task["result"].clone())
    };
    let simulated = json!({"status": "simulated", "duration": 0.0});
    assert_eq!(ended(1), (json!("simulated"), json!("completed"), simulated.clone()));
    assert_eq!(show(2)["result"]["stdout"], "out\n");
    assert_eq!(show(2)["result"]["stderr"], "err\n");
    assert_eq!(ended(3), (json!("valued"), json!("completed"), json!({"twice": 42})));
    assert_eq!(show(4)["error"], "exit code 3: no");
    assert_eq!(show(5)["attempts"].as_array().map(Vec::len), Some(2));
    assert_eq!(show(6)["reason"], "cancelled by request");
    let retried = show(7);
    assert!(retried["reason"].as_str().is_some_and(|reason| reason.starts_with("retry in")), "{retried}");
    let lost = show(8);
    assert_eq!(lost["attempts"][0]["outcome"], "interrupted");
    assert_eq!((&lost["attempts"][0]["cause"], &lost["interruptions"]), (&json!("reboot"), &json!(1)));
    assert!(show(10)["reason"].as_str().is_some_and(|reason| reason.starts_with("delayed for")));
    assert_eq!(ended(11), (json!("high"), json!("completed"), simulated));
    assert!(show(13)["error"].as_str().is_some_and(|error| error.starts_with("unknown function `later`")));
    assert_eq!(daemon.ok(json!({"action": "logs", "task_id": 2, "stream": "stdout"}))["text"], "out\n");

    let again = json!({"action": "add_batch", "request_key": "key", "tasks": [
        {"name": "high", "function": "simulate", "params": {"duration": 0}, "priority": "high"},
        {"function": "simulate", "params": {"duration": 0}}, {"function": "later"}, {"bad": 1}]});
    let added = daemon.ok(again);
    assert_eq!(
        (&added["batch_id"], &added["first_task_id"], &added["repeated"]),
        (&json!(7), &json!(11), &json!(true))
    );
    let limited = json!({"action": "add", "name": "n", "function": "simulate", "limits": {"nice": 1}});
    assert_eq!(daemon.ok(limited)["task_id"], 14);
    assert_eq!((show(2).get("limits"), &show(14)["limits"]), (None, &json!({"nice": 1})));
    assert_eq!(daemon.ok(json!({"action": "health"}))["tally_difference"], Value::Null);
    // Every filter reads along an index that a migration made.
    for (status, ids) in
        [("completed", vec![1, 2, 3, 5, 11, 12]), ("failed", vec![4, 13]), ("cancelled", vec![6, 8, 9])]
    {
        let found = daemon.ok(json!({"action": "results", "filter_status": status}));
        let found: Vec<i64> =
            found["tasks"].as_array().expect("tasks").iter().filter_map(|t| t["task_id"].as_i64()).collect();
        assert_eq!(found, ids, "{status}");
    }
}

#[test]
fn a_newer_queue_is_refused_and_its_bytes_stay() {
    let newer =
        format!("{SCHEMA_1}; INSERT INTO _sqlx_migrations VALUES (99, 'later', CURRENT_TIMESTAMP, 1, x'00', 1);");
    let daemon = home_with(&newer);
    let before = bytes(&daemon);
    let (code, said) = refused(&daemon);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("newer") && said.contains("schema 99"), "{said}");
    assert_eq!(bytes(&daemon), before);
}

#[test]
fn a_newer_queue_that_was_left_with_its_log_keeps_it() {
    let daemon = home_with(SCHEMA_1);
    let path = daemon.home().join("queue.db");
    let log = daemon.home().join("queue.db-wal");
    on(async {
        let mut connection = connect(&path).await;
        let newer = "PRAGMA journal_mode = wal;
            INSERT INTO _sqlx_migrations VALUES (99, 'later', CURRENT_TIMESTAMP, 1, x'00', 1);";
        sqlx::raw_sql(newer).execute(&mut connection).await.expect("written");
        // As a program that was killed leaves them.
        for file in [&path, &log] {
            std::fs::copy(file, file.with_added_extension("kept")).expect("a copy");
        }
        connection.close().await.expect("closed");
    });
    for file in [&path, &log] {
        std::fs::rename(file.with_added_extension("kept"), file).expect("put back");
    }
    let read = |file: &Path| std::fs::read(file).expect("bytes");
    let before = (read(&path), read(&log));
    let (code, said) = refused(&daemon);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("newer"), "{said}");
    assert_eq!((read(&path), read(&log)), before);
}

#[test]
fn another_program_s_database_is_refused_and_its_bytes_stay() {
    for statements in [
        "CREATE TABLE other (a);",
        // One that is migrated by sqlx too.
        "CREATE TABLE other (a); CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
             installed_on TIMESTAMP, success BOOLEAN, checksum BLOB, execution_time BIGINT);
         INSERT INTO _sqlx_migrations VALUES (1, 'theirs', CURRENT_TIMESTAMP, 1, x'00', 1);",
    ] {
        let daemon = home_with(statements);
        let before = bytes(&daemon);
        let (code, said) = refused(&daemon);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("is not a queue of batch-executor"), "{said}");
        assert_eq!(bytes(&daemon), before);
    }
}

#[test]
fn a_damaged_queue_is_refused_and_its_bytes_stay() {
    let whole = home_with(SCHEMA_1);
    let whole = std::fs::read(whole.home().join("queue.db")).expect("bytes");
    let mut overwritten = whole.clone();
    overwritten[4096..16384].fill(0xA5);
    for damaged in [b"not a database at all\n".repeat(200), whole[..5000].to_vec(), overwritten] {
        let daemon = Daemon::home_only();
        std::fs::create_dir(daemon.home()).expect("a home");
        std::fs::write(daemon.home().join("queue.db"), damaged).expect("written");
        let before = bytes(&daemon);
        let (code, said) = refused(&daemon);
        assert_eq!(code, Some(74), "{said}");
        assert!(said.contains("is damaged or no database") && said.contains("left untouched"), "{said}");
        assert_eq!(bytes(&daemon), before);
    }
}
