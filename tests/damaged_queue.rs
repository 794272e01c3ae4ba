//! A queue that is damaged, or cannot be used: refused in a sentence that says the way out, the file untouched, also when
//! the damage is met only later; and `doctor --repair` brings back all that is on the pages that can be read.

#[path = "support/shim.rs"]
mod shim;
mod support;
#[path = "support/tallies.rs"]
mod tallies;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use support::Daemon;
use tallies::DIFFERENCES;

const PAGE: usize = 4096;

/// A queue with something on pages of every kind.
struct Sample {
    file: Vec<u8>,
    tasks: BTreeMap<i64, Value>,
    last_id: i64,
    /// A page of each kind: of which table or index, what it is there, its number.
    pages: Vec<(String, String, usize)>,
}

fn on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.expect("a connection")
}

/// What of a task must be as it was, whatever time it is.
fn lasting(task: &Value) -> Value {
    let fields = ["task_id", "batch_id", "name", "params", "priority", "status", "created_at", "started_at", "result"];
    fields.iter().map(|field| ((*field).to_owned(), task[*field].clone())).collect()
}

fn tasks(daemon: &Daemon) -> BTreeMap<i64, Value> {
    let by_id = |task: &Value| (task["task_id"].as_i64().expect("an id"), lasting(task));
    daemon.tasks().iter().map(by_id).collect()
}

fn simulate(note: usize) -> Value {
    json!({"function": "simulate", "params": {"duration": 0, "note": "n".repeat(note)}})
}

fn sample() -> Sample {
    let mut daemon = Daemon::start();
    let notes = |count: usize| (0..count).map(|at| simulate(if at % 40 == 0 { 12_000 } else { 60 })).collect();
    let first: Vec<Value> = notes(500);
    daemon.ok(json!({"action": "add_batch", "tasks": first}));
    daemon.ok(json!({"action": "start", "max_concurrent": 50}));
    daemon.wait();
    // Pages that are free again, after the ones that are kept.
    let gone: Vec<Value> = notes(200);
    let batch = daemon.ok(json!({"action": "add_batch", "tasks": gone}))["batch_id"].clone();
    daemon.ok(json!({"action": "cancel", "batch_id": batch}));
    daemon.ok(json!({"action": "clear", "batch_id": batch}));
    let later = json!({"function": "simulate", "params": {"duration": 0}, "delay": 100_000});
    daemon.ok(json!({"action": "add_batch", "name": "later", "tasks": vec![later; 40]}));
    daemon.ok(json!({"action": "cancel", "task_ids": [701, 702, 703]}));
    let tasks = tasks(&daemon);
    assert_eq!(tasks.len(), 540);
    assert_eq!(daemon.stop(), Some(0));
    let path = daemon.home().join("queue.db");
    let file = std::fs::read(&path).expect("bytes");
    let mut pages: Vec<(String, String, i64)> = on(async {
        let kinds = "SELECT name, pagetype, max(pageno) FROM dbstat
            WHERE name IN ('task', 'task_input', 'attempt', 'task_ended', 'executor') GROUP BY name, pagetype";
        sqlx::query_as(kinds).fetch_all(&mut connect(&path).await).await.expect("the pages")
    });
    let free = i64::from(u32::from_be_bytes(file[32..36].try_into().expect("four bytes")));
    assert!(free > 0, "no free page");
    pages.extend(
        [("file", "header", 1), ("file", "map", 2), ("file", "free", free)].map(|(a, b, c)| (a.into(), b.into(), c)),
    );
    let pages =
        pages.into_iter().map(|(name, kind, page)| (name, kind, usize::try_from(page).expect("a page"))).collect();
    Sample { file, tasks, last_id: 740, pages }
}

/// A home with these bytes as its queue.
fn home_with(file: &[u8]) -> Daemon {
    let daemon = Daemon::home_only();
    std::fs::create_dir(daemon.home()).expect("a home");
    std::fs::write(queue(&daemon), file).expect("written");
    daemon
}

fn queue(daemon: &Daemon) -> PathBuf {
    daemon.home().join("queue.db")
}

fn bytes(daemon: &Daemon) -> Vec<u8> {
    std::fs::read(queue(daemon)).expect("bytes")
}

/// A daemon on a damaged file: it refuses it, or ends when it meets the damage; the file is as it was. False: it met none.
fn refuses_now_or_later(daemon: &mut Daemon, file: &[u8], case: &str) -> bool {
    let ended = daemon.serve_or_end();
    if ended.is_some() {
        assert_eq!(ended, Some(74), "{case}: {}", daemon.log());
        assert!(daemon.log().contains("doctor --repair"), "{case}: {}", daemon.log());
        assert!(bytes(daemon) == file, "{case}: the file was changed");
        return true;
    }
    let asked = [
        json!({"action": "results", "limit": 100_000}),
        json!({"action": "add_batch", "tasks": vec![simulate(60_000); 10]}),
        json!({"action": "cancel", "task_ids": (701..740).collect::<Vec<_>>()}),
    ];
    for request in asked {
        let answer = daemon.ask(&request);
        let said = answer.as_ref().map_or("", |answer| answer["message"].as_str().expect("a message"));
        if said.contains("not understood") {
            assert!(said.contains("doctor --repair"), "{case}: {said}");
            break;
        }
        if answer.is_none_or(|answer| answer["ok"] == false) {
            assert_eq!(daemon.ended(), Some(74), "{case}: {}", daemon.log());
            assert!(daemon.log().contains("what to do with: batch-executor doctor"), "{case}: {}", daemon.log());
            assert!(bytes(daemon) == file, "{case}: the file was changed");
            return true;
        }
    }
    daemon.kill();
    false
}

/// Repairs; gives what `doctor` tells of it.
fn repaired(daemon: &Daemon, case: &str) -> Value {
    let output = daemon.cli(&["doctor", "--repair", "--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!(output.status.code(), Some(0), "{case}: {said}");
    said["data"].clone()
}

/// The repaired queue is sound, and its next id is a new one.
fn is_whole(daemon: &mut Daemon, last_id: i64, case: &str) {
    let next = daemon.ok(json!({"action": "add", "name": "next", "function": "simulate"}))["task_id"].as_i64();
    assert!(next > Some(last_id), "{case}: {next:?} was given before");
    let health = daemon.ok(json!({"action": "health"}));
    assert_eq!((&health["database"], &health["tally_difference"]), (&json!("ok"), &Value::Null), "{case}");
    assert_eq!(daemon.stop(), Some(0));
    let differences: Vec<String> = on(async {
        let mut eye = connect(&queue(daemon)).await;
        let found = sqlx::query_scalar(DIFFERENCES).fetch_all(&mut eye).await.expect("read");
        eye.close().await.expect("closed");
        found
    });
    assert!(differences.is_empty(), "{case}: {differences:?}");
}

#[test]
fn every_kind_of_page_is_refused_or_told_of_and_salvaged_around() {
    let sample = sample();
    let kinds: BTreeSet<&str> = sample.pages.iter().map(|(_, kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["free", "header", "internal", "leaf", "map", "overflow"]));
    let mut met = 0;
    for (of, kind, page) in &sample.pages {
        let forms = [("overwritten", 0..PAGE), ("its beginning flipped", 0..16)];
        // The second form costs time, and says something of what a page begins with alone.
        let forms = forms.into_iter().take(if of == "task" || kind == "header" { 2 } else { 1 });
        for (form, damage) in forms {
            let case = format!("page {page}, {kind} of {of}, {form}");
            let mut file = sample.file.clone();
            let at = (page - 1) * PAGE;
            file[at + damage.start..at + damage.end].iter_mut().for_each(|byte| *byte ^= 0xA5);
            let mut daemon = home_with(&file);
            met += u32::from(refuses_now_or_later(&mut daemon, &file, &case));

            // The damage alone, without what a daemon that did not meet it has done.
            let mut daemon = home_with(&file);
            let told = repaired(&daemon, &case);
            let saved = told["saved"].as_str().expect("a path");
            assert!(std::fs::read(saved).expect("the damaged one") == file, "{case}: not kept as it was");
            daemon.serve();
            let found = tasks(&daemon);
            let lost = sample.tasks.keys().filter(|id| !found.contains_key(id)).count();
            let changed = sample.tasks.iter().filter(|(id, task)| found.get(id).is_some_and(|it| it != *task)).count();
            let (most_lost, most_changed) = match (of.as_str(), kind.as_str()) {
                ("task", "leaf") => (70, 0),
                // Parameters; and results, which are in the attempts.
                ("task_input" | "attempt", "leaf") => (0, 100),
                ("task_input", "overflow") => (0, 1),
                ("attempt", "internal") => (0, 10),
                _ => (0, 0),
            };
            assert!(lost <= most_lost && changed <= most_changed, "{case}: {lost} lost, {changed} changed: {told}");
            assert!(found.keys().all(|id| sample.tasks.contains_key(id)), "{case}: tasks that were gone are back");
            is_whole(&mut daemon, sample.last_id, &case);
        }
    }
    assert!(met > 6, "only {met} were met");
}

/// A home with a few tasks, whose daemon has ended.
fn small() -> (Daemon, Vec<u8>) {
    let mut daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": vec![simulate(100); 5]}));
    assert_eq!(daemon.stop(), Some(0));
    let file = bytes(&daemon);
    (daemon, file)
}

/// Runs the program with these arguments through another, and gives its exit code and what it said.
fn through(daemon: &Daemon, other: &[&str], program: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(other[0]);
    command
        .args(&other[1..])
        .arg(program)
        .args(arguments)
        .env("BATCH_EXECUTOR_HOME", daemon.home())
        .env("XDG_CONFIG_HOME", "/nonexistent");
    let output = command.current_dir("/").output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_repair_is_not_made_where_it_is_not_due() {
    let (mut daemon, file) = small();
    let repair = |daemon: &Daemon| {
        let output = daemon.cli(&["doctor", "--repair"]);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), said)
    };
    let (code, said) = repair(&daemon);
    assert!(code == Some(0) && said.contains("is not damaged; nothing was done"), "{code:?} {said}");
    assert!(bytes(&daemon) == file);
    daemon.serve();
    let (code, said) = repair(&daemon);
    assert!(code == Some(75) && said.contains("another daemon holds this home"), "{code:?} {said}");
    assert_eq!(daemon.stop(), Some(0));

    let (code, said) = repair(&Daemon::home_only());
    assert!(code == Some(3) && said.contains("there is no queue"), "{code:?} {said}");
    let text = b"Dear diary, this is no queue.\n".repeat(500);
    let foreign = home_with(&text);
    let (code, said) = repair(&foreign);
    assert!(code == Some(74) && said.contains("nothing of a queue can be read"), "{code:?} {said}");
    assert!(bytes(&foreign) == text);
    let others = Daemon::home_only();
    std::fs::create_dir(others.home()).expect("a home");
    on(async {
        let options = SqliteConnectOptions::new().filename(queue(&others)).create_if_missing(true);
        let mut connection = options.pragma("application_id", "7").connect().await.expect("a database");
        sqlx::raw_sql("CREATE TABLE task (a)").execute(&mut connection).await.expect("made");
        connection.close().await.expect("closed");
    });
    let before = bytes(&others);
    let (code, said) = repair(&others);
    assert!(code == Some(78) && said.contains("is not a queue of batch-executor"), "{code:?} {said}");
    assert!(bytes(&others) == before);
}

#[test]
fn a_repair_takes_what_only_the_log_has_and_what_runs_goes_on() {
    let mut daemon = Daemon::start();
    let held = support::shell("while [ ! -e gate ]; do sleep 0.01; done; echo x >> marks");
    daemon.ok(json!({"action": "add_batch", "tasks": [held]}));
    daemon.ok(json!({"action": "start", "keep": true}));
    daemon.running(1);
    daemon.ok(json!({"action": "add_batch", "tasks": vec![json!({"function": "simulate", "delay": 100_000}); 30]}));
    // Killed: all but the first moments of the file is in the log, and the keeper still has the task.
    daemon.kill();
    assert!(bytes(&daemon).len() < 2 * PAGE, "the log was moved into the file");
    let mut file = bytes(&daemon);
    file[..100].fill(0);
    std::fs::write(queue(&daemon), &file).expect("damaged");
    let log = std::fs::read(daemon.home().join("queue.db-wal")).expect("the log");
    // SQLite takes the first page from the log, so this needs no repair.
    daemon.serve();
    assert_eq!(daemon.tasks().len(), 31);
    daemon.kill();
    // An index page in the log is damaged for whoever reads it along the index; its checksum is not looked at again.
    std::fs::write(queue(&daemon), &file).expect("damaged");
    drop(std::fs::remove_file(daemon.home().join("queue.db-shm")));
    std::fs::write(daemon.home().join("queue.db-wal"), &log).expect("the log");
    tallies_are_wrong(&daemon);
    let told = repaired(&daemon, "log");
    assert_eq!(told["rows"]["task"], 31, "{told}");
    let saved = PathBuf::from(told["saved"].as_str().expect("a path"));
    assert!(saved.with_file_name(format!("{}-wal", saved.file_name().expect("a name").display())).exists());
    daemon.serve();
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    daemon.until(&json!({"action": "status"}), |data| data["counts"]["completed"] == 1);
    assert_eq!(std::fs::read_to_string(daemon.work().join("marks")).expect("marks"), "x\n", "it ran once");
    is_whole(&mut daemon, 31, "log");
}

/// Makes the tallies lie, through the log, and leaves the log where it is.
fn tallies_are_wrong(daemon: &Daemon) {
    on(async {
        let mut connection = connect(&queue(daemon)).await;
        sqlx::raw_sql("UPDATE tally SET tasks = tasks + 1 WHERE state = 1")
            .execute(&mut connection)
            .await
            .expect("set");
        std::mem::forget(connection);
    });
}

#[test]
fn a_repair_that_was_cut_short_is_finished_by_the_next_daemon() {
    let (mut daemon, file) = small();
    let path = queue(&daemon);
    // As a power cut leaves it: the salvaged queue is complete, the damaged one and its log are still in place.
    std::fs::rename(&path, path.with_added_extension("repaired")).expect("renamed");
    std::fs::write(&path, file.iter().map(|byte| byte ^ 0xA5).collect::<Vec<_>>()).expect("damaged");
    std::fs::write(path.with_file_name("queue.db-wal"), b"an old log").expect("written");
    daemon.serve();
    assert_eq!(daemon.tasks().len(), 5);
    is_whole(&mut daemon, 5, "finished");
}

#[test]
fn a_log_that_is_cut_short_leaves_a_sound_queue_of_what_came_before() {
    let mut daemon = Daemon::start();
    for _ in 0..10 {
        daemon.ok(json!({"action": "add_batch", "tasks": vec![simulate(100); 3]}));
    }
    daemon.kill();
    let (path, log) = (queue(&daemon), daemon.home().join("queue.db-wal"));
    let (file, whole) = (bytes(&daemon), std::fs::read(&log).expect("the log"));
    let mut counts = Vec::new();
    for cut in [whole.len(), whole.len() - 1, whole.len() - PAGE, whole.len() * 3 / 4] {
        std::fs::write(&path, &file).expect("put back");
        std::fs::write(&log, &whole[..cut]).expect("cut");
        daemon.serve();
        counts.push(daemon.tasks().len());
        let health = daemon.ok(json!({"action": "health"}));
        assert_eq!((&health["database"], &health["tally_difference"]), (&json!("ok"), &Value::Null));
        daemon.kill();
    }
    assert_eq!(counts[0], 30);
    assert!(
        counts.is_sorted_by(|more, fewer| more >= fewer) && counts.iter().all(|count| count % 3 == 0),
        "{counts:?}"
    );
}

#[test]
fn who_may_not_use_the_home_is_told_so() {
    if !nix::unistd::getuid().is_root() {
        eprintln!("not run: another user can be had by root alone");
        return;
    }
    let (daemon, file) = small();
    let program = daemon.work().join("program");
    std::fs::copy(env!("CARGO_BIN_EXE_batch-executor"), &program).expect("a copy");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(daemon.home().parent().expect("a folder"), open).expect("open to all");
    let other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let (code, said) = through(&daemon, &other, &program, &["daemon"]);
    assert_eq!(code, Some(77), "{said}");
    assert!(
        said.contains("belongs to the user with uid 0") && said.contains(&*daemon.home().to_string_lossy()),
        "{said}"
    );
    let (code, said) = through(&daemon, &other, &program, &["doctor", "--repair"]);
    assert!(code != Some(0), "{code:?} {said}");
    assert!(bytes(&daemon) == file);
}

#[test]
fn a_disk_that_cannot_be_written_is_told_of() {
    let (daemon, file) = small();
    let home = daemon.home();
    let mount = |arguments: &[&str]| {
        Command::new("mount").args(arguments).arg(&home).arg(&home).status().is_ok_and(|status| status.success())
    };
    if !mount(&["--bind"]) {
        eprintln!("not run: nothing can be mounted here");
        return;
    }
    assert!(mount(&["-o", "remount,bind,ro"]));
    let output = daemon.cli(&["daemon"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(Command::new("umount").arg(&home).status().expect("umount").success());
    assert!(matches!(output.status.code(), Some(74 | 78)), "{:?} {said}", output.status);
    assert!(said.contains("ead-only") && said.contains(&*home.to_string_lossy()), "{said}");
    assert!(bytes(&daemon) == file);
}

#[test]
fn a_file_system_without_shared_memory_is_told_of() {
    let (mut daemon, file) = small();
    let folder = tempfile::tempdir().expect("a folder");
    daemon.set("LD_PRELOAD", &shim::compile(folder.path()).display().to_string());
    daemon.set("SHIM_HOME", &daemon.home().display().to_string());
    daemon.set("SHIM_ARM", "/");
    // ENODEV: the file system has no mappings.
    daemon.set("SHIM_FAULT", "map queue.db-shm 1 19 on");
    let output = daemon.cli(&["daemon"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("without shared memory") && said.contains("--home"), "{said}");
    assert!(bytes(&daemon) == file);
}
