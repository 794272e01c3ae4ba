//! What the functions promise: checks at `add`, results, errors that name what was looked for.

mod support;

use serde_json::{Value, json};
use support::{Daemon, shell};

fn task(function: &str, params: Value) -> Value {
    json!({"name": function, "function": function, "params": params, "max_retries": 1, "retry_delay": 0})
}

fn python(code: &str) -> Value {
    task("custom_function", json!({"code": code}))
}

fn attempts(task: &Value) -> usize {
    task["attempts"].as_array().map_or(0, Vec::len)
}

#[test]
fn bad_parameters_are_refused_by_name_value_and_what_is_allowed() {
    let daemon = Daemon::start();
    let long = "x".repeat(128 * 1024);
    for (function, params, said) in [
        ("simulate", json!({"duration": -1}), "`params.duration` is -1, but must be a number of seconds"),
        ("simulate", json!({"fail": 1.5}), "`params.fail` is 1.5, but must be true, false or a number"),
        ("code_execution", json!({"code": "1"}), "`params.runtime` is missing; it must be one of python, nodejs"),
        ("code_execution", json!({"runtime": "ruby", "code": "1"}), "`params.runtime` is \"ruby\", but must be one of"),
        ("code_execution", json!({"runtime": "python", "code": 1}), "`params.code` is 1, but must be text"),
        ("command", json!({"argv": "ls"}), "`params.argv` is \"ls\", but must be a list of texts"),
        ("command", json!({"argv": ["ls", long]}), "but must be a list of texts below 128 KiB"),
        ("command", json!({"argv": ["ls"], "env": {"A": 1}}), "`params.env` must be an object of texts"),
        ("custom_function", json!({"code": "x", "args": []}), "`params.args` is [], but must be an object"),
    ] {
        let answer = daemon.call(&json!({"action": "add", "name": "n", "function": function, "params": params}));
        assert_eq!(answer["error"]["code"], "invalid_request", "{answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.contains(said)), "{answer}");
    }
    let whole = daemon.call(&json!({"action": "add", "name": "n", "function": "simulate", "params": {"fail": 2.0}}));
    assert_eq!((&whole["ok"], &whole["warnings"]), (&json!(true), &json!([])));
    let unknown = daemon.call(&json!({"action": "add", "name": "n", "function": "later"}));
    assert!(unknown["warnings"][0].as_str().is_some_and(|w| w.starts_with("unknown function `later`")), "{unknown}");
}

#[test]
fn a_custom_function_gives_its_value_and_only_that() {
    let daemon = Daemon::start();
    let shown = daemon.run(&[
        task(
            "custom_function",
            json!({"code": "def process(a, b=2):\n print('noise')\n return {'sum': a + b}", "args": {"a": 1}}),
        ),
        python("def process(): pass"),
        python("async def process():\n import asyncio\n await asyncio.sleep(0)\n return 5"),
        python(
            "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass D: n: int\n\
                 def process(): return D(7).n",
        ),
        python("import pickle\nclass C: pass\ndef process(): return type(pickle.loads(pickle.dumps(C()))).__name__"),
    ]);
    assert_eq!(shown[0]["result"], json!({"sum": 3}));
    assert_eq!((&shown[1]["result"], &shown[1]["status"]), (&Value::Null, &json!("completed")));
    assert_eq!(shown[2]["result"], 5);
    assert_eq!(shown[3]["result"], 7, "{}", shown[3]);
    assert_eq!(shown[4]["result"], "C", "{}", shown[4]);
}

#[test]
fn a_custom_function_that_no_attempt_would_make_better_is_not_tried_again() {
    let daemon = Daemon::start();
    let shown = daemon.run(&[
        python("def process(:"),
        python("x = 1"),
        task("custom_function", json!({"code": "def process(a): return a", "args": {"b": 1}})),
    ]);
    for (task, said) in shown.iter().zip([
        "`params.code` is not Python: ",
        "`params.code` defines no function `process`",
        "`params.args` does not fit `process`: ",
    ]) {
        assert!(task["error"].as_str().is_some_and(|error| error.starts_with(said)), "{task}");
        assert_eq!(attempts(task), 1, "{task}");
    }
}

#[test]
fn a_custom_function_that_fails_says_why_and_is_tried_again() {
    let daemon = Daemon::start();
    let shown = daemon.run(&[
        python("def process(): raise ValueError('boom')"),
        python("def process(): return {1, 2}"),
        python("def process(): return len(5)"),
        python("import os\ndef process(): os._exit(0)"),
    ]);
    for (task, said) in shown.iter().zip([
        "ValueError: boom",
        "the returned value cannot be written as JSON: Object of type set",
        "TypeError: object of type 'int' has no len()",
        "`params.code` ended the interpreter before `process` returned",
    ]) {
        assert!(task["error"].as_str().is_some_and(|error| error.contains(said)), "{task}");
        assert_eq!(attempts(task), 2, "{task}");
    }
}

#[test]
fn what_cannot_be_run_names_what_was_looked_for() {
    let daemon = Daemon::start();
    let here = daemon.work().join("file");
    std::fs::write(&here, "").expect("a file");
    let shown = daemon.run(&[
        task("command", json!({"argv": ["no-such-program"]})),
        task("command", json!({"argv": ["./no-such-file"]})),
        task("code_execution", json!({"runtime": "python", "code": "1", "env": {"PATH": "/nope"}})),
        task("code_execution", json!({"runtime": "terminal", "code": "1", "env": {"PATH": ""}})),
        task("command", json!({"argv": ["ls"], "cwd": "/no/such/folder"})),
        task("command", json!({"argv": ["ls"], "cwd": here})),
        task("later", json!({})),
    ]);
    for (task, said) in shown.iter().zip([
        "no program `no-such-program` in PATH (",
        "the program `./no-such-file` is not there",
        "no program `python3` or `python` in PATH (/nope)",
        "no program `bash` or `sh` in PATH (which is empty)",
        "the working directory `/no/such/folder` does not exist",
        "is not a folder",
        "unknown function `later`",
    ]) {
        assert!(task["error"].as_str().is_some_and(|error| error.contains(said)), "{task}");
        assert_eq!((attempts(task), &task["reason"]), (1, &json!("not tried again: it cannot be run")), "{task}");
    }
}

#[test]
fn an_environment_is_the_daemons_below_the_requests_below_the_tasks() {
    let daemon = Daemon::start_with(&[("A", "daemon"), ("B", "daemon"), ("C", "daemon")]);
    let mut add = shell("echo $A $B $C $BATCH_EXECUTOR_TASK_ID $BATCH_EXECUTOR_ATTEMPT $BATCH_EXECUTOR_BATCH_ID");
    add["action"] = json!("add");
    add["environment"] = json!({"B": "request", "C": "request"});
    add["params"]["env"] = json!({"C": "task"});
    daemon.ok(add);
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    assert_eq!(daemon.tasks()[0]["result"]["stdout"], "daemon request task 1 1 1\n");
}

#[test]
fn large_code_and_input_arrive_whole() {
    let daemon = Daemon::start();
    let padding = "z".repeat(150_000);
    let code = format!("def process(a): return [a, len('{padding}')]");
    let shown = daemon.run(&[
        task("code_execution", json!({"runtime": "python", "code": format!("print(len('{padding}'))")})),
        task("code_execution", json!({"runtime": "terminal", "code": format!(": {padding}\necho done")})),
        task("custom_function", json!({"code": code, "args": {"a": padding}})),
        task("command", json!({"argv": ["wc", "-c"], "stdin": "x".repeat(1 << 20)})),
        task("command", json!({"argv": ["true"], "stdin": "x".repeat(1 << 20)})),
    ]);
    assert_eq!(shown[0]["result"]["value"], 150_000);
    assert_eq!(shown[1]["result"]["stdout"], "done\n");
    assert_eq!(shown[2]["result"], json!([padding, 150_000]));
    assert_eq!(shown[3]["result"]["value"], 1 << 20);
    assert_eq!(shown[4]["status"], "completed");
    let left = std::fs::read_dir(daemon.home().join("run")).expect("a folder").count();
    assert_eq!(left, 0, "scripts of ended tasks");
}

#[test]
fn head_and_tail_are_kept_with_what_was_left_out() {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_OUTPUT_KEEP_BYTES", "1024")]);
    for (size, spills) in [(3000, false), (300_000, true)] {
        let code = format!("printf begin; head -c {size} /dev/zero | tr '\\0' x; printf end");
        let shown = daemon.run(&[shell(&code)]);
        let result = &shown[0]["result"];
        let text = result["stdout"].as_str().expect("text");
        assert!(text.starts_with("begin") && text.ends_with("end") && text.len() < 1100, "{spills}: {}", text.len());
        assert!(text.contains(&format!("… {} bytes left out …", size + 8 - 1024)), "{text}");
        assert_eq!((&result["stdout_truncated"], &result["stderr_truncated"]), (&json!(true), &json!(false)));
        let log = daemon.ok(json!({"action": "logs", "task_id": shown[0]["task_id"], "limit": 1_000_000}));
        assert_eq!((&log["size"], &log["dropped"]), (&json!(size + 8), &json!(0)), "the log is whole");
    }
}

#[test]
fn a_users_function_gets_its_task_as_json_and_keeps_its_params() {
    let mut daemon = Daemon::home_only();
    let config = daemon.home().with_file_name("config").join("batch-executor");
    std::fs::create_dir_all(&config).expect("a folder");
    let declared = "[functions.echo]\ncommand = [\"cat\"]\n[functions.words]\ncommand = [\"echo\", \"no json\"]\n";
    std::fs::write(config.join("config.toml"), declared).expect("written");
    daemon.serve();
    let params = json!({"cwd": "not a folder", "env": 3});
    let shown = daemon.run(&[task("echo", params.clone()), task("words", json!({}))]);
    assert_eq!(shown[0]["result"], json!({"task_id": 1, "name": "echo", "attempt": 1, "params": params}));
    assert_eq!(shown[1]["result"]["stdout"], "no json\n");
}
