//! `pause` and `resume`: nothing that is paused starts or goes on, whatever dies meanwhile, and nothing of it is lost.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Daemon, is_stopped, shell, until};

/// Says its pid, and then ticks until its folder has a file `done`.
const TICKER: &str =
    "echo $$ > pid.new; mv pid.new pid; until [ -e done ]; do echo tick >> ticks; sleep 0.02; done; echo over";

fn pid_of_ticker(daemon: &Daemon) -> i32 {
    let file = daemon.work().join("pid");
    let mut pid = None;
    until("the ticker begins", || {
        pid = std::fs::read_to_string(&file).ok().and_then(|text| text.strip_suffix('\n')?.parse().ok());
        pid.is_some()
    });
    std::fs::remove_file(file).expect("removed");
    pid.expect("its pid")
}

/// A signal is on its way for a moment after it was sent.
fn stops(pid: i32) {
    until("it is suspended", || is_stopped(pid));
}

fn add(daemon: &Daemon, tasks: &[Value]) -> i64 {
    daemon.ok(json!({"action": "add_batch", "tasks": tasks}))["batch_id"].as_i64().expect("a batch")
}

fn show(daemon: &Daemon, id: i64) -> Value {
    daemon.ok(json!({"action": "show", "task_id": id}))
}

fn touch(daemon: &Daemon, file: &str) {
    std::fs::write(daemon.work().join(file), "").expect("written");
}

#[test]
fn a_paused_executor_starts_nothing_and_suspends_what_runs_until_it_is_resumed() {
    let mut daemon = Daemon::start();
    add(&daemon, &[shell(TICKER), shell("echo second")]);
    daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    let pid = pid_of_ticker(&daemon);
    let paused = daemon.call(&json!({"action": "pause"}));
    assert_eq!(paused["message"], "paused: nothing starts, what runs is suspended. `resume` lets it go on.");
    stops(pid);
    let status = daemon.ok(json!({"action": "status"}));
    assert_eq!((&status["state"], &status["paused"]), (&json!("running"), &json!(true)));
    assert_eq!(status["reason"], "paused by request");
    assert_eq!(show(&daemon, 1)["reason"], "paused");
    assert_eq!(show(&daemon, 2)["reason"], "executor paused");
    let start = daemon.call(&json!({"action": "start", "max_concurrent": 3}));
    assert_eq!(start["warnings"], json!(["the executor is paused: nothing starts before `resume`"]));

    daemon.kill();
    daemon.serve();
    stops(pid);
    let status = daemon.ok(json!({"action": "status"}));
    assert_eq!((&status["paused"], &status["counts"]["running"]), (&json!(true), &json!(1)));

    let resumed = daemon.call(&json!({"action": "resume"}));
    assert_eq!(resumed["message"], "the executor goes on.");
    touch(&daemon, "done");
    assert_eq!(daemon.wait()["counts"]["completed"], 2);
    let task = show(&daemon, 1);
    assert_eq!(task["attempts"].as_array().expect("attempts").len(), 1, "it went on where it was: {task}");
    assert_eq!(daemon.ok(json!({"action": "status"}))["paused"], false);
}

#[test]
fn the_time_of_an_attempt_stands_still_while_it_is_suspended() {
    let daemon = Daemon::start();
    let mut limited = shell(TICKER);
    limited["timeout"] = json!(0.5);
    limited["max_retries"] = json!(0);
    add(&daemon, &[limited, json!({"function": "simulate", "params": {"duration": 0.5}})]);
    daemon.ok(json!({"action": "start"}));
    let pid = pid_of_ticker(&daemon);
    daemon.running(2);
    daemon.ok(json!({"action": "pause"}));
    // Time that passes is what this is about.
    std::thread::sleep(Duration::from_millis(1200));
    stops(pid);
    let tasks = daemon.tasks();
    assert!(tasks.iter().all(|task| task["status"] == "running"), "{tasks:?}");
    daemon.ok(json!({"action": "resume"}));
    daemon.wait();
    let (limited, simulated) = (show(&daemon, 1), show(&daemon, 2));
    assert_eq!(limited["error"], "timed out after 0.5 s");
    assert_eq!(simulated["status"], "completed");
    for task in [limited, simulated] {
        let ran = task["execution_time"].as_f64().expect("seconds");
        assert!(ran < 1.2, "the pause is no part of its {ran} s");
    }
}

#[test]
fn what_runs_may_be_left_or_ended_instead() {
    let daemon = Daemon::start();
    add(&daemon, &[shell(TICKER), shell("echo second")]);
    daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    let pid = pid_of_ticker(&daemon);
    daemon.ok(json!({"action": "pause", "running": "leave"}));
    assert!(!is_stopped(pid));
    assert_eq!(daemon.ok(json!({"action": "status"}))["reason"], "paused by request, what runs goes on");
    daemon.ok(json!({"action": "pause", "running": "end"}));
    daemon.running(0);
    let task = show(&daemon, 1);
    assert_eq!((&task["status"], &task["retry_count"]), (&json!("queued"), &json!(0)));
    assert_eq!(task["attempts"][0]["outcome"], "stopped");
    touch(&daemon, "done");
    daemon.ok(json!({"action": "resume"}));
    assert_eq!(daemon.wait()["counts"]["completed"], 2);
}

#[test]
fn a_daemon_that_dies_between_keeper_and_queue_leaves_nothing_suspended() {
    let mut daemon = Daemon::home_only();
    daemon.spawn(&[("BATCH_EXECUTOR_FAILPOINT", "before-pause")]);
    daemon.answers();
    add(&daemon, &[shell(TICKER)]);
    daemon.ok(json!({"action": "start"}));
    let pid = pid_of_ticker(&daemon);
    assert_eq!(daemon.ask(&json!({"action": "pause"})), None, "it was not acknowledged");
    until("the daemon is dead", || is_stopped(pid));
    daemon.ended();
    daemon.serve();
    until("the next daemon lets it go on", || !is_stopped(pid));
    touch(&daemon, "done");
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
}

#[test]
fn a_paused_task_is_passed_by_and_keeps_its_place_and_its_delay() {
    let mut daemon = Daemon::start();
    let mut delayed = shell("echo delayed");
    delayed["delay"] = json!(3600);
    add(&daemon, &[shell("echo first"), shell("echo second"), delayed]);
    let paused = daemon.call(&json!({"action": "pause", "task_ids": [1, 3, 3, 9]}));
    assert_eq!(paused["data"]["tasks"], json!([1, 3]));
    assert_eq!(paused["data"]["not_changed"], json!([{"task_id": 9, "reason": "no such task"}]));
    assert_eq!(
        paused["message"],
        "2 tasks paused; 9 not paused: no such task. `resume` with the same lets them go on."
    );
    daemon.kill();
    daemon.serve();
    daemon.ok(json!({"action": "start", "keep": true}));
    daemon.until(&json!({"action": "show", "task_id": 2}), |task| task["status"] == "completed");
    assert_eq!((&show(&daemon, 1)["status"], &show(&daemon, 1)["reason"]), (&json!("queued"), &json!("paused")));
    let again = daemon.call(&json!({"action": "pause", "task_id": 1}));
    assert_eq!(
        (&again["ok"], &again["message"]),
        (&json!(true), &json!("0 tasks paused; 1 not paused: is paused already."))
    );
    let ended = daemon.call(&json!({"action": "pause", "task_id": 2}));
    assert_eq!(ended["data"]["not_changed"], json!([{"task_id": 2, "reason": "is already completed"}]));
    let unknown = daemon.call(&json!({"action": "resume", "task_id": 9}));
    assert_eq!((&unknown["error"]["code"], &unknown["message"]), (&json!("not_found"), &json!("no task 9")));

    daemon.ok(json!({"action": "resume", "task_ids": [1, 3]}));
    daemon.until(&json!({"action": "show", "task_id": 1}), |task| task["status"] == "completed");
    let reason = show(&daemon, 3)["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.starts_with("delayed for 35") || reason.starts_with("delayed for 36"), "{reason}");
    daemon.ok(json!({"action": "pause", "task_id": 3}));
    daemon.ok(json!({"action": "update", "task_id": 3, "delay": 0}));
    assert_eq!(show(&daemon, 3)["reason"], "paused", "a change of its delay is no resume");
    daemon.ok(json!({"action": "resume", "task_id": 3}));
    daemon.until(&json!({"action": "show", "task_id": 3}), |task| task["status"] == "completed");
}

#[test]
fn a_batch_is_paused_with_what_runs_and_what_comes() {
    let mut daemon = Daemon::start();
    let batch = add(&daemon, &[shell(TICKER), shell("echo mine")]);
    daemon.ok(json!({"action": "start", "max_concurrent": 2, "keep": true}));
    let pid = pid_of_ticker(&daemon);
    daemon.until(&json!({"action": "show", "task_id": 2}), |task| task["status"] == "completed");
    let paused = daemon.call(&json!({"action": "pause", "batch_id": batch}));
    assert_eq!(
        paused["message"],
        "1 task paused. What is added to the batch is paused, too. `resume` with batch_id 1 lets them go on."
    );
    stops(pid);
    let appended = daemon.ok(json!({"action": "add_batch", "batch_id": batch, "tasks": [shell("echo late")]}));
    assert_eq!(appended["first_task_id"], 3);
    let other = add(&daemon, &[shell("echo other")]);
    daemon.ok(json!({"action": "wait", "batch_id": other}));
    assert_eq!(show(&daemon, 3)["reason"], "paused");
    assert_eq!(show(&daemon, 1)["reason"], "paused");
    assert_eq!(daemon.ok(json!({"action": "status", "batch_id": batch}))["batches"][0]["paused"], true);

    // Lost with its keeper it is queued, and paused still.
    daemon.kill();
    daemon.kill_keepers();
    daemon.serve();
    let lost = daemon.until(&json!({"action": "show", "task_id": 1}), |task| task["status"] == "queued");
    assert_eq!((&lost["reason"], &lost["attempts"][0]["outcome"]), (&json!("paused"), &json!("interrupted")));
    touch(&daemon, "done");
    daemon.ok(json!({"action": "resume", "batch_id": batch}));
    let ended = daemon.ok(json!({"action": "wait", "batch_id": batch}));
    assert_eq!(ended["counts"]["completed"], 3);
}

#[test]
fn a_suspended_task_ends_when_it_is_told_to() {
    let daemon = Daemon::start();
    add(&daemon, &[shell("trap 'echo asked >> asked; exit 0' TERM; echo $$ > pid; while :; do sleep 0.02; done")]);
    daemon.ok(json!({"action": "start"}));
    let pid = pid_of_ticker(&daemon);
    daemon.ok(json!({"action": "pause", "task_id": 1}));
    stops(pid);
    daemon.ok(json!({"action": "cancel", "task_id": 1}));
    daemon.until(&json!({"action": "show", "task_id": 1}), |task| task["status"] == "cancelled");
    assert!(daemon.work().join("asked").exists(), "by the signal that it can handle");
}

#[test]
fn a_stop_lets_what_is_suspended_finish() {
    let daemon = Daemon::start();
    add(&daemon, &[shell(TICKER)]);
    daemon.ok(json!({"action": "start"}));
    let pid = pid_of_ticker(&daemon);
    daemon.ok(json!({"action": "pause"}));
    daemon.ok(json!({"action": "stop"}));
    assert!(!is_stopped(pid));
    touch(&daemon, "done");
    daemon.until(&json!({"action": "status"}), |status| status["state"] == "stopped");
    assert_eq!(show(&daemon, 1)["status"], "completed");
    let nothing = daemon.call(&json!({"action": "pause"}));
    assert_eq!(nothing["error"]["code"], "conflict");
    assert_eq!(daemon.ok(json!({"action": "status"}))["paused"], false);
}

#[test]
fn a_batch_of_tens_of_thousands_is_put_aside_and_does_not_slow_the_others() {
    let daemon = Daemon::start();
    let tasks: Vec<Value> = (0..12_000).map(|_| json!({"function": "simulate", "params": {"duration": 0}})).collect();
    let batch = add(&daemon, &tasks);
    let paused = daemon.ok(json!({"action": "pause", "batch_id": batch}));
    assert_eq!((&paused["count"], paused["tasks"].as_array().map(Vec::len)), (&json!(12_000), Some(1000)));
    let other = add(&daemon, &[json!({"function": "simulate", "params": {"duration": 0}})]);
    daemon.ok(json!({"action": "start"}));
    daemon.ok(json!({"action": "wait", "batch_id": other}));
    let status = daemon.ok(json!({"action": "status"}));
    assert_eq!((&status["state"], &status["counts"]["queued"]), (&json!("running"), &json!(12_000)));
    daemon.ok(json!({"action": "resume", "batch_id": batch}));
    assert_eq!(daemon.wait()["counts"]["completed"], 12_001);
}

#[test]
fn a_stop_lets_a_task_that_is_suspended_by_itself_finish() {
    let daemon = Daemon::start();
    add(&daemon, &[shell(TICKER)]);
    daemon.ok(json!({"action": "start"}));
    let pid = pid_of_ticker(&daemon);
    daemon.ok(json!({"action": "pause", "task_id": 1}));
    stops(pid);
    daemon.ok(json!({"action": "stop"}));
    until("it goes on", || !is_stopped(pid));
    assert_eq!(show(&daemon, 1)["reason"], "runs to its end; paused after");
    touch(&daemon, "done");
    daemon.until(&json!({"action": "status"}), |status| status["state"] == "stopped");
    assert_eq!(show(&daemon, 1)["status"], "completed");
}

#[test]
fn a_task_that_is_being_ended_is_not_paused() {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_GRACE", "3600")]);
    add(&daemon, &[shell("trap '' TERM; echo $$ > pid.new; mv pid.new pid; while :; do sleep 0.02; done")]);
    daemon.ok(json!({"action": "start"}));
    pid_of_ticker(&daemon);
    daemon.ok(json!({"action": "cancel", "task_id": 1}));
    let paused = daemon.call(&json!({"action": "pause", "task_id": 1}));
    assert_eq!(paused["message"], "0 tasks paused; 1 not paused: is being ended.");
}

#[test]
fn what_is_tried_again_within_a_paused_batch_is_paused_and_keeps_its_delay() {
    let daemon = Daemon::start();
    let mut failing = shell("exit 1");
    failing["retry_delay"] = json!(3000);
    failing["max_retries"] = json!(1);
    let batch = add(&daemon, &[shell("true"), failing, shell(TICKER)]);
    daemon.ok(json!({"action": "pause", "batch_id": batch}));
    daemon.ok(json!({"action": "cancel", "task_id": 1}));
    daemon.ok(json!({"action": "retry", "task_id": 1}));
    assert_eq!(show(&daemon, 1)["reason"], "paused");
    daemon.ok(json!({"action": "resume", "task_ids": [2, 3]}));
    daemon.ok(json!({"action": "start", "keep": true}));
    pid_of_ticker(&daemon);
    daemon.until(&json!({"action": "show", "task_id": 2}), |task| task["retry_count"] == 1);
    daemon.ok(json!({"action": "pause", "task_id": 2}));
    daemon.ok(json!({"action": "resume", "task_id": 2}));
    let reason = show(&daemon, 2)["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.starts_with("retry in "), "{reason}");
    let resumed = daemon.call(&json!({"action": "resume"}));
    assert_eq!(resumed["warnings"], json!(["paused all the same: batch 1; `resume` with batch_id lets it go on"]));
    let late = daemon.call(&json!({"action": "add_batch", "batch_id": batch, "tasks": [shell("true")]}));
    assert_eq!(
        late["warnings"],
        json!(["batch 1 is paused, so these tasks are, too: `resume` with batch_id 1 lets them go on"])
    );
}
