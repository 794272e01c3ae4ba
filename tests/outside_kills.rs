//! Tasks that somebody else kills: one is a failed attempt, several together are nobody's fault.

mod support;

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Daemon, shell, signal};

/// A task that says who it is and then waits to be killed; once the gate is open it ends well.
fn victim(retries: u32) -> Value {
    let mut task = shell("[ -e gate ] && exit 0; echo $$ > pid.$BATCH_EXECUTOR_TASK_ID; exec sleep 1000");
    task["max_retries"] = json!(retries);
    task
}

/// The pids of tasks 1 to `count`, once all have said them.
fn pids(daemon: &Daemon, count: i64) -> Vec<i32> {
    let read = |id| std::fs::read_to_string(daemon.work().join(format!("pid.{id}"))).ok()?.trim().parse().ok();
    let mut found = Vec::new();
    daemon.until(&json!({"action": "status"}), |_| {
        found = (1..=count).filter_map(read).collect();
        found.len() == usize::try_from(count).expect("few")
    });
    found
}

fn attempts(daemon: &Daemon, id: i64) -> Vec<Value> {
    daemon.ok(json!({"action": "show", "task_id": id}))["attempts"].as_array().expect("attempts").clone()
}

#[test]
fn one_kill_is_a_failed_attempt_that_says_so() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": [victim(0)]}));
    daemon.ok(json!({"action": "start"}));
    signal(pids(&daemon, 1)[0], "KILL");
    assert_eq!(daemon.wait()["counts"]["failed"], 1);
    let task = daemon.ok(json!({"action": "show", "task_id": 1}));
    assert_eq!((&task["signal"], &task["interruptions"]), (&json!(9), &json!(0)), "{task}");
    assert_eq!((&task["attempts"][0]["outcome"], &task["attempts"][0]["cause"]), (&json!("failed"), &json!("killed")));
    assert_eq!(daemon.ok(json!({"action": "status"}))["lowered_to"], Value::Null);
}

#[test]
fn several_together_cost_no_retry_and_fewer_run_until_it_is_quiet() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": [victim(0), victim(0), victim(0), victim(0)]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 4}));
    let pids = pids(&daemon, 4);
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    for pid in pids {
        signal(pid, "KILL");
        // As the kernel does it: one after the other. The first end is known before the last is brought about.
        std::thread::sleep(Duration::from_millis(15));
    }
    let done = daemon.wait();
    assert_eq!(done["counts"]["completed"], 4, "{done}");
    assert_eq!(done["causes"], json!({"killed": 4}), "{done}");
    for id in 1..=4 {
        let task = daemon.ok(json!({"action": "show", "task_id": id}));
        assert_eq!((&task["interruptions"], &task["retry_count"]), (&json!(0), &json!(0)), "{task}");
        let first = &task["attempts"][0];
        assert_eq!((&first["outcome"], &first["cause"]), (&json!("interrupted"), &json!("killed")), "{task}");
    }
    daemon.ok(json!({"action": "add_batch", "tasks": [victim(0)]}));
    // Lowered still, in a new run with the cap that was; whoever sets the cap gets it.
    let status = daemon.ok(json!({"action": "status"}));
    assert_eq!((&status["max_concurrent"], &status["lowered_to"]), (&json!(4), &json!(2)), "{status}");
    let doctor = daemon.cli(&["doctor"]);
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(text.contains("killed from outside together") && text.contains("--max-concurrent"), "{text}");
    daemon.ok(json!({"action": "start", "max_concurrent": 4}));
    assert_eq!(daemon.ok(json!({"action": "status"}))["lowered_to"], Value::Null);
}

#[test]
fn what_was_taken_for_a_failure_before_the_burst_gets_its_retry_back() {
    let daemon = Daemon::start();
    let tasks: Vec<Value> = (0..3)
        .map(|_| {
            let mut task = victim(1);
            task["retry_delay"] = json!(3600);
            task
        })
        .collect();
    daemon.ok(json!({"action": "add_batch", "tasks": tasks}));
    daemon.ok(json!({"action": "start", "max_concurrent": 3}));
    let pids = pids(&daemon, 3);
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    for (pid, waiting) in pids.iter().zip([1, 2]) {
        signal(*pid, "KILL");
        // Its failure is written, with a retry in an hour.
        daemon.until(&json!({"action": "status"}), |data| data["counts"]["queued"] == waiting);
    }
    assert_eq!(attempts(&daemon, 1)[0]["outcome"], "failed");
    signal(pids[2], "KILL");
    assert_eq!(daemon.wait()["counts"]["completed"], 3);
    for id in 1..=3 {
        let task = daemon.ok(json!({"action": "show", "task_id": id}));
        assert_eq!(task["retry_count"], 0, "{task}");
        assert_eq!(task["attempts"][0]["outcome"], "interrupted", "{task}");
    }
}

#[test]
fn a_task_that_is_always_killed_is_not_forgiven_for_ever() {
    let daemon = Daemon::start();
    let mut task = shell("kill -9 $$");
    task["max_retries"] = json!(0);
    daemon.ok(json!({"action": "add_batch", "tasks": [task, task, task]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 3}));
    assert_eq!(daemon.wait()["counts"]["failed"], 3);
    let most = (1..=3).map(|id| attempts(&daemon, id).len()).max();
    assert_eq!(most, Some(4), "three are forgiven, the next is a failure");
}

/// A limit on memory that the kernel enforces by its OOM killer; none where no such group can be made.
fn small_memory_group(name: &str) -> Option<std::path::PathBuf> {
    let (v1, v2) = (std::path::Path::new("/sys/fs/cgroup/memory"), std::path::Path::new("/sys/fs/cgroup"));
    let (root, file) = if v1.is_dir() { (v1, "memory.limit_in_bytes") } else { (v2, "memory.max") };
    let group = root.join(name);
    std::fs::create_dir(&group).ok()?;
    std::fs::write(group.join(file), "67108864").ok()?;
    Some(group)
}

#[test]
fn a_task_that_the_kernel_ends_for_want_of_memory_says_so() {
    let Some(group) = small_memory_group(&format!("bx-test-{}", std::process::id())) else {
        eprintln!("not run: no memory cgroup can be made here");
        return;
    };
    let daemon = Daemon::start();
    let hungry =
        shell(&format!("echo $$ > {}/cgroup.procs && exec python3 -c 'x = bytearray(256 << 20)'", group.display()));
    daemon.ok(json!({"action": "add_batch", "tasks": [hungry]}));
    daemon.ok(json!({"action": "start"}));
    let done = daemon.wait();
    let task = daemon.ok(json!({"action": "show", "task_id": 1}));
    drop(Command::new("rmdir").arg(&group).status());
    assert_eq!(done["causes"], json!({"out_of_memory": 1}), "{task}");
    assert_eq!(task["attempts"][0]["outcome"], "failed", "{task}");
    assert!(task["error"].as_str().is_some_and(|error| error.contains("out of memory")), "{task}");
}
