//! `selftest`: it passes on this program, it sees what a bad program does, and it leaves nothing behind.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Daemon, lives, shell, signal};

/// The throw-away folders beside a home.
fn folders(daemon: &Daemon) -> Vec<PathBuf> {
    let beside = daemon.home().parent().expect("a folder").to_owned();
    let entries = std::fs::read_dir(beside).expect("readable").map(|entry| entry.expect("an entry").path());
    let is_throw_away = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".bx-"));
    entries.filter(|path| is_throw_away(path)).collect()
}

/// Processes whose arguments name a file in this folder.
fn processes_in(folder: &Path) -> Vec<i32> {
    let name = folder.to_string_lossy().into_owned();
    let pids = std::fs::read_dir("/proc").expect("proc").flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| lives(*pid))
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&name)
        })
        .collect()
}

fn promise<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let promises = answer["data"]["promises"].as_array().expect("a list");
    promises.iter().find(|line| line["promise"] == name).unwrap_or_else(|| panic!("no `{name}` in {answer}"))
}

#[test]
fn this_program_keeps_its_promises_and_the_users_own_daemon_is_left_alone() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("while [ ! -e gate ]; do sleep 0.01; done")]}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    let before = daemon.ok(json!({"action": "health"}));
    let output = daemon.cli(&["selftest", "--cycles", "6", "--seed", "11", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(output.status.code(), Some(0), "{answer:#}");
    assert_eq!((&answer["ok"], &answer["data"]["passed"]), (&json!(true), &json!(true)));
    assert_eq!((&answer["data"]["seed"], &answer["data"]["kept"]), (&json!(11), &json!(null)));
    for name in ["order", "cap", "timeout and cancel", "output", "failing writes", "nothing lost", "nothing twice"] {
        assert_eq!(promise(&answer, name)["verdict"], "ok", "{answer:#}");
    }
    assert_eq!(promise(&answer, "power loss")["verdict"], "not_testable");
    assert!(folders(&daemon).is_empty(), "its folder is removed");
    let after = daemon.ok(json!({"action": "health"}));
    assert_eq!((&after["pid"], &after["keeper_pid"]), (&before["pid"], &before["keeper_pid"]));
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
    assert_eq!(daemon.tasks().len(), 1, "nothing was added to the user's queue");
}

/// A program that changes the queue under the promises whenever it starts on one: a higher cap, a completed task that
/// runs again, one that is forgotten; and whose setting drops output.
const BAD: &str = r#"#!/usr/bin/env python3
import os, sqlite3, sys
arguments = sys.argv[1:]
home = arguments[arguments.index("--home") + 1] if "--home" in arguments else ""
if arguments[:1] == ["daemon"] and os.path.exists(home + "/queue.db"):
    queue = sqlite3.connect(home + "/queue.db")
    queue.execute("UPDATE executor SET max_concurrent = 9")
    done = [id for (id,) in queue.execute("SELECT id FROM task WHERE state = 3 ORDER BY id LIMIT 2")]
    if home.endswith("/kills") and len(done) == 2:
        queue.execute("UPDATE task SET state = 0 WHERE id = ?", done[:1])
        # Counted, for a daemon that knows of no queued task claims none.
        queue.execute("UPDATE tally SET tasks = tasks + 1 WHERE state = 0 AND priority = 1")
        queue.execute("DELETE FROM task WHERE id = ?", done[1:])
    queue.commit()
    queue.close()
os.environ["BATCH_EXECUTOR_OUTPUT_KEEP_BYTES"] = "0"
os.execv("PROGRAM", ["PROGRAM"] + arguments)
"#;

#[test]
fn a_bad_program_is_found_out_and_what_was_seen_is_kept() {
    let daemon = Daemon::home_only();
    let bad = daemon.work().join("bad");
    std::fs::write(&bad, BAD.replace("PROGRAM", env!("CARGO_BIN_EXE_batch-executor"))).expect("written");
    std::fs::set_permissions(&bad, std::fs::Permissions::from_mode(0o755)).expect("our file");
    let output = daemon.cli(&["selftest", "--cycles", "4", "--program", "bad"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for seen in [
        "FAIL  cap: 9 tasks ran at once, but at most 3 may",
        "FAIL  output: a task wrote `out` and `err` and exited 3, but its result is ",
        "FAIL  nothing lost: task ",
        "FAIL  nothing twice: task ",
        "FAIL  queue intact: state ",
        "ok    order: ",
    ] {
        assert!(said.contains(seen), "{seen}\n{said}");
    }
    let [kept] = folders(&daemon).try_into().expect("one folder");
    let named = format!("what was seen is kept in {}; repeat it with --seed ", kept.display());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(&named), "{told}");
    assert!(kept.join("kills/queue.db").exists(), "the queue can be looked at");
    assert_eq!(processes_in(&kept), Vec::<i32>::new());
}

#[test]
fn a_program_that_is_none_is_named() {
    let daemon = Daemon::home_only();
    let output = daemon.cli(&["selftest", "--program", "missing"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("batch-executor: cannot run `"));
    assert!(folders(&daemon).is_empty());
}

#[test]
fn an_interrupted_one_leaves_nothing_behind() {
    let daemon = Daemon::home_only();
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let mut command = daemon.command(&["selftest"]);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let folder = loop {
            if let [folder] = folders(&daemon).as_slice()
                && folder.join("cap/daemon.sock").exists()
            {
                break folder.clone();
            }
            std::thread::yield_now();
        };
        signal(i32::try_from(child.id()).expect("a pid"), name);
        let output = child.wait_with_output().expect("its end");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted; the throw-away daemon"));
        assert!(!folder.exists(), "SIG{name}: the folder is removed");
        assert_eq!(processes_in(&folder), Vec::<i32>::new(), "SIG{name}");
    }
}
