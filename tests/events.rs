//! What has happened is told in its order, each once, whoever dies meanwhile.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use support::{Daemon, shell, signal};

const SIMULATED: &str = r#"{"function": "simulate", "params": {"duration": 0}}"#;

fn simulated(count: usize) -> Vec<Value> {
    vec![serde_json::from_str(SIMULATED).expect("a task"); count]
}

/// All events that are kept, and what came before them.
fn told(daemon: &Daemon) -> (Vec<Value>, Value) {
    let (mut events, mut from, mut gap) = (Vec::new(), 1, Value::Null);
    loop {
        let mut page = daemon.ok(json!({"action": "watch", "from": from, "limit": 7000}));
        if !page["gap"].is_null() {
            gap = page["gap"].take();
        }
        from = page["next"].as_i64().expect("a number");
        match page["events"].take() {
            Value::Array(some) if !some.is_empty() => events.extend(some),
            _ => return (events, gap),
        }
    }
}

/// The numbers have no hole.
fn numbered(events: &[Value]) {
    for pair in events.windows(2) {
        let [before, after] = pair else { unreachable!("two") };
        assert_eq!(before["seq"].as_i64().map(|seq| seq + 1), after["seq"].as_i64(), "{before} {after}");
    }
}

/// Each as its kind and what it is about.
fn in_short(events: &[Value]) -> Vec<String> {
    let short = events.iter().map(|event| {
        let kind = event["event"].as_str().expect("a kind");
        let about = match kind {
            "started" | "not_started" => format!(" {}/{}", event["task_id"], event["attempt"]),
            "ended" => {
                let words = [&event["outcome"], &event["status"]].map(|word| word.as_str().unwrap_or("?"));
                format!(" {}/{} {}", event["task_id"], event["attempt"], words.join(" "))
            }
            "cancelled" | "requeued" | "updated" => format!(" {}", event["task_ids"]),
            "paused" | "resumed" if event["batch_id"].is_i64() => format!(" batch {}", event["batch_id"]),
            "paused" | "resumed" if event["tasks"].is_i64() => format!(" {}", event["task_ids"]),
            "added" | "batch_ended" => format!(" {}", event["batch_id"]),
            "cleared" => format!(" {}", event["tasks"]),
            "executor" => format!(" {}", event["state"].as_str().expect("a state")),
            "daemon_started" => format!(" {}", event["after"]),
            _ => String::new(),
        };
        format!("{kind}{about}")
    });
    short.collect()
}

/// The events after the first `from`, in short; waits for the first that is `last`.
fn until(daemon: &Daemon, from: usize, last: &str) -> Vec<String> {
    let mut seen = Vec::new();
    support::until(last, || {
        seen = in_short(&told(daemon).0).split_off(from);
        seen.iter().any(|event| event == last)
    });
    seen
}

#[test]
fn all_that_happens_to_tasks_is_told() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "name": "night", "tasks": [
        shell("true"), shell("exit 3"), {"name": "later", "function": "simulate", "delay": 1000},
    ], "defaults": {"max_retries": 0}}));
    let mut retried = shell("test $BATCH_EXECUTOR_ATTEMPT = 2");
    retried["retry_delay"] = json!(0);
    retried["max_retries"] = json!(1);
    daemon.ok(json!({"action": "add_batch", "tasks": [retried]}));
    daemon.ok(json!({"action": "update", "task_id": 3, "name": "much later"}));
    daemon.ok(json!({"action": "pause", "task_id": 3}));
    daemon.ok(json!({"action": "resume", "task_id": 3}));
    daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    let expected = [
        "daemon_started null",
        "added 1",
        "added 2",
        "updated [3]",
        "paused [3]",
        "resumed [3]",
        "executor running",
        "started 1/1",
        "ended 1/1 completed completed",
        "started 2/1",
        "ended 2/1 failed failed",
        "started 4/1",
        "ended 4/1 failed queued",
        "started 4/2",
        "ended 4/2 completed completed",
        "batch_ended 2",
    ];
    assert_eq!(until(&daemon, 0, "batch_ended 2"), expected);
    daemon.ok(json!({"action": "cancel", "task_id": 3}));
    daemon.ok(json!({"action": "retry", "task_id": 3}));
    daemon.ok(json!({"action": "pause", "batch_id": 1}));
    daemon.ok(json!({"action": "cancel", "batch_id": 1}));
    daemon.ok(json!({"action": "clear"}));
    let expected = [
        "cancelled [3]",
        "batch_ended 1",
        "executor stopped",
        "idle",
        "requeued [3]",
        "paused batch 1",
        "cancelled [3]",
        "batch_ended 1",
        "idle",
        "cleared 4",
    ];
    assert_eq!(until(&daemon, 16, "cleared 4"), expected);
    let (events, gap) = told(&daemon);
    numbered(&events);
    assert_eq!((&events[0]["seq"], gap), (&json!(1), Value::Null));
    // Of cleared tasks only what the event itself has is left.
    assert_eq!((&events[10]["task_id"], &events[10]["name"]), (&json!(2), &Value::Null));
    assert_eq!(
        events[15]["counts"],
        json!({"total": 1, "queued": 0, "running": 0, "completed": 1, "failed": 0, "cancelled": 0})
    );
}

#[test]
fn an_end_says_how_and_why() {
    let daemon = Daemon::start();
    daemon.run(&[shell("echo no >&2; exit 3")]);
    let (events, _) = told(&daemon);
    let end = events.iter().find(|event| event["event"] == "ended").expect("an end");
    let said = ["batch_id", "function", "outcome", "status", "cause", "exit_code", "signal", "error"]
        .map(|name| end[name].clone());
    let expected = [
        json!(1),
        json!("code_execution"),
        json!("failed"),
        json!("failed"),
        Value::Null,
        json!(3),
        Value::Null,
        json!("exit code 3: no"),
    ];
    assert_eq!(said, expected, "{end}");
    assert!(end["run_time"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{end}");
}

#[test]
fn a_batch_has_ended_when_its_last_part_has() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "start", "keep": true}));
    let batch = daemon.ok(json!({"action": "add_batch", "tasks": simulated(2), "more": true}))["batch_id"].clone();
    daemon.wait();
    daemon.ok(json!({"action": "add_batch", "tasks": simulated(3), "batch_id": batch}));
    daemon.wait();
    let (events, _) = told(&daemon);
    let ends: Vec<&Value> = events.iter().filter(|event| event["event"] == "batch_ended").collect();
    assert_eq!(ends.iter().map(|end| &end["counts"]["completed"]).collect::<Vec<_>>(), [&json!(5)]);
    // Those of many batches, of which few are remembered.
    for _ in 0..100 {
        daemon.ok(json!({"action": "add_batch", "tasks": simulated(2)}));
    }
    daemon.wait();
    let (events, _) = told(&daemon);
    let ended: Vec<i64> = events
        .iter()
        .filter(|event| event["event"] == "batch_ended")
        .filter_map(|event| event["batch_id"].as_i64())
        .collect();
    let mut each = ended.clone();
    each.sort_unstable();
    assert_eq!(each, (1..=101).collect::<Vec<_>>());
}

#[test]
fn a_batch_has_ended_also_where_nothing_of_its_last_part_was_good() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "start", "keep": true}));
    let batch = daemon.ok(json!({"action": "add_batch", "tasks": simulated(2), "more": true}))["batch_id"].clone();
    daemon.wait();
    let ends = || told(&daemon).0.iter().filter(|event| event["event"] == "batch_ended").count();
    let nameless = json!([{"name": "", "function": "simulate"}]);
    daemon.call(&json!({"action": "add_batch", "tasks": nameless, "batch_id": batch, "more": true}));
    assert_eq!(ends(), 0);
    for _ in 0..2 {
        let answer = daemon.call(&json!({"action": "add_batch", "tasks": nameless, "batch_id": batch}));
        assert_eq!(answer["error"]["code"], "invalid_request", "{answer}");
        assert_eq!(ends(), 1);
    }
}

#[test]
fn a_file_in_parts_ends_once() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "start", "keep": true, "max_concurrent": 50}));
    let task = json!({"name": "x".repeat(1000), "function": "simulate", "params": {"duration": 0}}).to_string() + "\n";
    let file = daemon.work().join("parts.jsonl");
    std::fs::write(&file, task.repeat(2000)).expect("a file");
    let file = file.to_str().expect("text");
    assert!(daemon.command(&["add-batch", file]).stdout(Stdio::null()).status().expect("its end").success());
    daemon.wait();
    let ends: Vec<Value> = told(&daemon).0.into_iter().filter(|event| event["event"] == "batch_ended").collect();
    assert_eq!(ends.iter().map(|end| &end["counts"]["completed"]).collect::<Vec<_>>(), [&json!(2000)]);
}

#[test]
fn what_a_filter_or_a_batch_changes_is_told() {
    let daemon = Daemon::start();
    daemon.run(&[shell("true"), shell("true")]);
    daemon.ok(json!({"action": "add_batch", "tasks": simulated(2)}));
    daemon.ok(json!({"action": "pause", "task_ids": [3, 4]}));
    let from = told(&daemon).0.len();
    daemon.ok(json!({"action": "clear", "filter": "id=1"}));
    daemon.ok(json!({"action": "resume", "batch_id": 2}));
    assert_eq!(in_short(&told(&daemon).0).split_off(from), ["cleared 1", "resumed [3,4]"]);
}

#[test]
fn a_page_of_a_batch_goes_on_after_its_last_event() {
    let daemon = Daemon::start();
    for _ in 0..3 {
        daemon.ok(json!({"action": "add_batch", "tasks": simulated(2)}));
    }
    daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    daemon.wait();
    let expected: Vec<Value> = told(&daemon).0.into_iter().filter(|event| event["batch_id"] == 2).collect();
    let (mut from, mut seen) = (json!(1), Vec::new());
    loop {
        let page = daemon.ok(json!({"action": "watch", "from": from, "batch_id": 2, "limit": 1}));
        let Some([event]) = page["events"].as_array().map(Vec::as_slice) else { break };
        assert_eq!(page["next"].as_i64(), event["seq"].as_i64().map(|seq| seq + 1), "{page}");
        (from, seen) = (page["next"].clone(), [seen, vec![event.clone()]].concat());
    }
    assert_eq!(seen, expected);
}

#[test]
fn who_goes_on_at_once_is_not_refused() {
    let daemon = Daemon::start();
    let mut watching = daemon.connect();
    let mut adding = daemon.connect();
    let adder = std::thread::spawn(move || {
        for _ in 0..1500 {
            adding.send(&json!({"action": "add", "name": "one", "function": "simulate"}));
            assert_eq!(adding.receive()["ok"], true);
        }
    });
    let mut from = json!(1);
    while from != 1502 {
        watching.send(&json!({"action": "watch", "from": from, "follow": true}));
        let mut answer = watching.receive();
        assert_eq!(answer["ok"], true, "{answer}");
        from = answer["data"]["next"].take();
    }
    adder.join().expect("all are added");
}

#[test]
fn who_waits_is_answered_by_the_next_event_of_its_batch() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": simulated(1)}));
    daemon.ok(json!({"action": "add_batch", "tasks": simulated(1)}));
    let next = daemon.ok(json!({"action": "watch"}))["next"].clone();
    let mut waiting = daemon.connect();
    waiting.send(&json!({"action": "watch", "from": next, "batch_id": 2, "follow": true}));
    daemon.ok(json!({"action": "cancel", "task_id": 1}));
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    let answer = waiting.receive();
    let events = answer["data"]["events"].as_array().expect("events");
    assert_eq!(events[0]["event"], "started", "{answer}");
    assert!(events.iter().all(|event| event["batch_id"] == 2), "{answer}");
    waiting.finish();
}

#[test]
fn how_the_daemon_before_ended_is_told() {
    let mut daemon = Daemon::start();
    daemon.kill();
    daemon.serve();
    daemon.stop();
    daemon.serve();
    daemon.ok(json!({"action": "restart"}));
    until(&daemon, 0, "daemon_started \"restart\"");
    let expected =
        ["daemon_started null", "daemon_started \"crash\"", "daemon_started \"stop\"", "daemon_started \"restart\""];
    assert_eq!(in_short(&told(&daemon).0), expected);
}

#[test]
fn numbers_that_are_no_longer_kept_are_a_gap() {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_KEEP_EVENTS", "1000")]);
    daemon.ok(json!({"action": "start", "keep": true, "max_concurrent": 50}));
    daemon.ok(json!({"action": "add_batch", "tasks": simulated(3000)}));
    daemon.wait();
    let (events, gap) = told(&daemon);
    numbered(&events);
    let first = events[0]["seq"].as_i64().expect("a number");
    assert_eq!(gap, json!({"from": 1, "to": first - 1}));
    assert!(events.len() >= 1000, "{}", events.len());
    // A row is let go of as a whole, and they are looked at after some hundreds.
    assert!(events.len() < 4000, "{}", events.len());
}

/// The command line's `watch`.
fn watching(daemon: &Daemon, arguments: &[&str]) -> Child {
    let mut command = daemon.command(&[&["watch"], arguments].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("watch")
}

#[test]
fn nothing_is_missed_while_the_daemon_is_killed_again_and_again() {
    let mut daemon = Daemon::start();
    let mut watch = watching(&daemon, &["--from", "1"]);
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    daemon.ok(json!({"action": "start", "keep": true, "max_concurrent": 4}));
    for _ in 0..8 {
        daemon.ok(json!({"action": "add_batch", "tasks": vec![shell("true"); 25]}));
        daemon.kill();
        daemon.serve();
    }
    daemon.wait();
    let (events, _) = told(&daemon);
    let seen: Vec<Value> = (0..events.len())
        .map(|_| serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON"))
        .collect();
    assert_eq!(seen, events);
    numbered(&events);
    let completed = events.iter().filter(|event| event["event"] == "ended" && event["status"] == "completed").count();
    assert_eq!(completed, 200);
    signal(i32::try_from(watch.id()).expect("a pid"), "INT");
    assert_eq!(watch.wait().expect("its end").code(), Some(130));
    let mut said = String::new();
    watch.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    let next = events.len() + 1;
    assert!(said.contains(&format!("batch-executor watch --from {next}")), "{said}");
}

#[test]
fn a_reader_that_does_not_read_holds_nobody_up_and_is_told_what_it_missed() {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_KEEP_EVENTS", "1000")]);
    let mut watch = watching(&daemon, &["--from", "1"]);
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    // Until it is there.
    let first = lines.next().expect("a line").expect("text");
    assert!(first.contains("daemon_started"), "{first}");
    daemon.ok(json!({"action": "start", "keep": true, "max_concurrent": 50}));
    daemon.ok(json!({"action": "add_batch", "tasks": simulated(3000)}));
    daemon.wait();
    let last = daemon.ok(json!({"action": "watch"}))["next"].as_i64().expect("a number") - 1;
    let (mut next, mut gaps) = (2, 0);
    while next <= last {
        let line: Value = serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON");
        if line["event"] == "gap" {
            assert_eq!(line["from"], next, "{line}");
            next = line["to"].as_i64().expect("a number") + 1;
            gaps += 1;
        } else {
            assert_eq!(line["seq"], next, "{line}");
            next += 1;
        }
    }
    assert!(gaps > 0, "it read all in time");
    signal(i32::try_from(watch.id()).expect("a pid"), "TERM");
    assert_eq!(watch.wait().expect("its end").code(), Some(143));
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let daemon = Daemon::start();
    let next = daemon.ok(json!({"action": "watch"}))["next"].as_i64().expect("a number");
    for (request, said) in [
        (json!({"from": 0}), "`from`"),
        (json!({"from": next + 1}), "it must be from 1 to"),
        (json!({"limit": 0}), "`limit`"),
        (json!({"limit": 10_001}), "`limit`"),
        (json!({"follow": "yes"}), "`follow`"),
    ] {
        let mut request = request;
        request["action"] = json!("watch");
        let answer = daemon.call(&request);
        let message = answer["error"]["message"].as_str().expect("a refusal");
        assert_eq!(answer["error"]["code"], "invalid_request", "{answer}");
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn a_status_that_is_followed_is_told_anew_when_something_happens() {
    let daemon = Daemon::start();
    let mut follow = daemon.command(&["--json", "status", "--follow"]).stdout(Stdio::piped()).spawn().expect("status");
    let mut lines = BufReader::new(follow.stdout.take().expect("a pipe")).lines();
    let mut total = || {
        let line: Value = serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON");
        line["data"]["counts"]["total"].as_i64()
    };
    assert_eq!(total(), Some(0));
    daemon.ok(json!({"action": "add_batch", "tasks": simulated(3)}));
    assert_eq!(total(), Some(3));
    daemon.ok(json!({"action": "add_batch", "tasks": simulated(1)}));
    assert_eq!(total(), Some(4));
    signal(i32::try_from(follow.id()).expect("a pid"), "INT");
    assert_eq!(follow.wait().expect("its end").code(), Some(130));
}
