//! Every interruption carries its cause, with its own rule for retries and its own counter.

mod support;

use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use support::{Daemon, lives, shell, signal};

/// What the one task of a test came to, after its first attempt: outcome, cause, retries, interruptions.
fn first_attempt(task: &Value) -> (&str, &str, i64, i64) {
    let attempt = &task["attempts"][0];
    (
        attempt["outcome"].as_str().expect("an outcome"),
        attempt["cause"].as_str().unwrap_or("none"),
        task["retry_count"].as_i64().expect("a count"),
        task["interruptions"].as_i64().expect("a count"),
    )
}

/// A task that runs until the gate is open, one of many attempts.
fn held() -> Value {
    let mut task = shell("echo $$ >> begun; while [ ! -e gate ]; do sleep 0.01; done");
    task["max_retries"] = json!(2);
    task["retry_delay"] = json!(3600);
    task
}

fn begun(daemon: &Daemon) -> usize {
    std::fs::read_to_string(daemon.work().join("begun")).unwrap_or_default().lines().count()
}

/// A daemon that runs a held task.
fn with_one_running(task: &Value) -> Daemon {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_GRACE", "0.1")]);
    daemon.ok(json!({"action": "add_batch", "tasks": [task]}));
    daemon.ok(json!({"action": "start"}));
    daemon.until(&json!({"action": "status"}), |data| begun(&daemon) == 1 && data["counts"]["running"] == 1);
    daemon
}

fn show(daemon: &Daemon) -> Value {
    daemon.ok(json!({"action": "show", "task_id": 1}))
}

/// The cause is counted, and stands in the export.
fn is_told(daemon: &Daemon, cause: &str) {
    let status = daemon.ok(json!({"action": "status"}));
    assert_eq!(status["causes"], json!({cause: 1}), "{status}");
    let target = daemon.work().join("export.jsonl");
    daemon.ok(json!({"action": "export", "format": "jsonl", "output_file": target, "attempts": true}));
    let exported: Value = serde_json::from_str(&std::fs::read_to_string(target).expect("an export")).expect("a task");
    assert_eq!(exported["attempts"][0]["cause"], cause);
}

/// It runs again, to its end.
fn runs_again(daemon: &Daemon, cause: &str) {
    daemon.until(&json!({"action": "status"}), |_| begun(daemon) == 2);
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    daemon.until(&json!({"action": "status"}), |data| data["counts"]["completed"] == 1);
    is_told(daemon, cause);
}

fn is_queued_again(daemon: &Daemon, cause: &str) {
    daemon.until(&json!({"action": "status"}), |data| data["state"] == "stopped");
    let task = show(daemon);
    assert_eq!(task["status"], "queued", "{task}");
    assert_eq!(task["reason"], format!("executor stopped; interrupted: {cause}"), "{task}");
}

#[test]
fn keeper_lost() {
    let daemon = with_one_running(&held());
    signal(daemon.keeper_pid(), "KILL");
    runs_again(&daemon, "keeper_lost");
    assert_eq!(first_attempt(&show(&daemon)), ("interrupted", "keeper_lost", 0, 1));
}

/// Daemon and keeper, as when Android ends an app.
fn kill_both(daemon: &mut Daemon) {
    let keeper = daemon.keeper_pid();
    daemon.kill();
    signal(keeper, "KILL");
    while lives(keeper) {
        std::thread::yield_now();
    }
}

#[test]
fn killed() {
    let mut daemon = with_one_running(&held());
    kill_both(&mut daemon);
    daemon.serve();
    runs_again(&daemon, "killed");
    assert_eq!(first_attempt(&show(&daemon)), ("interrupted", "killed", 0, 1));
}

#[test]
fn reboot() {
    let mut daemon = with_one_running(&held());
    kill_both(&mut daemon);
    // What a machine that was booted since would find.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let url = format!("sqlite://{}", daemon.home().join("queue.db").display());
        let mut queue = SqliteConnection::connect(&url).await.expect("the queue");
        sqlx::query("UPDATE clock SET boot = 'another'").execute(&mut queue).await.expect("written");
        queue.close().await.expect("closed");
    });
    daemon.serve();
    runs_again(&daemon, "reboot");
    assert_eq!(first_attempt(&show(&daemon)), ("interrupted", "reboot", 0, 1));
}

#[test]
fn stopped_with_the_daemon() {
    let mut daemon = with_one_running(&held());
    assert_eq!(daemon.stop(), Some(0));
    daemon.serve();
    runs_again(&daemon, "stopped");
    assert_eq!(first_attempt(&show(&daemon)), ("stopped", "stopped", 0, 0));
}

#[test]
fn stopped_by_request() {
    let daemon = with_one_running(&held());
    daemon.ok(json!({"action": "stop", "graceful": false}));
    is_queued_again(&daemon, "stopped");
    assert_eq!(first_attempt(&show(&daemon)), ("stopped", "stopped", 0, 0));
    is_told(&daemon, "stopped");
}

#[test]
fn deadline() {
    let daemon = with_one_running(&held());
    daemon.ok(json!({"action": "start", "timeout": 0.05}));
    is_queued_again(&daemon, "deadline");
    assert_eq!(first_attempt(&show(&daemon)), ("stopped", "deadline", 0, 0));
    is_told(&daemon, "deadline");
}

#[test]
fn cancelled() {
    let daemon = with_one_running(&held());
    daemon.ok(json!({"action": "cancel", "task_id": 1}));
    daemon.wait();
    let task = show(&daemon);
    assert_eq!(first_attempt(&task), ("cancelled", "cancelled", 0, 0));
    assert_eq!((&task["status"], &task["reason"]), (&json!("cancelled"), &json!("cancelled by request")));
    is_told(&daemon, "cancelled");
}

#[test]
fn timed_out() {
    let mut task = held();
    task["timeout"] = json!(0.3);
    let daemon = with_one_running(&task);
    daemon.until(&json!({"action": "status"}), |data| data["counts"]["queued"] == 1);
    let task = show(&daemon);
    // A failed attempt like another: it uses a retry.
    assert_eq!(first_attempt(&task), ("timed_out", "timed_out", 1, 0));
    assert_eq!(task["error"], "timed out after 0.3 s");
    is_told(&daemon, "timed_out");
}

#[test]
fn what_is_interrupted_five_times_by_nobody_s_order_fails_and_says_what_to_do() {
    let daemon = with_one_running(&held());
    for lost in 1..=5 {
        daemon.until(&json!({"action": "status"}), |_| begun(&daemon) == lost);
        daemon.running(1);
        signal(daemon.keeper_pid(), "KILL");
    }
    daemon.until(&json!({"action": "status"}), |data| data["counts"]["failed"] == 1);
    let task = show(&daemon);
    assert_eq!((&task["error"], &task["interruptions"]), (&json!("interrupted 5 times"), &json!(5)));
    assert!(task["reason"].as_str().is_some_and(|reason| reason.contains("keeper_lost") && reason.contains("`retry`")));
    assert_eq!(daemon.ok(json!({"action": "status"}))["causes"], json!({"keeper_lost": 5}));
    // From there it begins anew.
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    daemon.ok(json!({"action": "retry", "task_id": 1}));
    daemon.ok(json!({"action": "start"}));
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
    assert_eq!(show(&daemon)["interruptions"], 0);
}
