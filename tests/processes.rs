//! What a task's processes may do, and what is left of them: nothing.

mod support;

use serde_json::{Value, json};
use support::{Daemon, lives, shell};

fn pid_in(daemon: &Daemon, file: &str) -> i32 {
    let path = daemon.work().join(file);
    daemon
        .until(&json!({"action": "status"}), |_| std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n')));
    std::fs::read_to_string(path).expect("a pid").trim().parse().expect("a pid")
}

#[test]
fn what_escaped_its_session_ends_with_the_task() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": [
        shell("setsid sh -c 'echo $$ > escaped; exec sleep 600' & while [ ! -s escaped ]; do sleep 0.01; done")]}));
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    let pid = pid_in(&daemon, "escaped");
    daemon.until(&json!({"action": "status"}), |_| !lives(pid));
}

#[test]
fn a_cancelled_task_that_ignores_sigterm_is_killed_after_the_grace() {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_GRACE", "0.2")]);
    daemon.ok(
        json!({"action": "add_batch", "tasks": [shell("trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done")]}),
    );
    daemon.ok(json!({"action": "start"}));
    let pid = pid_in(&daemon, "pid");
    let data = daemon.ok(json!({"action": "cancel", "task_id": 1}));
    assert_eq!(data["cancelled"], json!([1]));
    daemon.wait();
    assert!(!lives(pid));
    assert_eq!(daemon.tasks()[0]["status"], "cancelled");
}

#[test]
fn a_task_past_its_time_that_ignores_sigterm_is_killed_after_the_set_grace() {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_GRACE", "0.2")]);
    let mut task = shell("trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done");
    task["timeout"] = json!(0.3);
    daemon.ok(json!({"action": "add_batch", "tasks": [task]}));
    daemon.ok(json!({"action": "start"}));
    let pid = pid_in(&daemon, "pid");
    daemon.wait();
    assert!(!lives(pid));
    let task = daemon.ok(json!({"action": "show", "task_id": 1}));
    assert_eq!((&task["signal"], &task["attempts"][0]["outcome"]), (&json!(9), &json!("timed_out")));
}

#[test]
fn handling_sigterm_with_exit_0_is_no_success() {
    let daemon = Daemon::start();
    let mut task = shell("trap 'exit 0' TERM; echo > ready; while :; do sleep 0.02; done");
    task["timeout"] = json!(0.3);
    daemon.ok(json!({"action": "add_batch", "tasks": [task]}));
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    let task = daemon.ok(json!({"action": "show", "task_id": 1}));
    assert_eq!((&task["status"], &task["attempts"][0]["outcome"]), (&json!("failed"), &json!("timed_out")));
    assert_eq!(task["error"], "timed out after 0.3 s");
}

#[test]
fn large_output_is_kept_whole_in_the_log_and_by_head_and_tail_in_the_result() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("seq 1 600000; echo last >&2")]}));
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    let result = &daemon.tasks()[0]["result"];
    assert_eq!((&result["stdout_truncated"], &result["stderr"]), (&json!(true), &json!("last\n")));
    let text = result["stdout"].as_str().expect("text");
    assert!(text.starts_with("1\n2\n") && text.ends_with("599999\n600000\n") && text.len() < 1_100_000);
    let whole: u64 = (1..=600_000_u64).map(|n| n.to_string().len() as u64 + 1).sum();
    let logs = daemon.ok(json!({"action": "logs", "task_id": 1, "stream": "stdout", "offset": -7}));
    assert_eq!((&logs["size"], &logs["text"], &logs["dropped"]), (&json!(whole), &json!("600000\n"), &json!(0)));
}

#[test]
fn the_output_of_a_running_task_can_be_followed() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("echo one; while [ ! -e gate ]; do sleep 0.01; done; echo two")]}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    let follow = |offset: &Value| json!({"action": "logs", "task_id": 1, "follow": true, "offset": offset});
    let first = daemon.ok(follow(&json!(0)));
    assert_eq!((&first["text"], &first["ended"]), (&json!("one\n"), &json!(false)));
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    let second = daemon.ok(follow(&first["next_offset"]));
    assert_eq!(second["text"], "two\n");
}

#[test]
fn the_environment_is_the_requests_and_nothing_of_the_service_manager() {
    let daemon = Daemon::start_with(&[("NOTIFY_SOCKET", "/nowhere"), ("LD_PRELOAD_TEST", "kept")]);
    daemon.ok(
        json!({"action": "add", "name": "env", "function": "command", "params": {"argv": ["env"], "env": {"OWN": "1"}},
                     "environment": {"SENT": "2", "PATH": std::env::var("PATH").expect("PATH")}}),
    );
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    let tasks = daemon.tasks();
    let text = tasks[0]["result"]["stdout"].as_str().expect("text");
    for present in ["OWN=1\n", "SENT=2\n", "LD_PRELOAD_TEST=kept\n", "BATCH_EXECUTOR_TASK_ID=1\n"] {
        assert!(text.contains(present), "{present}");
    }
    assert!(!text.contains("NOTIFY_SOCKET"));
}
