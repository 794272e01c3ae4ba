//! Retention: completed tasks leave by number or age, by themselves; nothing else does, and the file gives room back.

mod support;

use serde_json::{Value, json};
use support::{Daemon, shell};

fn quick(count: usize) -> Vec<Value> {
    vec![json!({"function": "simulate", "params": {"duration": 0}}); count]
}

fn completed(daemon: &Daemon) -> i64 {
    daemon.ok(json!({"action": "status"}))["counts"]["completed"].as_i64().expect("a count")
}

/// Nothing tells when tasks have gone: it is looked until so many are left.
fn until_left(daemon: &Daemon, count: i64) {
    daemon.until(&json!({"action": "status"}), |data| data["counts"]["completed"] == count);
}

/// The queue is whole and its tallies are those of its rows.
fn is_sound(daemon: &Daemon) {
    let health = daemon.ok(json!({"action": "health"}));
    assert_eq!((&health["database"], &health["tally_difference"]), (&json!("ok"), &json!(null)));
}

#[test]
fn the_latest_completed_are_kept_and_all_that_failed() {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_KEEP_COMPLETED_COUNT", "10")]);
    daemon.ok(json!({"action": "start", "max_concurrent": 1, "keep": true}));
    let first = daemon.ok(json!({"action": "add_batch", "tasks": quick(120)}))["batch_id"].clone();
    let fails = json!({"function": "simulate", "params": {"duration": 0, "fail": true}, "max_retries": 0});
    let bad = daemon.ok(json!({"action": "add_batch", "tasks": vec![fails; 120]}))["batch_id"].clone();
    let later = json!({"action": "add", "name": "later", "function": "simulate", "delay": 3600});
    let cancelled = daemon.ok(later)["task_id"].clone();
    daemon.ok(json!({"action": "cancel", "task_id": cancelled}));
    let last = daemon.ok(json!({"action": "add_batch", "tasks": quick(130)}));
    daemon.wait();
    until_left(&daemon, 10);
    let counts = daemon.ok(json!({"action": "status"}))["counts"].clone();
    assert_eq!((&counts["total"], &counts["failed"], &counts["cancelled"]), (&json!(131), &json!(120), &json!(1)));
    let kept = daemon.ok(json!({"action": "results", "filter_status": "completed"}))["tasks"].clone();
    let ids: Vec<i64> = kept.as_array().expect("a list").iter().filter_map(|task| task["task_id"].as_i64()).collect();
    let latest = last["last_task_id"].as_i64().expect("an id");
    assert_eq!(ids, (latest - 9..=latest).collect::<Vec<_>>());
    let of = |batch: &Value| daemon.call(&json!({"action": "status", "batch_id": batch}));
    assert_eq!(of(&last["batch_id"])["data"]["counts"]["completed"], 10);
    assert_eq!(of(&bad)["data"]["counts"]["failed"], 120);
    assert_eq!(of(&first)["error"]["code"], "not_found", "a batch without tasks goes, too");
    assert_eq!(daemon.call(&json!({"action": "show", "task_id": 1}))["error"]["code"], "not_found");
    is_sound(&daemon);
}

#[test]
fn the_old_ones_leave_with_their_files_though_nothing_happens() {
    let mut daemon = Daemon::start();
    let long = shell("i=0; while [ $i -lt 20000 ]; do echo \"line $i\"; i=$((i+1)); done");
    daemon.ok(json!({"action": "add_batch", "tasks": [long, long, shell("exit 1")]}));
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    let files = |daemon: &Daemon| std::fs::read_dir(daemon.home().join("output")).expect("a folder").count();
    assert_eq!((completed(&daemon), files(&daemon)), (2, 2));
    daemon.stop();
    // Two seconds, which may have gone by: the timer of the next one that completes is what is looked at then.
    daemon.set("BATCH_EXECUTOR_KEEP_COMPLETED_DAYS", "0.00002");
    daemon.serve();
    until_left(&daemon, 0);
    daemon.ok(json!({"action": "add_batch", "tasks": [long, shell("true")]}));
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    until_left(&daemon, 0);
    assert_eq!(files(&daemon), 0, "their output is gone from the disk");
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["failed"], 1);
    is_sound(&daemon);
}

#[test]
fn all_are_kept_unless_told_otherwise_and_what_an_earlier_daemon_kept_goes_after_a_kill_too() {
    let mut daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": quick(1_200)}));
    daemon.ok(json!({"action": "start", "max_concurrent": 100}));
    daemon.wait();
    assert_eq!(daemon.cli(&["daemon", "restart"]).status.code(), Some(0));
    assert_eq!(completed(&daemon), 1_200);
    daemon.set("BATCH_EXECUTOR_KEEP_COMPLETED_COUNT", "3");
    daemon.kill();
    daemon.serve();
    while completed(&daemon) > 3 {
        // In the midst of the slices.
        daemon.kill();
        daemon.serve();
        is_sound(&daemon);
    }
    assert_eq!(daemon.tasks().len(), 3);
    is_sound(&daemon);
}

#[test]
fn after_much_has_gone_the_file_is_small_again() {
    let daemon = Daemon::start();
    let mut task = json!({"function": "simulate", "params": {"duration": 0}});
    task["params"]["padding"] = json!("x".repeat(8_000));
    for _ in 0..4 {
        daemon.ok(json!({"action": "add_batch", "tasks": vec![task.clone(); 1_000]}));
    }
    daemon.ok(json!({"action": "start", "max_concurrent": 100}));
    daemon.wait();
    let size = || std::fs::metadata(daemon.home().join("queue.db")).expect("the file").len();
    assert!(size() > 20_000_000);
    daemon.ok(json!({"action": "clear"}));
    // A quarter, or 4 MiB, is spare.
    daemon.until(&json!({"action": "status"}), |_| size() < 6_000_000);
    is_sound(&daemon);
}

#[test]
fn a_wrong_setting_is_refused() {
    let mut daemon = Daemon::home_only();
    for (name, value, allowed) in [
        ("BATCH_EXECUTOR_KEEP_COMPLETED_COUNT", "0", "a whole number from 1 to 4000000000, or none"),
        ("BATCH_EXECUTOR_KEEP_COMPLETED_DAYS", "0", "days above 0 to 36500, or none"),
    ] {
        daemon.set(name, value);
        let output = daemon.cli(&["daemon"]);
        assert_eq!(output.status.code(), Some(78));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("{name} is \"0\", but must be {allowed}")), "{said}");
        daemon.set(name, "none");
    }
}
