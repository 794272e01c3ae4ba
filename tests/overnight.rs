//! The overnight run in small: a file of tasks through the companion CLI, and everything dies on the way.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Daemon, lives, shell, signal};

const NIGHT: i64 = 1_000;
const LATE: i64 = 30;

/// What the CLI answers, on a home whose daemon it starts by itself.
fn answered(home: &Daemon, arguments: &[&str]) -> Option<Value> {
    let output = home.cli(&[&["--json"], arguments].concat());
    output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// Answered at last: a client may find the daemon killed, and then sends the same again.
fn insisted(home: &Daemon, arguments: &[&str]) -> Value {
    for _ in 0..1_000 {
        if let Some(mut answer) = answered(home, arguments) {
            return answer["data"].take();
        }
    }
    panic!("never answered: {arguments:?}");
}

fn kill_daemon(home: &Daemon) {
    let pid = insisted(home, &["status"])["pid"].as_i64().expect("a pid");
    signal(i32::try_from(pid).expect("a pid"), "KILL");
}

fn completed(home: &Daemon) -> i64 {
    insisted(home, &["status"])["counts"]["completed"].as_i64().expect("a count")
}

/// A line in `marks` for each execution, sorted.
fn marks(home: &Daemon) -> Vec<String> {
    let mut marks: Vec<String> =
        std::fs::read_to_string(home.work().join("marks")).unwrap_or_default().lines().map(str::to_owned).collect();
    marks.sort_unstable();
    marks
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}

fn write_tasks(home: &Daemon, tasks: impl Iterator<Item = Value>) {
    let mut lines = String::new();
    tasks.for_each(|task| writeln!(lines, "{task}").expect("a line"));
    std::fs::write(home.work().join("night.jsonl"), lines).expect("a file of tasks");
}

#[test]
fn a_night_of_kills_loses_nothing_and_runs_nothing_twice() {
    let home = Daemon::home_only();
    write_tasks(&home, (0..NIGHT).map(|i| shell(&format!("echo night {i} $MARK >> marks"))));
    assert_eq!(insisted(&home, &["add-batch", "night.jsonl", "--env", "MARK=kept"])["added"], NIGHT);
    let doomed =
        insisted(&home, &["add", "doomed", "--function", "simulate", "--delay", "3600"])["task_id"].to_string();
    insisted(&home, &["start", "--max-concurrent", "8"]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..LATE {
                let (line, key) = (format!("echo late {i} >> marks"), format!("late {i}"));
                insisted(&home, &["add", "--request-key", &key, "--", "sh", "-c", &line]);
            }
        });
        scope.spawn(|| {
            for i in 0..LATE {
                let key = format!("never {i}");
                let code = r#"code="echo never >> marks""#;
                let add = ["add", &key, "--function", "code_execution", "-p", "runtime=terminal", "-p", code];
                let added = insisted(&home, &[&add[..], &["--delay", "3600", "--request-key", &key]].concat());
                let cancelled = insisted(&home, &["cancel", &added["task_id"].to_string()]);
                // Sent again after an answer that was lost, it finds the task cancelled already.
                assert!(
                    cancelled["cancelled_count"] == 1 || cancelled["not_cancelled"][0]["task_id"] == added["task_id"]
                );
            }
        });
        for kill in 1..=6 {
            while completed(&home) < kill * NIGHT / 8 {
                std::thread::yield_now();
            }
            kill_daemon(&home);
        }
    });
    insisted(&home, &["cancel", &doomed]);
    assert_eq!(home.cli(&["wait"]).status.code(), Some(1), "what was cancelled did not complete");
    let counts = insisted(&home, &["status"])["counts"].take();
    let expected = json!({"total": NIGHT + 2 * LATE + 1, "completed": NIGHT + LATE, "cancelled": LATE + 1,
        "failed": 0, "queued": 0, "running": 0});
    assert_eq!(counts, expected);
    let night = (0..NIGHT).map(|i| format!("night {i} kept"));
    assert_eq!(marks(&home), sorted(night.chain((0..LATE).map(|i| format!("late {i}"))).collect()));
    assert!(
        insisted(&home, &["results"])["tasks"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|task| task["interruptions"] == 0)
    );
}

#[test]
fn what_ended_while_nobody_came_for_long_is_known_to_the_next_daemon() {
    let mut daemon = Daemon::start();
    let code = |exit| format!("echo begun >> marks; while [ ! -e gate ]; do sleep 0.01; done; echo said; exit {exit}");
    daemon.ok(json!({"action": "add_batch", "tasks": [shell(&code(0)), shell(&code(3))]}));
    daemon.ok(json!({"action": "start"}));
    daemon.until(&json!({"action": "status"}), |_| marks(&daemon).len() == 2);
    let keeper = daemon.keeper_pid();
    daemon.kill();
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    // It waits half a minute for a daemon, then writes down what it knows.
    while lives(keeper) {
        std::thread::sleep(Duration::from_millis(50));
    }
    daemon.serve();
    daemon.until(&json!({"action": "status"}), |data| data["state"] == "stopped");
    let tasks = daemon.tasks();
    let ends: Vec<_> = tasks.iter().map(|task| (&task["status"], &task["exit_code"], &task["interruptions"])).collect();
    let zero = json!(0);
    assert_eq!(ends, [(&json!("completed"), &zero, &zero), (&json!("failed"), &json!(3), &zero)]);
    assert_eq!(tasks[0]["result"]["stdout"], "said\n");
    assert_eq!(marks(&daemon).len(), 2, "neither ran again");
}

/// `run night.jsonl`, once it has said that it goes on or has begun.
fn run_until_it_says(home: &Daemon, words: &str) -> Child {
    let mut client = home
        .command(&["run", "night.jsonl"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a client");
    let said = BufReader::new(client.stderr.take().expect("a pipe"));
    let mut lines = said.lines().map(|line| line.expect("text"));
    assert!(lines.any(|line| line.contains(words)), "it never said `{words}`");
    // Read to its end, or the client would be told of a closed pipe.
    std::thread::spawn(move || lines.for_each(drop));
    client
}

fn id_of(client: &Child) -> i32 {
    i32::try_from(client.id()).expect("a pid")
}

#[test]
fn run_typed_again_goes_on_with_its_batch_and_adds_nothing() {
    let home = Daemon::home_only();
    let code = |i| format!("while [ ! -e gate ]; do sleep 0.01; done; echo {i} >> marks");
    write_tasks(&home, (0..20).map(|i| shell(&code(i))));

    let mut first = run_until_it_says(&home, "running");
    signal(id_of(&first), "INT");
    assert_eq!(first.wait().expect("its end").code(), Some(130));
    let mut second = run_until_it_says(&home, "going on");
    kill_daemon(&home);
    signal(id_of(&second), "KILL");
    assert_eq!(second.wait().expect("its end").code(), None);
    let mut third = run_until_it_says(&home, "going on");

    assert_eq!(insisted(&home, &["status"])["counts"]["total"], 20);
    std::fs::write(home.work().join("gate"), "").expect("the gate opens");
    assert_eq!(third.wait().expect("its end").code(), Some(0));
    assert_eq!(insisted(&home, &["status"])["counts"]["total"], 20);
    assert_eq!(marks(&home), sorted((0..20).map(|i| i.to_string()).collect()));

    assert!(home.cli(&["run", "night.jsonl"]).status.success(), "a batch that is done is no reason not to run again");
    assert_eq!(insisted(&home, &["status"])["counts"]["total"], 40);
}

#[test]
fn stop_cancel_timeout_and_completion_at_once_end_in_one_state() {
    const TASKS: i64 = 60;
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_GRACE", "0.02")]);
    let mut task = shell("trap 'exit 0' TERM; sleep 0.05 & wait; echo done >> marks");
    task["timeout"] = json!(0.06);
    daemon.ok(json!({"action": "add_batch", "tasks": vec![task; TASKS as usize]}));
    let cancelled: BTreeSet<i64> = std::thread::scope(|scope| {
        let cancels = [0, 1].map(|client| {
            let daemon = &daemon;
            scope.spawn(move || -> Vec<i64> {
                let ids = (1..=TASKS).filter(|id| id % 3 != client);
                let answers = ids.map(|id| {
                    daemon.until(&json!({"action": "show", "task_id": id}), |task| task["status"] != "queued");
                    daemon.ok(json!({"action": "cancel", "task_ids": [id]}))["cancelled"].take()
                });
                answers.filter_map(|ids| ids[0].as_i64()).collect()
            })
        });
        let status = json!({"action": "status"});
        let mut progress = 0.0;
        while progress < 100.0 {
            daemon.ok(json!({"action": "start", "max_concurrent": 6}));
            let data = daemon.until(&status, |data| data["progress"].as_f64() > Some(progress));
            progress = data["progress"].as_f64().expect("a number");
            daemon.ok(json!({"action": "stop", "graceful": false}));
        }
        cancels.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    let mut completions = 0;
    for id in 1..=TASKS {
        let task = daemon.ok(json!({"action": "show", "task_id": id}));
        let outcomes: Vec<&str> = task["attempts"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|attempt| attempt["outcome"].as_str())
            .collect();
        let of = |outcome: &str| outcomes.iter().filter(|one| **one == outcome).count();
        let status = task["status"].as_str().expect("a status");
        assert_eq!(cancelled.contains(&id), status == "cancelled", "{task}");
        assert_eq!(of("completed"), usize::from(status == "completed"), "{task}");
        assert!(["completed", "failed", "cancelled"].contains(&status), "{task}");
        let ended_by_itself = of("completed") + of("failed") + of("timed_out") + of("cancelled");
        assert!(ended_by_itself <= 1, "without retries only a stop lets an attempt follow: {task}");
        completions += of("completed");
    }
    let marks = std::fs::read_to_string(daemon.work().join("marks")).unwrap_or_default().lines().count();
    assert!(marks >= completions, "{completions} completed, {marks} came to their end");
    assert_eq!(daemon.ok(json!({"action": "health"}))["tally_difference"], Value::Null);
}
