//! What must hold when all is over: the ledger against the queue, and both against what the tasks themselves wrote.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use super::client::{CAP, Fate, Ledger};
use super::support::Daemon;

/// One execution as the task itself told it: when it began, and when it was about to end.
type Runs = BTreeMap<(i64, u64), (f64, Option<f64>)>;

pub fn all(daemon: &Daemon, ledger: &Ledger) {
    daemon.ok(json!({"action": "start", "max_concurrent": CAP, "keep": true}));
    daemon.until(&json!({"action": "status"}), |data| data["counts"]["queued"] == 0 && data["counts"]["running"] == 0);
    let tasks = exported(daemon);
    let runs = runs(daemon);
    println!("{} tasks acknowledged, {} executions, {} in the queue", ledger.added.len(), runs.len(), tasks.len());
    nothing_is_lost(ledger, &tasks);
    for (id, task) in &tasks {
        assert!(ledger.added.contains_key(id), "task {id} was never acknowledged");
        ended_as_it_must(ledger, *id, task);
        ran_as_it_is_told(task, *id, &runs);
    }
    the_cap_held(&runs);
    all_is_told(daemon, &tasks);
    let health = daemon.ok(json!({"action": "health"}));
    assert_eq!((&health["database"], &health["tally_difference"]), (&json!("ok"), &Value::Null), "{health}");
    assert_eq!(left_behind(daemon), Vec::<String>::new());
    integrity(daemon);
}

/// The events have no hole, and tell of every end of every attempt that is recorded, and of nothing twice.
fn all_is_told(daemon: &Daemon, tasks: &BTreeMap<i64, Value>) {
    let (mut next, mut ends) = (1, BTreeMap::new());
    loop {
        let page = daemon.ok(json!({"action": "watch", "from": next, "limit": 10_000}));
        assert_eq!(page["gap"], Value::Null);
        let events = page["events"].as_array().expect("events");
        for event in events {
            assert_eq!(event["seq"], next, "{event}");
            next += 1;
            if event["event"] == "ended" {
                let key = (event["task_id"].as_i64().expect("an id"), event["attempt"].as_u64().expect("a number"));
                assert_eq!(ends.insert(key, event["status"].clone()), None, "told twice: {event}");
            }
        }
        if events.is_empty() {
            break;
        }
    }
    for (id, task) in tasks {
        for attempt in attempts(task) {
            let number = attempt["attempt"].as_u64().expect("a number");
            let status = ends.get(&(*id, number)).unwrap_or_else(|| panic!("attempt {number} ended untold: {task}"));
            let is_last = number == attempts(task).len() as u64;
            assert!(!is_last || *status == task["status"], "told as {status}: {task}");
        }
    }
}

fn exported(daemon: &Daemon) -> BTreeMap<i64, Value> {
    let target = daemon.work().join("all.jsonl");
    daemon.ok(json!({"action": "export", "format": "jsonl", "output_file": target, "attempts": true}));
    let text = std::fs::read_to_string(target).expect("an export");
    let tasks = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a task"));
    tasks.map(|task| (task["task_id"].as_i64().expect("an id"), task)).collect()
}

fn runs(daemon: &Daemon) -> Runs {
    let mut runs = Runs::new();
    for line in std::fs::read_to_string(daemon.work().join("runs")).expect("the tasks' own account").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [which, id, attempt, at] = words[..] else { panic!("{line}") };
        let key = (id.parse().expect("an id"), attempt.parse().expect("a number"));
        let at: f64 = at.parse().expect("a time");
        if which == "S" {
            assert_eq!(runs.insert(key, (at, None)), None, "attempt {key:?} began twice");
        } else {
            runs.get_mut(&key).expect("a beginning").1 = Some(at);
        }
    }
    runs
}

fn nothing_is_lost(ledger: &Ledger, tasks: &BTreeMap<i64, Value>) {
    for id in ledger.added.keys() {
        let known = tasks.contains_key(id);
        assert!(known || ledger.perhaps_cleared.contains(id), "task {id} was acknowledged and is lost");
        assert!(!(known && ledger.cleared.contains(id)), "task {id} was removed and is back");
    }
}

fn attempts(task: &Value) -> &[Value] {
    task["attempts"].as_array().map(Vec::as_slice).expect("attempts")
}

fn ended_as_it_must(ledger: &Ledger, id: i64, task: &Value) {
    let outcomes: Vec<&str> = attempts(task).iter().filter_map(|attempt| attempt["outcome"].as_str()).collect();
    let of = |outcome: &str| outcomes.iter().filter(|one| **one == outcome).count() as u64;
    let status = task["status"].as_str().expect("a status");
    match ledger.added[&id] {
        Fate::Completes => {
            assert_eq!((status, of("completed"), of("failed")), ("completed", 1, 0), "{task}");
            assert_eq!(outcomes.last(), Some(&"completed"), "{task}");
        }
        Fate::Fails => {
            assert_eq!((status, of("completed")), ("failed", 0), "{task}");
            let retried = ledger.retried.get(&id).copied().unwrap_or(0);
            assert!(of("failed") >= 2 * (1 + retried), "retried {retried} times: {task}");
        }
        Fate::Never => {
            assert!(ledger.cancelled.contains(&id), "{task}");
            assert_eq!((status, outcomes.len()), ("cancelled", 0), "{task}");
        }
    }
    let causes = ["keeper_lost", "reboot", "killed", "stopped"];
    for attempt in attempts(task).iter().filter(|attempt| attempt["outcome"] == "interrupted") {
        assert!(attempt["cause"].as_str().is_some_and(|cause| causes.contains(&cause)), "{task}");
    }
}

/// Each execution is a recorded attempt, and each attempt that came to its own end was executed.
fn ran_as_it_is_told(task: &Value, id: i64, runs: &Runs) {
    let recorded: BTreeSet<u64> = attempts(task).iter().filter_map(|attempt| attempt["attempt"].as_u64()).collect();
    for ((_, attempt), _) in runs.range((id, 0)..=(id, u64::MAX)) {
        assert!(recorded.contains(attempt), "attempt {attempt} ran and is not recorded: {task}");
    }
    for attempt in attempts(task) {
        let ran = runs.get(&(id, attempt["attempt"].as_u64().expect("a number")));
        match attempt["outcome"].as_str() {
            Some("completed") => assert!(ran.is_some_and(|(_, ended)| ended.is_some()), "it never ran: {task}"),
            Some("failed") => assert!(ran.is_some(), "it never ran: {task}"),
            _ => {}
        }
    }
}

fn the_cap_held(runs: &Runs) {
    let mut edges: Vec<(f64, i64)> = Vec::new();
    for (begun, ended) in runs.values() {
        edges.extend(ended.map(|ended| [(*begun, 1), (ended, -1)]).into_iter().flatten());
    }
    edges.sort_by(|a, b| a.partial_cmp(b).expect("times"));
    let mut at_once = 0;
    for (at, change) in edges {
        at_once += change;
        assert!(at_once <= CAP, "{at_once} ran at once at {at}");
    }
}

/// Processes that carry a task's mark of this home.
fn left_behind(daemon: &Daemon) -> Vec<String> {
    let home = format!("BATCH_EXECUTOR_HOME={}", daemon.home().display());
    let processes = std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    processes
        .filter_map(|process| {
            let environment = std::fs::read(process.path().join("environ")).ok()?;
            let has = |wanted: &[u8]| environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(wanted));
            let is_task = has(home.as_bytes()) && has(b"BATCH_EXECUTOR_CLAIM=");
            is_task.then(|| std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default())
        })
        .collect()
}

/// SQLite's own whole check, on the file.
fn integrity(daemon: &Daemon) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let found: String = runtime.block_on(async {
        let url = format!("sqlite://{}?mode=ro", daemon.home().join("queue.db").display());
        let mut connection = SqliteConnection::connect(&url).await.expect("the queue");
        let found = sqlx::query_scalar("SELECT integrity_check FROM pragma_integrity_check");
        found.fetch_one(&mut connection).await.expect("a check")
    });
    assert_eq!(found, "ok");
}
