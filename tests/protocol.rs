//! The wire: order, limits, and what bad input gets.

mod support;

use serde_json::{Value, json};
use support::{Daemon, shell};

#[test]
fn answers_come_in_order_and_the_connection_outlives_bad_lines() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    let add = |id: i32| json!({"id": id, "action": "add", "name": "n", "function": "simulate"}).to_string();
    let lines =
        [add(1), String::new(), "nonsense".to_owned(), add(2), r#"{"action":"frob","id":3}"#.to_owned(), add(4)];
    client.send_bytes((lines.join("\n") + "\n").as_bytes());
    let answers: Vec<Value> = (0..5).map(|_| client.receive()).collect();
    let seen: Vec<_> = answers.iter().map(|a| (a["id"].clone(), a["error"]["code"].clone())).collect();
    assert_eq!(
        seen,
        [
            (json!(1), Value::Null),
            (Value::Null, json!("invalid_json")),
            (json!(2), Value::Null),
            (json!(3), json!("unknown_action")),
            (json!(4), Value::Null)
        ]
    );
    let ids: Vec<_> = answers.iter().filter_map(|a| a["data"]["task_id"].as_i64()).collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn a_line_that_is_too_long_is_refused_and_skipped() {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_MAX_REQUEST_BYTES", "4096")]);
    let mut client = daemon.connect();
    client.send(&json!({"action": "add", "name": "x".repeat(100_000), "function": "simulate"}));
    client.send(&json!({"action": "status"}));
    assert_eq!(client.receive()["error"]["code"], "too_large");
    assert_eq!(client.receive()["data"]["counts"]["total"], 0);
}

#[test]
fn a_client_that_ended_its_requests_is_still_answered() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("while [ ! -e gate ]; do sleep 0.01; done")]}));
    daemon.ok(json!({"action": "start"}));
    client.send(&json!({"action": "wait"}));
    client.finish();
    daemon.running(1);
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    assert_eq!(client.receive()["data"]["counts"]["completed"], 1);
}

#[test]
fn bad_input_names_the_field_the_value_and_what_is_allowed_and_changes_nothing() {
    let daemon = Daemon::start();
    for (request, sentence) in [
        (json!({"action": "add", "name": "n"}), "`function` is missing"),
        (
            json!({"action": "start", "max_concurrent": 0}),
            "`max_concurrent` is 0, but must be a whole number from 1 to 10000",
        ),
        (
            json!({"action": "show", "task_id": "x"}),
            "`task_id` is \"x\", but must be an id such as 12, \"12\" or \"task_12\"",
        ),
        (
            json!({"action": "cancel"}),
            "`cancel` needs exactly one of `task_id`, `task_ids`, `batch_id`, or a `filter`, alone or with one of them",
        ),
        (
            json!({"action": "add", "name": "n", "function": "code_execution", "params": {"runtime": "cobol", "code": ""}}),
            "`params.runtime` is \"cobol\", but must be one of python, nodejs, terminal",
        ),
        (
            json!({"action": "clear", "filter_status": "queued"}),
            "`filter_status` is \"queued\", but must be one of completed, failed, cancelled",
        ),
    ] {
        let answer = daemon.call(&request);
        assert_eq!((&answer["ok"], answer["message"].as_str()), (&json!(false), Some(sentence)), "{request}");
        assert_eq!(answer["error"]["code"], "invalid_request");
    }
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 0);
}

#[test]
fn a_request_key_makes_a_repeated_add_safe_over_a_kill() {
    let mut daemon = Daemon::start();
    let add = json!({"action": "add", "name": "n", "function": "simulate", "request_key": "k"});
    let first = daemon.ok(add.clone());
    daemon.kill();
    daemon.serve();
    assert_eq!(daemon.ok(add), first);
    let other = json!({"action": "add", "name": "other", "function": "simulate", "request_key": "k"});
    assert_eq!(daemon.call(&other)["error"]["code"], "conflict");
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 1);
}

#[test]
fn requests_that_were_sent_before_are_answered_among_new_ones() {
    let daemon = &Daemon::start();
    let add = |key: u32| json!({"action": "add", "name": "n", "function": "simulate", "request_key": key.to_string()});
    let first: Vec<Value> = (0..8).map(|key| daemon.ok(add(key))).collect();
    // Each connection at once with the others, so that they share commits; key 0 to 7 were seen, the others are new.
    let answers: Vec<(u32, Value)> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..32).map(|key| scope.spawn(move || (key % 20, daemon.ok(add(key % 20))))).collect();
        asking.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    for (key, answer) in &answers {
        let same =
            answers.iter().filter(|(other, _)| other == key).all(|(_, other)| other["task_id"] == answer["task_id"]);
        assert!(same, "one task for key {key}: {answers:?}");
        if let Some(first) = first.get(*key as usize) {
            assert_eq!(answer, first);
        }
    }
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 20);
}

#[test]
fn a_status_says_when_nothing_can_run_yet_and_guesses_no_end() {
    let daemon = Daemon::start();
    daemon.run(&[json!({"name": "quick", "function": "simulate", "params": {"duration": 0}})]);
    daemon.ok(json!({"action": "add", "name": "later", "function": "simulate", "delay": 3600}));
    daemon.ok(json!({"action": "start"}));
    let status = daemon.call(&json!({"action": "status"}));
    assert_eq!((&status["data"]["state"], &status["data"]["eta"]), (&json!("running"), &json!(null)));
    let said = status["message"].as_str().expect("text");
    assert!(said.contains("Nothing can run before the next delay or retry is due, in 3"), "{said}");
}
