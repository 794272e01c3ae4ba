//! Nothing acknowledged is lost and nothing runs twice, whoever dies.

mod support;

use serde_json::json;
use support::{Daemon, lives, shell, signal};

#[test]
fn running_tasks_go_on_when_the_daemon_is_killed() {
    let mut daemon = Daemon::start();
    let marks = daemon.work().join("marks");
    let gate = daemon.work().join("gate");
    let code = format!(
        "echo begun >> {m}; while [ ! -e {g} ]; do sleep 0.01; done; echo ended >> {m}",
        m = marks.display(),
        g = gate.display()
    );
    daemon.ok(json!({"action": "add_batch", "tasks": [shell(&code), shell(&code), shell(&code)]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 2}));
    daemon.running(2);
    let keeper = daemon.keeper_pid();
    daemon.kill();
    std::fs::write(&gate, "").expect("the gate opens");
    daemon.serve();
    let data = daemon.wait();
    assert_eq!(data["counts"]["completed"], 3);
    assert_eq!(daemon.keeper_pid(), keeper, "the keeper outlived the daemon");
    let marks = std::fs::read_to_string(marks).expect("marks");
    assert_eq!(marks.matches("begun").count(), 3, "each ran once");
    assert!(daemon.tasks().iter().all(|task| task["interruptions"] == 0));
}

#[test]
fn every_task_runs_once_over_many_kills() {
    let mut daemon = Daemon::start();
    let marks = daemon.work().join("marks");
    let tasks: Vec<_> = (0..400).map(|i| shell(&format!("echo {i} >> {}", marks.display()))).collect();
    daemon.ok(json!({"action": "add_batch", "tasks": tasks}));
    daemon.ok(json!({"action": "start", "max_concurrent": 4}));
    for kill in 1..=8 {
        let so_far = kill * 40;
        daemon.until(&json!({"action": "status"}), |data| {
            data["counts"]["completed"].as_i64() >= Some(so_far) || data["counts"]["queued"] == 0
        });
        daemon.kill();
        daemon.serve();
    }
    assert_eq!(daemon.wait()["counts"]["completed"], 400);
    let mut ran: Vec<i32> =
        std::fs::read_to_string(marks).expect("marks").lines().map(|line| line.parse().expect("a number")).collect();
    ran.sort_unstable();
    assert_eq!(ran, (0..400).collect::<Vec<_>>());
}

#[test]
fn what_the_keeper_ran_is_ended_with_it_and_runs_again() {
    let daemon = Daemon::start();
    let pids = daemon.work().join("pids");
    let gate = daemon.work().join("gate");
    let code = format!("echo $$ >> {}; while [ ! -e {} ]; do sleep 0.01; done", pids.display(), gate.display());
    daemon.ok(json!({"action": "add_batch", "tasks": [shell(&code)]}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    let begun = || std::fs::read_to_string(&pids).unwrap_or_default().lines().count();
    daemon.until(&json!({"action": "status"}), |_| begun() == 1);
    signal(daemon.keeper_pid(), "KILL");
    daemon.until(&json!({"action": "status"}), |_| begun() == 2);
    let first: i32 = std::fs::read_to_string(&pids).expect("pids").lines().next().expect("one").parse().expect("a pid");
    assert!(!lives(first), "the first attempt's process is gone before the second begins");
    std::fs::write(&gate, "").expect("the gate opens");
    daemon.wait();
    let task = daemon.ok(json!({"action": "show", "task_id": 1}));
    assert_eq!((&task["status"], &task["interruptions"]), (&json!("completed"), &json!(1)));
    assert_eq!(task["attempts"][0]["outcome"], "interrupted");
    assert_eq!(task["attempts"][0]["cause"], "keeper_lost");
}

#[test]
fn a_stopped_daemon_gives_running_tasks_back_and_the_next_goes_on() {
    let mut daemon = Daemon::start();
    daemon.ok(json!({"action": "add", "name": "long", "function": "command", "params": {"argv": ["sleep", "600"]}}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    assert_eq!(daemon.stop(), Some(0));
    daemon.serve();
    daemon.running(1);
    let task = daemon.ok(json!({"action": "show", "task_id": 1}));
    assert_eq!((&task["interruptions"], &task["retry_count"]), (&json!(0), &json!(0)));
    assert_eq!(task["attempts"][0]["outcome"], "stopped");
}

#[test]
fn a_second_daemon_on_the_same_home_exits_75_and_names_the_first() {
    let daemon = Daemon::start();
    let second = daemon.cli(&["daemon"]);
    assert_eq!(second.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&second.stderr).contains(&daemon.pid().to_string()));
}

#[test]
fn a_restart_replaces_the_daemon_in_the_same_process_under_running_tasks() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("while [ ! -e gate ]; do sleep 0.01; done")]}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    let before = daemon.ok(json!({"action": "status"}));
    for restarts in 1..=3 {
        assert!(daemon.cli(&["daemon", "restart"]).status.success());
        assert_eq!(daemon.log().matches(" serving ").count(), 1 + restarts, "it returns when the new one serves");
        assert_eq!(daemon.answers()["data"]["pid"], before["pid"]);
    }
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
    assert_eq!(daemon.tasks()[0]["interruptions"], 0);
}

#[test]
fn a_daemon_that_a_task_started_outlives_the_task() {
    let mut daemon = Daemon::start();
    let program = env!("CARGO_BIN_EXE_batch-executor");
    let code = format!(
        "touch begun; while [ ! -e gate ]; do sleep 0.01; done; {program} status --json; touch done; sleep 0.2"
    );
    daemon.ok(json!({"action": "add_batch", "tasks": [shell(&code)]}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    daemon.kill();
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    let status = daemon.answers();
    let counts = daemon.wait()["counts"].clone();
    assert_eq!(counts["completed"], 1, "{counts}");
    let later = daemon.ok(json!({"action": "status"}));
    assert_eq!(later["pid"], status["data"]["pid"], "the daemon that the task started serves on");
}
