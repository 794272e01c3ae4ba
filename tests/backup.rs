//! `backup`: a consistent copy while tasks run, that a home can begin from.

mod support;
#[path = "support/tallies.rs"]
mod tallies;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
use support::{Daemon, shell};
use tallies::DIFFERENCES;

/// The command of the guide and of `backup --help`, with its names filled in.
fn restore(file: &Path, home: &Path) {
    let help = Command::new(env!("CARGO_BIN_EXE_batch-executor")).args(["backup", "--help"]).output().expect("help");
    let help = String::from_utf8(help.stdout).expect("text");
    let documented = help.lines().find(|line| line.contains("install -D")).expect("the command");
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide.md")).expect("the guide");
    assert!(guide.contains(documented.trim()), "the guide says otherwise: {documented}");
    let filled = documented.replace("HOME", &home.to_string_lossy()).replace("FILE", &file.to_string_lossy());
    assert!(Command::new("sh").args(["-c", &filled]).status().expect("sh").success(), "{filled}");
}

async fn faults(file: &Path) -> Vec<String> {
    let mut eye = SqliteConnectOptions::new().filename(file).read_only(true).connect().await.expect("a connection");
    let integrity = "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'";
    let mut found: Vec<String> = sqlx::query_scalar(integrity).fetch_all(&mut eye).await.expect("checked");
    let tallies: Vec<String> = sqlx::query_scalar(DIFFERENCES).fetch_all(&mut eye).await.expect("checked");
    found.extend(tallies);
    found
}

#[tokio::test]
async fn a_backup_under_load_is_whole_and_another_home_goes_on_from_it() {
    let daemon = Daemon::start();
    let held = shell("while [ ! -e gate ]; do sleep 0.01; done; echo x >> marks");
    daemon.ok(json!({"action": "add_batch", "tasks": [held, held]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 3, "keep": true}));
    daemon.running(2);
    let quick = json!({"function": "simulate", "params": {"duration": 0}});
    daemon.ok(json!({"action": "add_batch", "tasks": vec![quick.clone(); 200]}));
    daemon.until(&json!({"action": "status"}), |data| data["counts"]["completed"] == 200);
    daemon.ok(json!({"action": "add_batch", "tasks": vec![json!({"function": "simulate", "delay": 100_000}); 20]}));
    // What is written while it is copied is in it as a whole or not at all.
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                daemon.ok(json!({"action": "add_batch", "tasks": vec![quick.clone(); 7]}));
            }
        });
        for number in 0..5 {
            let output = daemon.cli(&["backup", &format!("copy{number}.db")]);
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for number in 0..5 {
        let copy = daemon.work().join(format!("copy{number}.db"));
        assert_eq!(copy.metadata().expect("the copy").permissions().mode() & 0o777, 0o600);
        assert_eq!(faults(&copy).await, Vec::<String>::new());
    }

    let mut other = Daemon::home_only();
    restore(&daemon.work().join("copy4.db"), &other.home());
    other.serve();
    let status = other.ok(json!({"action": "status"}));
    assert_eq!((&status["state"], &status["max_concurrent"]), (&json!("running"), &json!(3)));
    // What ran is begun again, in the folder of its client.
    other.running(2);
    for id in [1, 2] {
        let task = other.ok(json!({"action": "show", "task_id": id}));
        assert_eq!(task["attempts"][0]["outcome"], "interrupted", "{task}");
    }
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    let ended = other.until(&json!({"action": "status"}), |data| {
        (&data["counts"]["running"], &data["counts"]["queued"]) == (&json!(0), &json!(20))
    });
    let counts = &ended["counts"];
    assert_eq!((&counts["failed"], &counts["cancelled"]), (&json!(0), &json!(0)));
    let completed = counts["completed"].as_i64().expect("a count");
    assert!(completed >= 202 && (completed - 202) % 7 == 0, "{counts}");
    assert_eq!(other.ok(json!({"action": "health"}))["tally_difference"], Value::Null);
    let next = other.ok(json!({"action": "add", "name": "next", "function": "simulate"}))["task_id"].as_i64();
    assert_eq!(next, counts["total"].as_i64().map(|total| total + 1));
    daemon.ok(json!({"action": "wait", "task_ids": [1, 2]}));
}

#[test]
fn a_backup_that_cannot_be_made_changes_nothing() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": vec![json!({"function": "simulate", "params": {"note": "n".repeat(3000)}}); 500]}));
    let refused = |request: Value, code: &str| {
        let answer = daemon.call(&request);
        assert_eq!(answer["error"]["code"], code, "{answer}");
        answer["message"].as_str().expect("a message").to_owned()
    };
    std::fs::write(daemon.work().join("taken"), "mine").expect("written");
    let said = refused(json!({"action": "backup", "output_file": "taken"}), "conflict");
    assert!(said.contains("which exists"), "{said}");
    assert_eq!(std::fs::read(daemon.work().join("taken")).expect("read"), b"mine");
    refused(json!({"action": "backup", "output_file": "absent/b.db"}), "invalid_request");
    refused(json!({"action": "backup"}), "invalid_request");
    // Not in the place of the queue itself, by whatever name, nor an export.
    let link = daemon.work().join("link");
    std::os::unix::fs::symlink(daemon.home(), &link).expect("a link");
    for folder in [daemon.home(), link] {
        let file = folder.join("queue.db");
        let said = refused(json!({"action": "backup", "output_file": file, "overwrite": true}), "invalid_request");
        assert!(said.contains("among the daemon's own files"), "{said}");
        refused(json!({"action": "export", "output_file": file, "overwrite": true}), "invalid_request");
    }

    // No room where the copy is to be, which is no damage of the queue.
    let disk = daemon.work().join("disk");
    std::fs::create_dir(&disk).expect("a folder");
    let mut mount = Command::new("mount");
    if mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&disk).status().is_ok_and(|status| status.success()) {
        let said = refused(json!({"action": "backup", "output_file": "disk/b.db"}), "storage");
        assert!(said.contains("the backup cannot be written"), "{said}");
        let left = std::fs::read_dir(&disk).expect("a folder").map(|file| file.expect("a file").file_name());
        let left: Vec<_> = left.collect();
        assert!(Command::new("umount").arg(&disk).status().expect("umount").success());
        assert!(left.is_empty(), "{left:?}");
    } else {
        eprintln!("not run in part: no tmpfs can be mounted here");
    }
    let data = daemon.ok(json!({"action": "backup", "output_file": "taken", "overwrite": true}));
    let file = data["file"].as_str().expect("a path");
    assert_eq!(data["bytes"].as_u64(), std::fs::metadata(file).ok().map(|file| file.len()));
}
