//! `results`, `status`, `show`, `logs`, `export`, `wait`: what they select, in which order, page by page.

mod support;

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use support::{Daemon, shell};

fn simulate(name: &str) -> Value {
    json!({"name": name, "function": "simulate", "params": {"duration": 0}, "max_retries": 0})
}

fn ids(tasks: &Value) -> Vec<i64> {
    tasks.as_array().expect("tasks").iter().filter_map(|task| task["task_id"].as_i64()).collect()
}

/// Every page of `results`; how many pages, and the ids.
fn pages(daemon: &Daemon, mut request: Value) -> (usize, Vec<i64>) {
    request["action"] = json!("results");
    let (mut count, mut found) = (0, Vec::new());
    loop {
        let data = daemon.ok(request.clone());
        count += 1;
        found.extend(ids(&data["tasks"]));
        if data["next_cursor"].is_null() {
            return (count, found);
        }
        request["cursor"] = data["next_cursor"].clone();
    }
}

/// Two batches with tasks in every state: 1 to 6 and 7 to 12, of each two completed, a failed, a cancelled, a
/// queued and a delayed one.
fn mixed() -> Daemon {
    let daemon = Daemon::start();
    let mut fails = simulate("fails");
    fails["params"]["fail"] = json!(true);
    let mut delayed = simulate("delayed");
    delayed["delay"] = json!(1000);
    for _ in 0..2 {
        let tasks = [
            simulate("one"),
            simulate("two"),
            fails.clone(),
            simulate("cancelled"),
            simulate("queued"),
            delayed.clone(),
        ];
        daemon.ok(json!({"action": "add_batch", "tasks": tasks}));
    }
    daemon.ok(json!({"action": "cancel", "task_ids": [4, "10"]}));
    daemon.ok(json!({"action": "update", "task_ids": [5, "task_11"], "delay": 1000}));
    daemon.ok(json!({"action": "start"}));
    daemon.ok(json!({"action": "wait", "task_ids": [1, 2, 3, 7, 8, 9]}));
    daemon.ok(json!({"action": "stop", "wait": true}));
    daemon.ok(json!({"action": "update", "task_ids": [5, 11], "delay": 0}));
    daemon
}

#[test]
fn every_filter_gives_its_tasks_by_id_whatever_the_pages() {
    let daemon = mixed();
    for (request, wanted) in [
        (json!({}), (1..=12).collect::<Vec<i64>>()),
        (json!({"filter_status": "completed"}), vec![1, 2, 7, 8]),
        (json!({"filter_status": "failed"}), vec![3, 9]),
        (json!({"filter_status": "cancelled"}), vec![4, 10]),
        (json!({"filter_status": "queued"}), vec![5, 6, 11, 12]),
        (json!({"filter_status": "running"}), vec![]),
        (json!({"batch_id": 2}), (7..=12).collect()),
        (json!({"batch_id": 2, "filter_status": "completed"}), vec![7, 8]),
        (json!({"batch_id": 1, "filter_status": "failed"}), vec![3]),
        (json!({"batch_id": 2, "filter_status": "queued"}), vec![11, 12]),
        (json!({"task_ids": ["task_9", "2", 1, 1, 99]}), vec![1, 2, 9]),
        (json!({"task_ids": [1, 2, 7, 9], "batch_id": 1}), vec![1, 2]),
        (json!({"task_ids": [1, 3, 9], "filter_status": "failed"}), vec![3, 9]),
    ] {
        for limit in [1, 2, 5, 1000] {
            let mut request = request.clone();
            request["limit"] = json!(limit);
            assert_eq!(pages(&daemon, request.clone()).1, wanted, "{request}");
        }
        let mut request = request;
        request["action"] = json!("results");
        assert_eq!(daemon.ok(request.clone())["summary"]["total"], wanted.len(), "{request}");
    }
}

#[test]
fn a_page_ends_early_where_tasks_are_large_and_has_one_at_least() {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_MAX_PAGE_BYTES", "4096")]);
    let large: Vec<Value> = (0..5)
        .map(|i| {
            let mut task = simulate("large");
            task["params"]["padding"] = json!("x".repeat(if i == 2 { 9000 } else { 1500 }));
            task
        })
        .collect();
    daemon.ok(json!({"action": "add_batch", "tasks": large}));
    assert_eq!(pages(&daemon, json!({})), (3, vec![1, 2, 3, 4, 5]));
}

#[test]
fn rows_too_large_for_one_read_are_read_in_several() {
    let daemon = Daemon::start();
    let mut task = simulate("large");
    task["params"]["padding"] = json!("x".repeat(5 << 19));
    for _ in 0..2 {
        daemon.ok(json!({"action": "add_batch", "tasks": [task]}));
    }
    assert_eq!(pages(&daemon, json!({})).1, vec![1, 2]);
    assert_eq!(daemon.ok(json!({"action": "export", "output_file": "large.jsonl", "format": "jsonl"}))["exported"], 2);
}

#[test]
fn status_lists_what_runs_next_and_what_ended_last() {
    let daemon = mixed();
    let listed = |request: Value| {
        let status = daemon.ok(request);
        ["queued", "running", "completed", "failed", "cancelled"].map(|of| ids(&status["tasks"][of]))
    };
    daemon.ok(json!({"action": "update", "task_id": 11, "priority": "high"}));
    let [queued, running, completed, failed, cancelled] = listed(json!({"action": "status", "detailed": true}));
    assert_eq!((queued, running, cancelled.len()), (vec![11, 5, 6, 12], vec![], 2));
    let ended = |id: i64| {
        daemon.ok(json!({"action": "show", "task_id": id}))["finished_at"].as_str().expect("ended").to_owned()
    };
    for list in [&completed, &failed] {
        assert!(
            list.windows(2).all(|two| (ended(two[0]), two[0]) >= (ended(two[1]), two[1])),
            "latest first: {list:?}"
        );
    }
    assert_eq!((completed.len(), failed.len()), (4, 2));
    let of_one = listed(json!({"action": "status", "detailed": true, "batch_id": 1}));
    assert_eq!(of_one.map(|list| list.len()), [2, 0, 2, 1, 1]);
    // A small batch behind a long queue.
    daemon.ok(json!({"action": "add_batch", "tasks": vec![simulate("other"); 50]}));
    let mut high = simulate("high");
    high["priority"] = json!("high");
    daemon.ok(json!({"action": "add_batch", "tasks": [simulate("medium"), high]}));
    let [queued, ..] = listed(json!({"action": "status", "detailed": true, "batch_id": 4}));
    assert_eq!(queued, vec![64, 63]);
}

#[test]
fn one_id_alone_is_an_error_and_among_others_is_listed() {
    let daemon = mixed();
    for (request, code) in [
        (json!({"action": "cancel", "task_id": 99}), "not_found"),
        (json!({"action": "cancel", "task_ids": ["task_99"]}), "not_found"),
        (json!({"action": "retry", "task_ids": [99]}), "not_found"),
        (json!({"action": "retry", "task_id": "task_1"}), "conflict"),
        (json!({"action": "retry", "task_ids": [1]}), "conflict"),
        (json!({"action": "show", "task_id": 99}), "not_found"),
        (json!({"action": "logs", "task_id": 99}), "not_found"),
        (json!({"action": "logs", "task_id": 1, "attempt": 2}), "not_found"),
        (json!({"action": "clear", "batch_id": 99}), "not_found"),
        (json!({"action": "wait", "task_ids": [99]}), "not_found"),
    ] {
        assert_eq!(daemon.call(&request)["error"]["code"], code, "{request}");
    }
    let cancelled = daemon.ok(json!({"action": "cancel", "task_ids": [1, 99, 5]}));
    assert_eq!((&cancelled["cancelled_count"], &cancelled["cancelled"]), (&json!(1), &json!([5])));
    assert_eq!(cancelled["not_cancelled"].as_array().map(Vec::len), Some(2));
    let retried = daemon.ok(json!({"action": "retry", "task_ids": [1, 99, 5]}));
    assert_eq!((&retried["requeued"], ids(&retried["not_requeued"])), (&json!(1), vec![99, 1]));
    assert_eq!(daemon.ok(json!({"action": "retry", "batch_id": 2, "filter_status": "failed"}))["requeued"], 1);
    assert_eq!(daemon.ok(json!({"action": "retry", "batch_id": 2}))["requeued"], 1);
    assert_eq!(daemon.ok(json!({"action": "retry", "filter_status": "cancelled"}))["requeued"], 1);
    let ended = daemon.ok(json!({"action": "cancel", "batch_id": 1}));
    assert_eq!(
        (&ended["cancelled_count"], &ended["not_cancelled"]),
        (&json!(3), &json!([])),
        "ended ones are not listed"
    );
}

#[test]
fn more_ids_than_one_transaction_changes_are_all_changed_and_a_thousand_listed() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": vec![simulate("many"); 2500]}));
    let all: Vec<i64> = (1..=2500).collect();
    let updated = daemon.ok(json!({"action": "update", "task_ids": all, "priority": "low"}));
    assert_eq!(updated["updated"], json!(all));
    let cancelled = daemon.ok(json!({"action": "cancel", "task_ids": all}));
    assert_eq!(
        (&cancelled["cancelled_count"], cancelled["cancelled"].as_array().map(Vec::len)),
        (&json!(2500), Some(1000))
    );
    let again = daemon.ok(json!({"action": "cancel", "task_ids": all}));
    assert_eq!((&again["cancelled_count"], again["not_cancelled"].as_array().map(Vec::len)), (&json!(0), Some(1000)));
    assert_eq!(daemon.ok(json!({"action": "retry", "task_ids": all}))["requeued"], 2500);
    daemon.ok(json!({"action": "start"}));
    assert_eq!(daemon.ok(json!({"action": "wait", "task_ids": all}))["counts"]["completed"], 2500);
    assert_eq!(daemon.ok(json!({"action": "clear", "batch_id": 1, "filter_status": "failed"}))["cleared"], 0);
    let cleared = daemon.ok(json!({"action": "clear", "batch_id": 1}));
    assert_eq!(cleared, json!({"cleared": 2500, "remaining": 0}));
}

#[test]
fn wait_tells_why_it_cannot_go_on() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("exec sleep 60"), simulate("behind")]}));
    let stopped = daemon.call(&json!({"action": "wait"}));
    assert_eq!(stopped["error"]["details"]["reason"], "executor_stopped", "{stopped}");
    daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    daemon.running(1);
    for request in [json!({"task_ids": [1, 2]}), json!({"batch_id": 1}), json!({})] {
        let mut request = request;
        request["action"] = json!("wait");
        request["timeout"] = json!(0.05);
        let answer = daemon.call(&request);
        assert_eq!(answer["error"]["details"]["reason"], "timeout", "{answer}");
        assert_eq!(answer["error"]["details"]["counts"]["total"], 2, "{answer}");
    }
    let mut waiting = daemon.connect();
    waiting.send(&json!({"action": "wait", "task_ids": [2]}));
    daemon.ok(json!({"action": "stop", "graceful": false}));
    assert_eq!(waiting.receive()["error"]["details"]["reason"], "executor_stopped");
    // A run that ends while somebody waits is never taken for one that was stopped.
    daemon.ok(json!({"action": "cancel", "task_id": 1}));
    for _ in 0..50 {
        let id = daemon.ok(json!({"action": "add", "name": "n", "function": "simulate", "params": {"duration": 0}}))["task_id"].clone();
        daemon.ok(json!({"action": "start"}));
        assert_eq!(daemon.ok(json!({"action": "wait", "task_ids": [id]}))["counts"]["completed"], 1);
    }
}

#[test]
fn the_pages_of_a_log_are_the_log() {
    let daemon = Daemon::start();
    let text = "aé€😀\n".repeat(500);
    let code = format!("printf '{text}'; printf 'err €' >&2");
    daemon.ok(json!({"action": "add_batch", "tasks": [shell(&code)]}));
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    let page = |request: Value| {
        let mut request = request;
        request["action"] = json!("logs");
        request["task_id"] = json!("task_1");
        daemon.ok(request)
    };
    for limit in [3, 7, 100, 65_536] {
        let (mut read, mut offset) = (String::new(), json!(0));
        loop {
            let data = page(json!({"stream": "stdout", "offset": offset, "limit": limit}));
            read += data["text"].as_str().expect("text");
            offset = data["next_offset"].clone();
            if offset == data["size"] {
                break;
            }
        }
        assert!(read == text, "limit {limit}");
    }
    assert_eq!(page(json!({"stream": "stderr"}))["text"], "err €");
    assert_eq!(page(json!({"stream": "stderr", "offset": -2}))["text"], "");
    assert_eq!(page(json!({"stream": "stderr", "offset": -3}))["text"], "€");
    let both = page(json!({"limit": 1_000_000}));
    assert_eq!((&both["size"], &both["ended"], &both["dropped"]), (&json!(text.len() + 7), &json!(true), &json!(0)));
}

#[test]
fn a_follower_gets_every_byte_once() {
    let daemon = Daemon::start();
    let gate = daemon.work().join("gate");
    let code = format!("echo one; while [ ! -e {g} ]; do sleep 0.01; done; echo two", g = gate.display());
    daemon.ok(json!({"action": "add_batch", "tasks": [shell(&code)]}));
    let mut follower = daemon.connect();
    let (mut text, mut offset) = (String::new(), json!(0));
    daemon.ok(json!({"action": "start"}));
    loop {
        follower.send(&json!({"action": "logs", "task_id": 1, "offset": offset, "follow": true}));
        let data = follower.receive()["data"].take();
        text += data["text"].as_str().expect("text");
        offset = data["next_offset"].clone();
        if text == "one\n" {
            std::fs::write(&gate, "").expect("the gate opens");
        }
        if data["ended"] == true && offset == data["size"] {
            break;
        }
    }
    assert_eq!(text, "one\ntwo\n");
}

#[test]
fn an_export_is_whole_private_and_safe_to_open() {
    let daemon = mixed();
    let mut formula = shell("echo -n '=1+1' >&2; exit 1");
    formula["name"] = json!("=HYPERLINK(\"x\"), \"quoted\"\nline");
    daemon.ok(json!({"action": "add_batch", "tasks": [formula]}));
    let export = |request: Value| {
        let mut request = request;
        request["action"] = json!("export");
        daemon.call(&request)
    };
    let csv = export(json!({"format": "csv", "output_file": "all.csv"}));
    let path = daemon.work().join("all.csv");
    assert_eq!((&csv["data"]["file"], &csv["data"]["exported"]), (&json!(path), &json!(13)), "{csv}");
    assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).expect("text");
    assert_eq!(csv["data"]["bytes"], text.len());
    assert!(text.starts_with(
        "Task ID,Name,Function,Status,Priority,Created At,Started At,Completed At,Execution Time,Wait Time,Retry Count,Result,Error"
    ));
    assert!(text.contains("13,\"'=HYPERLINK(\"\"x\"\"), \"\"quoted\"\"\nline\",code_execution,"), "{text}");
    assert_eq!(export(json!({"format": "csv", "output_file": "all.csv"}))["error"]["code"], "conflict");
    let missing = export(json!({"output_file": "no/such.json"}));
    assert_eq!(missing["error"]["code"], "invalid_request");
    let said = format!("there is no folder `{}`", daemon.work().join("no").display());
    assert!(missing["message"].as_str().is_some_and(|message| message.contains(&said)), "{missing}");
    assert_eq!(export(json!({"batch_id": 99}))["error"]["code"], "not_found");
    assert!(export(json!({"format": "csv", "output_file": "all.csv", "overwrite": true}))["ok"] == true);

    let json_file = export(json!({}))["data"]["file"].as_str().expect("a path").to_owned();
    assert!(json_file.starts_with(&format!("{}/batch_results_", daemon.work().display())), "{json_file}");
    let document: Value = serde_json::from_slice(&std::fs::read(json_file).expect("bytes")).expect("JSON");
    let metadata = &document["metadata"];
    assert_eq!(
        (&metadata["total_tasks"], &metadata["completed"], &metadata["queued"]),
        (&json!(13), &json!(4), &json!(5))
    );
    assert_eq!(ids(&document["tasks"]), (1..=13).collect::<Vec<_>>());
    assert!(document["tasks"][0].get("attempts").is_none());
    let request =
        json!({"format": "jsonl", "output_file": "done.jsonl", "filter_status": "completed", "attempts": true});
    assert_eq!(export(request)["data"]["exported"], 4);
    let lines = std::fs::read_to_string(daemon.work().join("done.jsonl")).expect("text");
    let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["attempts"][0]["attempt"], &first["attempts"][0]["outcome"]), (&json!(1), &json!("completed")));
    let left = std::fs::read_dir(daemon.work()).expect("a folder").filter_map(Result::ok);
    assert!(!left.into_iter().any(|file| file.file_name().to_string_lossy().starts_with('.')), "no temporary file");
}
