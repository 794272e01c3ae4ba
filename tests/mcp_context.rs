//! What `mcp` offers beside its tools: resources, a prompt, and batches as tasks of the protocol's extension.

#[path = "support/agent.rs"]
mod agent;
mod support;

use agent::{Agent, text};
use serde_json::{Value, json};
use support::{Daemon, shell};

/// What a client says that takes handles.
fn takes_handles() -> Value {
    json!({"extensions": {"io.modelcontextprotocol/tasks": {}}})
}

fn read(agent: &mut Agent, uri: &str) -> String {
    let read = agent.call("resources/read", json!({"uri": uri}));
    assert_eq!(read["contents"][0]["uri"], uri);
    read["contents"][0]["text"].as_str().expect("a text").to_owned()
}

#[test]
fn a_report_and_a_log_are_read() {
    let daemon = Daemon::start();
    let mut agent = Agent::connect_now(&daemon, &json!({}));
    let templates = agent.call("resources/templates/list", json!({}));
    let templates: Vec<&Value> = templates["resourceTemplates"].as_array().expect("a list").iter().collect();
    let uris: Vec<_> = templates.iter().map(|template| &template["uriTemplate"]).collect();
    assert_eq!(uris, ["batch://{batch_id}/report", "task://{task_id}/log"]);
    assert_eq!(agent.call("resources/list", json!({}))["resources"], json!([]));
    let tasks = json!([shell("echo one"), shell("echo broken >&2; exit 3"), shell("seq 100000")]);
    let added = agent.ok("add_batch", json!({"tasks": tasks, "name": "night", "defaults": {"max_retries": 0}}));
    assert!(read(&mut agent, "batch://1/report").contains("The executor is stopped."));
    agent.ok("start", json!({}));
    agent.ok("wait", json!({"batch_id": added["batch_id"]}));
    let listed = agent.call("resources/list", json!({}));
    assert_eq!(listed["resources"][0]["uri"], "batch://1/report");
    let report = read(&mut agent, "batch://1/report");
    assert!(report.starts_with("# Batch 1 “night”\n\nAdded 20"), "{report}");
    assert!(report.contains("3 tasks: 0 queued, 0 running, 2 completed, 1 failed, 0 cancelled."), "{report}");
    assert!(report.ends_with("## Failed\n\n- task 2 “shell”: exit code 3: broken\n"), "{report}");
    assert_eq!(read(&mut agent, "task://1/log"), "one\n");
    let long = read(&mut agent, "task://3/log");
    assert!(long.starts_with("1\n2\n") && long.ends_with("99999\n100000\n") && long.len() < 33_000, "{}", long.len());
    assert!(long.contains("bytes left out: `logs` has them, from offset 8192 on"));
    for (uri, said) in [
        ("task://9/log", "no task 9"),
        ("batch://9/report", "no batch 9"),
        ("task://1/report", "no resource `task://1/report`; there are batch://BATCH_ID/report and task://TASK_ID/log"),
        ("file:///etc/passwd", "no resource `file:///etc/passwd`"),
        ("", "no resource ``"),
    ] {
        let refused = agent.refused("resources/read", json!({"uri": uri}));
        assert!(refused.starts_with(said), "{refused}");
    }
}

#[test]
fn the_prompt_says_how_to_run_a_batch_and_come_back() {
    let daemon = Daemon::start();
    let mut agent = Agent::connect(&daemon);
    let listed = agent.call("prompts/list", json!({}));
    assert_eq!(listed["prompts"][0]["name"], "run_as_batch");
    let arguments = json!({"commands": "make a\nmake b", "at_once": "2"});
    let got = agent.call("prompts/get", json!({"name": "run_as_batch", "arguments": arguments}));
    let said = got["messages"][0]["content"]["text"].as_str().expect("a text");
    assert!(said.contains("at most 2 at once:\n\nmake a\nmake b\n") && said.contains("`add_batch`"), "{said}");
    let without = agent.refused("prompts/get", json!({"name": "run_as_batch"}));
    assert_eq!(without, "`commands` is missing: shell lines, one each line");
    let unknown = agent.refused("prompts/get", json!({"name": "x"}));
    assert_eq!(unknown, "no prompt `x`; there is `run_as_batch`");
}

#[test]
fn a_batch_is_a_task_of_the_extension_and_outlives_bridge_and_daemon() {
    let mut daemon = Daemon::start();
    let mut agent = Agent::connect_now(&daemon, &takes_handles());
    let discovered = agent.call("server/discover", json!({}));
    assert!(discovered["capabilities"]["extensions"]["io.modelcontextprotocol/tasks"].is_object(), "{discovered}");
    let tasks = json!([shell("exit 3"), shell("read line < fifo")]);
    let made = std::process::Command::new("mkfifo").arg(daemon.work().join("fifo")).status().expect("mkfifo");
    assert!(made.success());
    let added = agent.ok("add_batch", json!({"tasks": tasks, "defaults": {"max_retries": 0}}));
    agent.ok("start", json!({}));
    let handle = agent.tool("wait", json!({"batch_id": added["batch_id"]}));
    assert_eq!((&handle["resultType"], &handle["taskId"]), (&json!("task"), &json!("batch-1")));
    assert_eq!(
        (&handle["status"], &handle["ttlMs"], &handle["pollIntervalMs"]),
        (&json!("working"), &Value::Null, &json!(5000))
    );
    drop(agent);
    daemon.kill();
    daemon.serve();
    let mut agent = Agent::connect_now(&daemon, &takes_handles());
    let task = agent.call("tasks/get", json!({"taskId": "batch-1"}));
    assert_eq!((&task["status"], &task["createdAt"]), (&json!("working"), &handle["createdAt"]));
    std::fs::write(daemon.work().join("fifo"), "go on\n").expect("the task reads");
    agent.ok("batch_executor", json!({"action": "wait", "batch_id": 1}));
    let task = agent.call("tasks/get", json!({"taskId": "batch-1"}));
    let counts = &task["result"]["structuredContent"]["counts"];
    assert_eq!((&task["status"], &counts["completed"], &counts["failed"]), (&json!("completed"), &json!(1), &json!(1)));
    // What is over is told at once, and who takes no handles gets none.
    assert_eq!(agent.ok("wait", json!({"batch_id": 1}))["counts"]["total"], 2);
    let mut plain = Agent::connect_now(&daemon, &json!({}));
    plain.ok("add", json!({"name": "long", "function": "simulate", "params": {"duration": 600}}));
    let waited = plain.tool("wait", json!({"batch_id": 2, "timeout": 0}));
    assert_eq!(waited["isError"], true, "nothing runs: {waited}");
    assert!(text(&waited).contains("`start` first"), "{waited}");
    let unable = plain.refused("tasks/get", json!({"taskId": "batch-2"}));
    assert!(unable.to_lowercase().contains("capability"), "{unable}");
    let handle = agent.tool("wait", json!({"batch_id": 2}));
    assert_eq!(handle["statusMessage"], "0 of 1 tasks have ended; the executor is stopped");
    assert_eq!(agent.call("tasks/cancel", json!({"taskId": "batch-2"}))["resultType"], "complete");
    assert_eq!(agent.call("tasks/get", json!({"taskId": "batch-2"}))["status"], "cancelled");
    assert_eq!(agent.refused("tasks/get", json!({"taskId": "batch-9"})), "no batch 9");
    let unknown = agent.refused("tasks/get", json!({"taskId": "x"}));
    assert_eq!(unknown, "no task `x`; a task is `batch-` and the id of a batch");
}
