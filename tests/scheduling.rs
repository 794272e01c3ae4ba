//! The cap, the order, retries, deadlines and what may be changed.

mod support;

use serde_json::{Value, json};
use support::{Daemon, shell};

#[test]
fn a_critical_task_added_now_starts_at_the_next_free_slot() {
    let daemon = Daemon::start();
    let hold = shell("while [ ! -e gate ]; do sleep 0.01; done");
    let note = |name: &str| shell(&format!("echo {name} >> order"));
    let mut tasks = vec![hold];
    tasks.extend((0..200).map(|_| note("medium")));
    daemon.ok(json!({"action": "add_batch", "tasks": tasks}));
    daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    daemon.running(1);
    let mut critical = note("critical");
    critical["action"] = json!("add");
    critical["priority"] = json!("critical");
    daemon.ok(critical);
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    daemon.wait();
    let order = std::fs::read_to_string(daemon.work().join("order")).expect("the order");
    assert_eq!(order.lines().next(), Some("critical"));
    assert_eq!(order.lines().count(), 201);
}

#[test]
fn the_cap_holds_while_it_is_changed() {
    let daemon = Daemon::start();
    let task = shell("echo + >> marks; sleep 0.01; echo - >> marks");
    daemon.ok(json!({"action": "add_batch", "tasks": vec![task; 150]}));
    for cap in [6, 1, 4, 2, 6] {
        daemon.ok(json!({"action": "start", "max_concurrent": cap}));
        let done = daemon.ok(json!({"action": "status"}))["counts"]["completed"].as_i64().expect("a count");
        let running = daemon.until(&json!({"action": "status"}), |data| {
            data["counts"]["completed"].as_i64() >= Some(done + 8) || data["counts"]["queued"] == 0
        });
        assert!(running["counts"]["running"].as_i64() <= Some(6));
    }
    daemon.wait();
    let marks = std::fs::read_to_string(daemon.work().join("marks")).expect("marks");
    let (mut now, mut most) = (0, 0);
    for mark in marks.lines() {
        now += if mark == "+" { 1 } else { -1 };
        most = most.max(now);
    }
    assert!(most <= 6, "{most} at once");
    assert_eq!(marks.lines().count(), 300);
}

#[test]
fn a_delay_and_a_retry_keep_their_due_time_over_a_restart() {
    let mut daemon = Daemon::start();
    daemon
        .ok(json!({"action": "add", "name": "later", "function": "simulate", "params": {"duration": 0}, "delay": 1.0}));
    daemon.ok(json!({"action": "start"}));
    daemon.kill();
    daemon.serve();
    daemon.wait();
    let waited = daemon.tasks()[0]["wait_time"].as_f64().expect("seconds");
    assert!(waited >= 0.99, "{waited}");
}

#[test]
fn max_failures_stops_the_run() {
    let daemon = Daemon::start();
    let fails = json!({"function": "simulate", "params": {"duration": 0, "fail": true}, "max_retries": 0});
    daemon.ok(json!({"action": "add_batch", "tasks": vec![fails; 10]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 1, "max_failures": 3}));
    let data = daemon.until(&json!({"action": "status"}), |data| data["state"] == "stopped");
    assert_eq!((&data["reason"], &data["counts"]["failed"]), (&json!("max_failures"), &json!(3)));
}

#[test]
fn a_permanent_exit_code_is_not_retried() {
    let daemon = Daemon::start();
    let mut task = shell("exit 7");
    task["max_retries"] = json!(5);
    task["permanent_exit_codes"] = json!([7]);
    daemon.ok(json!({"action": "add_batch", "tasks": [task]}));
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    let task = &daemon.tasks()[0];
    assert_eq!((&task["status"], &task["retry_count"], &task["exit_code"]), (&json!("failed"), &json!(0), &json!(7)));
}

#[test]
fn queued_tasks_can_be_changed_even_when_they_are_claimed_ahead() {
    let daemon = Daemon::start();
    let hold = shell("while [ ! -e gate ]; do sleep 0.01; done");
    daemon.ok(json!({"action": "add_batch", "tasks": [hold, shell("echo a >> order"), shell("echo b >> order")]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    daemon.running(1);
    let data = daemon.ok(json!({"action": "update", "task_ids": [1, 3], "priority": "high"}));
    assert_eq!((&data["updated"], &data["not_updated"][0]["task_id"]), (&json!([3]), &json!(1)));
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    daemon.wait();
    assert_eq!(std::fs::read_to_string(daemon.work().join("order")).expect("the order"), "b\na\n");
}

#[test]
fn wait_says_at_once_when_the_executor_is_stopped() {
    let daemon = Daemon::start();
    let nothing = daemon.call(&json!({"action": "wait"}));
    assert_eq!(nothing["error"]["code"], "not_found");
    daemon.ok(json!({"action": "add", "name": "n", "function": "simulate"}));
    let stopped: Value = daemon.call(&json!({"action": "wait"}));
    assert_eq!(stopped["error"]["details"]["reason"], "executor_stopped");
}
