//! `mcp`, as a client of the older protocol speaks to it: lines of JSON-RPC on its standard input and output.

#[path = "support/agent.rs"]
mod agent;
mod support;

use std::process::{Command, Stdio};

use agent::{Agent, text};
use batch_executor::protocol::schema::ACTIONS;
use serde_json::{Value, json};
use support::{Daemon, lives, shell, until};

#[test]
fn there_is_a_tool_for_each_action_and_their_list_is_short() {
    let daemon = Daemon::start();
    let listed = Agent::connect(&daemon).call("tools/list", json!({}));
    let now = Agent::connect_now(&daemon, &json!({})).call("tools/list", json!({}));
    assert_eq!(now["tools"], listed["tools"], "to clients of each age");
    let tools = listed["tools"].as_array().expect("tools");
    let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, [ACTIONS, &["batch_executor"]].concat());
    for tool in tools {
        assert_eq!((&tool["inputSchema"]["type"], &tool["outputSchema"]["type"]), (&json!("object"), &json!("object")));
        for schema in [&tool["inputSchema"], &tool["outputSchema"]] {
            assert!(schema["properties"].as_object().into_iter().flatten().all(|(_, schema)| schema.is_object()));
        }
        let hints = tool["annotations"].as_object().expect("hints");
        assert_eq!(hints.values().filter(|hint| hint.is_boolean()).count(), 4, "{tool}");
        let told = tool["inputSchema"]["properties"].as_object().expect("properties").iter();
        for (name, parameter) in told.filter(|(name, _)| !["action", "tool_name"].contains(&name.as_str())) {
            assert!(parameter["description"].is_string(), "{}: {name} {parameter}", tool["name"]);
        }
    }
    let length = listed.to_string().len();
    assert!(length < 27_300, "{length} bytes sit in every agent's context");
}

#[test]
fn an_agent_runs_a_batch_and_sees_what_failed_and_why() {
    let daemon = Daemon::start();
    let mut agent = Agent::connect(&daemon);
    let tasks = json!([shell("echo one"), shell("echo broken >&2; exit 3")]);
    let added = agent.ok("add_batch", json!({"tasks": tasks, "defaults": {"max_retries": 0}}));
    assert_eq!((&added["added"], &added["errors"]), (&json!(2), &json!([])));
    agent.ok("start", json!({"max_concurrent": 2}));
    let ended = agent.ok("wait", json!({"batch_id": added["batch_id"]}));
    assert_eq!((&ended["counts"]["completed"], &ended["counts"]["failed"]), (&json!(1), &json!(1)));
    let failed = agent.ok("results", json!({"batch_id": added["batch_id"], "filter_status": "failed"}));
    let [task] = failed["tasks"].as_array().expect("tasks").as_slice() else { panic!("{failed}") };
    assert_eq!((&task["exit_code"], task["error"].as_str()), (&json!(3), Some("exit code 3: broken")));
    let wrote = agent.tool("logs", json!({"task_id": task["task_id"], "offset": -7}));
    assert_eq!(wrote["structuredContent"]["text"], "broken\n");
    assert!(text(&wrote).ends_with("that is all.\nbroken\n"), "clients may pass the text alone: {wrote}");
    let shown = agent.tool("show", json!({"task_id": task["task_id"]}));
    assert!(text(&shown).contains("\"attempts\":[{"), "{shown}");
    // A wait for what matches is asked once, not in pieces, whoever wants to be told how far it is.
    let wait = json!({"name": "wait", "arguments": {"filter": "status=failed"}, "_meta": {"progressToken": "p"}});
    let waited = agent.call("tools/call", wait);
    assert_eq!(waited["structuredContent"]["counts"]["failed"], 1, "{waited}");
    let dry = agent.tool("retry", json!({"filter": "error~broken", "dry_run": true}));
    assert!(text(&dry).starts_with("would put 1 task back into the queue: 2; nothing was changed."), "{dry}");
    let wrong = agent.tool("cancel", json!({"filter": "statu=failed"}));
    assert!(text(&wrong).starts_with("`filter`, at character 1: unknown field `statu`"), "{wrong}");
    let whole = json!({"tool_name": "batch_executor", "tool_args": {"action": "status"}});
    assert_eq!(agent.ok("batch_executor", whole)["counts"]["total"], 2);
    assert_eq!(agent.ok("batch_executor", json!({"action": "functions"}))["functions"][0]["name"], "simulate");
}

#[test]
fn what_is_wrong_is_said_in_a_sentence_and_changes_nothing() {
    let daemon = Daemon::start();
    let mut agent = Agent::connect(&daemon);
    for (tool, arguments, said) in [
        ("add", json!({"name": "n"}), "`function` is missing"),
        (
            "add",
            json!({"name": "n", "function": "command", "priority": 5}),
            "`priority` is 5, but must be one of low, medium, high, critical",
        ),
        (
            "results",
            json!({"status": "failed"}),
            "`results` has no parameter `status`; it takes batch_id, cursor, filter, filter_status",
        ),
        ("functions", json!({"a": 1}), "`functions` has no parameter `a`; it takes none"),
        ("batch_executor", json!({"action": "clear", "batch": 1}), "`clear` has no parameter `batch`"),
        ("start", json!({"max_concurrent": 0}), "`max_concurrent` is 0, but must be a whole number from 1 to 10000"),
        ("show", json!({"task_id": 99}), "no task 99"),
        ("results", json!({"max_bytes": 1}), "`max_bytes` is 1, but must be a whole number from 2048"),
        ("batch_executor", json!({"action": "statsu"}), "unknown action `statsu`; did you mean `status`?"),
        ("batch_executor", json!({}), "`action` is missing"),
        ("batch_executor", json!({"tool_args": 7}), "`tool_args` is 7, but must be an object with the `action`"),
    ] {
        let result = agent.tool(tool, arguments);
        assert_eq!(result["isError"], true, "{result}");
        assert!(text(&result).starts_with(said), "{said}: {result}");
    }
    let refused = agent.refused("tools/call", json!({"name": "ad", "arguments": {}}));
    assert!(refused.starts_with("unknown tool `ad`; there are add, "), "{refused}");
    assert_eq!(agent.ok("status", json!({}))["counts"]["total"], 0);
}

#[test]
fn a_reply_keeps_to_its_budget_and_says_where_the_rest_is() {
    let daemon = Daemon::start();
    let mut agent = Agent::connect(&daemon);
    let task = shell("head -c 300000 /dev/zero | tr '\\0' x; echo; echo the end");
    let added = agent.ok("add_batch", json!({"tasks": vec![task; 30]}));
    agent.ok("start", json!({}));
    agent.ok("wait", json!({"batch_id": added["batch_id"], "timeout": 60}));
    for (arguments, most) in [(json!({}), 33_000), (json!({"max_bytes": 4096}), 5000)] {
        let mut seen = Vec::new();
        let mut cursor = Value::Null;
        loop {
            let mut page = arguments.clone();
            page["cursor"] = cursor;
            let result = agent.tool("results", page);
            assert!(result.to_string().len() < most, "{} bytes", result.to_string().len());
            assert!(text(&result).contains("Shortened to fit"), "{}", text(&result));
            let data = &result["structuredContent"];
            for task in data["tasks"].as_array().expect("tasks") {
                seen.push(task["task_id"].as_i64().expect("an id"));
                assert!(task["result"]["stdout"].as_str().is_some_and(|out| out.ends_with("the end\n")), "{task}");
            }
            cursor = data["next_cursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        assert_eq!(seen, (1..=30).collect::<Vec<i64>>(), "each once");
    }
    let sorted = agent.tool("results", json!({"sort": "-id", "filter": "id>5", "max_bytes": 4096}));
    assert!(text(&sorted).contains("Shortened to fit") && !text(&sorted).contains("cursor"), "{}", text(&sorted));
    let data = &sorted["structuredContent"];
    assert_eq!((&data["tasks"][0]["task_id"], &data["next_cursor"]), (&json!(30), &Value::Null));
    let piece = agent.tool("logs", json!({"task_id": 1}));
    assert!(piece.to_string().len() < 33_000);
    assert_eq!(piece["structuredContent"]["size"], 300_009);
}

#[test]
fn a_wait_is_bounded_reports_progress_and_ends_with_its_call() {
    let daemon = Daemon::start();
    let mut agent = Agent::connect(&daemon);
    agent.ok("add", json!({"name": "long", "function": "simulate", "params": {"duration": 600}}));
    agent.ok("start", json!({}));
    let result = agent.tool("wait", json!({"timeout": 0.1}));
    assert_eq!((&result["isError"], &result["structuredContent"]["counts"]["running"]), (&json!(false), &json!(1)));
    assert!(
        text(&result).starts_with("Not over yet: 0 queued, 1 running, 0 of 1 tasks have ended; they go on."),
        "{result}"
    );
    assert!(text(&result).contains("\nStill running: 1 long for "), "{result}");
    let id = agent.send("tools/call", json!({"name": "wait", "arguments": {}, "_meta": {"progressToken": "p"}}));
    let told = agent.hear();
    assert_eq!((&told["method"], &told["params"]["progressToken"]), (&json!("notifications/progress"), &json!("p")));
    assert_eq!((&told["params"]["progress"], &told["params"]["total"]), (&json!(0.0), &json!(1.0)));
    agent.tell(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
    // Others were never held up, and the daemon has lost interest in it.
    assert_eq!(agent.ok("status", json!({}))["counts"]["running"], 1);
}

#[test]
fn the_daemon_is_found_again_and_nothing_is_added_twice() {
    let mut daemon = Daemon::start();
    let mut agent = Agent::connect(&daemon);
    let key = json!({"tasks": [shell("true"), shell("true")], "request_key": "night"});
    let added = agent.ok("add_batch", key.clone());
    daemon.kill();
    daemon.serve();
    assert_eq!(agent.ok("status", json!({"batch_id": added["batch_id"]}))["counts"]["queued"], 2);
    let again = agent.ok("add_batch", key);
    assert_eq!((&again["batch_id"], &again["repeated"]), (&added["batch_id"], &json!(true)));
    // Two agents at once, and one that dies, are nothing to each other.
    let mut other = Agent::connect(&daemon);
    drop(agent);
    assert_eq!(other.ok("status", json!({}))["counts"]["queued"], 2);
}

#[test]
fn a_batch_that_is_sent_again_without_a_key_is_added_and_said() {
    let mut daemon = Daemon::start();
    let mut agent = Agent::connect(&daemon);
    let batch = json!({"tasks": [shell("true"), shell("true")], "name": "night"});
    let first = agent.tool("add_batch", batch.clone());
    assert!(!text(&first).contains("warning"), "{first}");
    drop(agent);
    // As well where everything died in between.
    daemon.kill();
    daemon.serve();
    let mut agent = Agent::connect(&daemon);
    let again = agent.tool("add_batch", batch.clone());
    assert_eq!(again["structuredContent"]["batch_id"], 2, "never guessed: {again}");
    let said = "warning: batch 1 with the same 2 tasks was added";
    assert!(text(&again).starts_with(said) && text(&again).contains("`cancel` with batch_id 2"), "{again}");
    // The socket says it, too; with a key, or from another folder, nothing is said.
    let mut request = batch.clone();
    request["action"] = json!("add_batch");
    let third = daemon.call(&request);
    assert!(
        third["warnings"][0].as_str().is_some_and(|said| said.starts_with("batch 2 with the same 2 tasks")),
        "{third}"
    );
    let elsewhere = json!({"action": "add_batch", "cwd": "/", "tasks": batch["tasks"], "name": batch["name"]});
    assert_eq!(daemon.ask(&elsewhere).expect("an answer")["warnings"], json!([]));
    request["request_key"] = json!("night");
    assert_eq!(daemon.call(&request)["warnings"], json!([]));
    let mut other = batch;
    other["tasks"][1]["name"] = json!("other");
    assert!(!text(&agent.tool("add_batch", other)).contains("warning"));
}

#[test]
fn lines_of_a_log_are_found() {
    let daemon = Daemon::start();
    let mut agent = Agent::connect(&daemon);
    let task = shell("seq 200000; echo an Error; seq 1000; echo another Error >&2");
    let added = agent.ok("add_batch", json!({"tasks": [task]}));
    agent.ok("start", json!({}));
    agent.ok("wait", json!({"batch_id": added["batch_id"]}));
    let found = agent.tool("logs", json!({"task_id": 1, "search": "Error"}));
    let data = &found["structuredContent"];
    assert_eq!(data["text"], "an Error\nanother Error\n");
    assert!(text(&found).starts_with("attempt 1: 2 lines match, "), "{found}");
    let first = &data["matches"][0];
    assert_eq!(agent.ok("logs", json!({"task_id": 1, "offset": first, "limit": 9}))["text"], "an Error\n");
    let page = agent.ok("logs", json!({"task_id": 1, "search": "Error", "limit": 1}));
    assert_eq!((&page["text"], &page["next_offset"]), (&json!("an Error\n"), &data["matches"][1]));
    let rest = agent.ok("logs", json!({"task_id": 1, "search": "Error", "offset": page["next_offset"]}));
    assert_eq!((&rest["text"], &rest["next_offset"]), (&json!("another Error\n"), &rest["size"]));
    for asked in ["wait", "results"] {
        let some = agent.tool(asked, json!({"task_ids": [1, 99]}));
        let said = "warning: 1 task of the 2 that were chosen: not in the queue, cleared or never added\n";
        assert!(text(&some).starts_with(said), "{some}");
    }
    let none = agent.tool("wait", json!({"task_ids": [99]}));
    assert!(text(&none).starts_with("there is nothing to wait for: none of these tasks is in the queue"), "{none}");
    let around = agent.ok("logs", json!({"task_id": 1, "search": "an Error", "context": 1}));
    assert_eq!(around["text"], "200000\nan Error\n1\n");
    let shown = daemon.cli(&["logs", "1", "--search", "Error"]);
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "an Error\nanother Error\n");
}

#[test]
fn it_ends_with_its_input_and_starts_the_daemon_that_it_needs() {
    let daemon = Daemon::home_only();
    let mut agent = Agent::connect(&daemon);
    let pid = agent.ok("status", json!({}))["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
    agent.stdin = None;
    assert_eq!(agent.child.wait().expect("its end").code(), Some(0));
    assert!(lives(pid), "the daemon stays");
    assert_eq!(daemon.cli(&["daemon", "stop"]).status.code(), Some(0));
    until("the daemon has ended", || !lives(pid));
    // A call that waits does not keep it for more than some seconds.
    let mut agent = Agent::connect(&daemon);
    agent.ok("add", json!({"name": "long", "function": "simulate", "params": {"duration": 600}}));
    agent.ok("start", json!({}));
    agent.send("tools/call", json!({"name": "wait", "arguments": {}}));
    agent.stdin = None;
    assert_eq!(agent.child.wait().expect("its end").code(), Some(0));
    let silent = daemon.command(&["mcp"]).stdin(Stdio::null()).output().expect("it runs");
    assert_eq!((silent.status.code(), silent.stdout.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn the_schemas_are_printed() {
    let daemon = Daemon::home_only();
    let all = daemon.cli(&["call", "--schema"]);
    let all: Value = serde_json::from_slice(&all.stdout).expect("JSON");
    assert_eq!(all.as_object().map(serde_json::Map::len), Some(ACTIONS.len()));
    let add = daemon.cli(&["call", "--schema", "add"]);
    let add: Value = serde_json::from_slice(&add.stdout).expect("JSON");
    assert_eq!(add["request"]["required"], json!(["action", "name", "function"]));
    assert_eq!(add["response"]["properties"]["data"]["required"], json!(["task_id", "batch_id", "position"]));
    let wrong = daemon.cli(&["call", "--schema", "ad"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn the_clients_of_the_examples_work() {
    let daemon = Daemon::start();
    for (interpreter, client) in [("python3", "client.py"), ("node", "client.mjs")] {
        let path = format!("{}/examples/{client}", env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(interpreter)
            .args([path.as_str(), "echo one", "echo broken >&2; exit 3"])
            .current_dir(daemon.work())
            .env("BATCH_EXECUTOR_HOME", daemon.home())
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let expected = "1 completed, 1 failed\necho broken >&2; exit 3: exit code 3: broken\n";
        assert_eq!(said, expected, "{}", String::from_utf8_lossy(&output.stderr));
    }
}
