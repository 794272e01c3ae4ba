//! What clients may do to the daemon: nothing that hurts it or others.

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use support::Daemon;

/// Each action with what it needs, and its parameters.
const PARAMETERS: &[(&str, &str, &[&str])] = &[
    (
        "add",
        r#"{"name": "n", "function": "simulate"}"#,
        &[
            "name",
            "function",
            "params",
            "priority",
            "max_retries",
            "timeout",
            "retry_delay",
            "permanent_exit_codes",
            "delay",
            "request_key",
            "environment",
            "cwd",
            "id",
        ],
    ),
    (
        "add_batch",
        r#"{"tasks": [{"function": "simulate"}]}"#,
        &["tasks", "name", "batch_id", "defaults", "atomic", "request_key"],
    ),
    ("start", "{}", &["max_concurrent", "timeout", "keep", "max_failures"]),
    ("stop", "{}", &["graceful", "wait"]),
    ("status", "{}", &["detailed", "batch_id"]),
    ("results", "{}", &["format", "filter_status", "batch_id", "task_ids", "limit", "cursor"]),
    ("show", "{}", &["task_id"]),
    ("logs", r#"{"task_id": 1}"#, &["task_id", "attempt", "stream", "offset", "limit", "follow"]),
    (
        "update",
        r#"{"task_id": 1, "name": "n"}"#,
        &["task_id", "name", "params", "priority", "max_retries", "timeout", "retry_delay", "delay"],
    ),
    ("export", "{}", &["format", "output_file", "filter_status", "batch_id", "attempts", "overwrite"]),
    ("clear", "{}", &["filter_status", "batch_id", "older_than"]),
    ("pause", "{}", &["task_id", "task_ids", "batch_id", "running"]),
    ("resume", "{}", &["task_id", "task_ids", "batch_id"]),
    ("cancel", "{}", &["task_id", "task_ids", "batch_id"]),
    ("retry", "{}", &["task_id", "task_ids", "filter_status", "batch_id"]),
    ("wait", "{}", &["batch_id", "task_ids", "timeout"]),
    ("shutdown", "{}", &["grace"]),
];

#[test]
fn a_wrong_type_of_any_parameter_names_it_its_value_and_what_is_allowed() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    // No parameter takes a list with a list in it.
    let wrong = json!([[7]]);
    for (action, needed, parameters) in PARAMETERS {
        for parameter in *parameters {
            let mut request: Value = serde_json::from_str(needed).expect("an object");
            request["action"] = json!(action);
            request[*parameter] = wrong.clone();
            client.send(&request);
            let answer = client.receive();
            let message = answer["message"].as_str().expect("a message");
            if (*action, *parameter) == ("add_batch", "tasks") {
                assert_eq!(answer["error"]["details"]["errors"][0]["error"], "the task must be an object");
            } else {
                let expected = format!("`{parameter}` is [[7]], but must be ");
                assert!(message.starts_with(&expected), "{action}: {message}");
            }
            assert_eq!(answer["error"]["code"], "invalid_request", "{action} {parameter}");
            assert_eq!(answer["error"]["message"], answer["message"]);
        }
    }
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 0, "nothing of it was added");
}

#[test]
fn every_unknown_field_comes_back_with_the_nearest_name() {
    let daemon = Daemon::start();
    for (action, needed, parameters) in PARAMETERS {
        // The others need a task, or would do what nobody wants here.
        if !["add", "add_batch", "start", "stop", "status", "results", "clear"].contains(action) {
            continue;
        }
        let parameter = parameters.iter().find(|name| name.len() > 4).expect("a long name");
        let mut request: Value = serde_json::from_str(needed).expect("an object");
        request["action"] = json!(action);
        request[format!("{parameter}x")] = json!(1);
        let answer = daemon.call(&request);
        let expected = format!("unknown field `{parameter}x` was ignored; did you mean `{parameter}`?");
        assert_eq!(answer["warnings"], json!([expected]), "{answer}");
    }
}

#[test]
fn params_deeper_than_an_answer_can_carry_are_refused() {
    let daemon = Daemon::start();
    let nested = |levels: usize| -> Value {
        serde_json::from_str(&format!("{}{}", "[".repeat(levels), "]".repeat(levels))).expect("JSON")
    };
    let add = |levels| json!({"action": "add", "name": "n", "function": "f", "params": {"a": nested(levels)}});
    assert_eq!(daemon.call(&add(100))["error"]["code"], "invalid_request");
    daemon.ok(add(99));
    let update = json!({"action": "update", "task_id": 1, "params": {"a": nested(100)}});
    assert_eq!(daemon.call(&update)["error"]["code"], "invalid_request");
    for arguments in [&["results", "--json"][..], &["show", "1"], &["export", "--output-file", "-"]] {
        assert!(daemon.cli(arguments).status.success(), "{arguments:?}");
    }
    let mut client = daemon.connect();
    client.send_bytes(&[b"[".repeat(1_000_000), b"\n".to_vec()].concat());
    assert_eq!(client.receive()["error"]["code"], "invalid_json");
}

#[test]
fn a_number_that_fits_no_double_is_invalid_json() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.send_bytes(b"{\"action\":\"start\",\"max_concurrent\":1e999,\"id\":1}\n");
    assert_eq!(client.receive()["error"]["code"], "invalid_json");
    client.send_bytes(b"{\"action\":\"functions\",\"id\":123456789012345678901234567890}\n");
    assert_eq!(client.receive()["id"], 1.234_567_890_123_456_8e29);
}

#[test]
fn a_last_line_without_its_end_is_no_request() {
    let daemon = Daemon::start();
    let whole = "{\"action\":\"add\",\"name\":\"whole\",\"function\":\"simulate\"}\n";
    let half = "{\"action\":\"add\",\"name\":\"half\",\"function\":\"simulate\"}";
    let mut stream = UnixStream::connect(daemon.home().join("daemon.sock")).expect("a connection");
    stream.write_all(format!("{whole}{half}").as_bytes()).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("shut");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("the answers");
    assert_eq!(answers.lines().count(), 1, "{answers}");
    assert_eq!(daemon.tasks().len(), 1);
}

#[test]
fn clients_that_went_while_waiting_leave_their_places() {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_MAX_CONNECTIONS", "3")]);
    daemon.ok(json!({"action": "add", "name": "n", "function": "simulate", "delay": 3600}));
    daemon.ok(json!({"action": "start"}));
    for _ in 0..6 {
        // What is behind the wait is more than is read at once: it lies unread when the client goes.
        let behind = json!({"action": "status", "id": "x".repeat(150_000)});
        let mut client = daemon.connect();
        client.send_bytes(format!("{}\n{behind}\n", json!({"action": "wait"})).as_bytes());
    }
    // Turned away as busy for ever, if their places were still taken.
    daemon.answers();
}

#[test]
fn who_comes_when_all_places_are_taken_is_told_so() {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_MAX_CONNECTIONS", "2")]);
    let mut held = Vec::new();
    while held.len() < 2 {
        // The connections that waited for the daemon may not have gone yet.
        let mut client = daemon.connect();
        client.send(&json!({"action": "status"}));
        if client.receive()["ok"] == true {
            held.push(client);
        }
    }
    assert_eq!(daemon.call(&json!({"action": "status"}))["error"]["code"], "busy");
    assert_eq!(daemon.cli(&["status"]).status.code(), Some(75));
    drop(held);
    daemon.answers();
}

#[test]
fn a_wait_holds_back_its_own_connection_only() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add", "name": "n", "function": "simulate", "delay": 3600}));
    daemon.ok(json!({"action": "start"}));
    let mut waiting = daemon.connect();
    waiting.send(&json!({"action": "wait", "id": 1}));
    waiting.send(&json!({"action": "status", "id": 2}));
    daemon.ok(json!({"action": "cancel", "task_id": 1}));
    assert_eq!((waiting.receive()["id"].clone(), waiting.receive()["id"].clone()), (json!(1), json!(2)));
}
