//! A newer program takes over, in version, keeper protocol and schema, while a hundred tasks run and clients wait.
//!
//! The newer one is this one, built by `make next` with the feature `next`.

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use support::{Daemon, shell};

const TASKS: usize = 100;

fn newer() -> PathBuf {
    let debug = Path::new(env!("CARGO_BIN_EXE_batch-executor")).parent().expect("a folder");
    let newer = debug.parent().expect("a folder").join("next/batch-executor");
    assert!(newer.exists(), "`{}` is not there: make next", newer.display());
    newer
}

/// Puts a program in the place of the one that is installed, as a package manager does it.
fn install(program: &Path, place: &Path) {
    let beside = place.with_extension("new");
    std::fs::copy(program, &beside).expect("copied");
    std::fs::rename(&beside, place).expect("in its place");
}

fn background(daemon: &Daemon, arguments: &[&str]) -> Child {
    let mut command = daemon.command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a client")
}

fn attempts(daemon: &Daemon, id: usize) -> Vec<Value> {
    daemon.ok(json!({"action": "show", "task_id": id}))["attempts"].as_array().expect("attempts").clone()
}

#[test]
fn a_newer_program_takes_over_under_running_tasks_and_waiting_clients() {
    let mut daemon = Daemon::home_only();
    let place = daemon.work().join("batch-executor");
    install(Path::new(env!("CARGO_BIN_EXE_batch-executor")), &place);
    daemon.use_program(place.clone());
    daemon.serve();
    let held = shell("echo one; while [ ! -e gate ]; do sleep 0.05; done; echo two");
    daemon.ok(json!({"action": "add_batch", "tasks": vec![held; TASKS]}));
    daemon.ok(json!({"action": "start", "max_concurrent": TASKS + 1}));
    daemon.running(i64::try_from(TASKS).expect("few"));
    let line = shell("while [ ! -e gate ]; do sleep 0.05; done").to_string();
    std::fs::write(daemon.work().join("more.jsonl"), line).expect("a file");
    let clients =
        [vec!["wait"], vec!["run", "more.jsonl", "--max-concurrent", "101"]].map(|it| background(&daemon, &it));
    let mut following = background(&daemon, &["logs", "7", "-f"]);
    let mut followed = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    assert_eq!(followed.next().expect("a line").expect("text"), "one");
    daemon.running(i64::try_from(TASKS + 1).expect("few"));
    let before = daemon.ok(json!({"action": "health"}));

    install(&newer(), &place);
    let restarted = daemon.cli(&["daemon", "restart"]);
    assert!(restarted.status.success(), "{restarted:?}");

    let after = daemon.ok(json!({"action": "health"}));
    assert_eq!((&after["pid"], &after["keeper_pid"]), (&before["pid"], &before["keeper_pid"]));
    assert!(after["version"].as_str().is_some_and(|version| version.ends_with("-next")), "{after}");
    assert_eq!(after["schema"].as_i64(), before["schema"].as_i64().map(|schema| schema + 1));
    // The keeper is the newer program, too: what it was is gone from the disk.
    let keeper = std::fs::read_link(format!("/proc/{}/exe", after["keeper_pid"])).expect("a program");
    assert_eq!(keeper, place.canonicalize().expect("a path"));
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["running"], json!(TASKS + 1));

    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    for client in clients {
        let output = client.wait_with_output().expect("its end");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert_eq!(followed.next().expect("a line").expect("text"), "two");
    assert_eq!(following.wait().expect("its end").code(), Some(0));
    for id in 1..=TASKS + 1 {
        let attempts = attempts(&daemon, id);
        assert_eq!((attempts.len(), &attempts[0]["outcome"]), (1, &json!("completed")), "task {id}");
    }

    // The way back is refused before anything is given up.
    install(Path::new(env!("CARGO_BIN_EXE_batch-executor")), &place);
    let refused = daemon.cli(&["daemon", "restart"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("newer"), "{refused:?}");
    assert_eq!(daemon.ok(json!({"action": "status"}))["version"], after["version"]);
}
