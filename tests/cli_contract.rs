//! The companion CLI as scripts rely on it: exit codes, `--json`, `--quiet`, files, signals.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Child, Output, Stdio};

use serde_json::{Value, json};
use support::{Daemon, signal};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one response object that standard output holds.
fn response(output: &Output) -> Value {
    let text = stdout(output);
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    assert!(answer["ok"].is_boolean() && answer["message"].is_string(), "{answer}");
    answer
}

fn spawned(daemon: &Daemon, arguments: &[&str]) -> Child {
    let mut command = daemon.command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a client")
}

#[test]
fn with_json_standard_output_is_one_response_whatever_happens() {
    let daemon = Daemon::start();
    std::fs::write(daemon.work().join("t.json"), r#"[{"function":"simulate","params":{"duration":0}}]"#).expect("t");
    let cases: &[(&[&str], i32)] = &[
        (&["run", "t.json"], 0),
        (&["add", "--", "true"], 0),
        (&["add-batch", "t.json"], 0),
        (&["start"], 0),
        (&["wait"], 0),
        (&["status"], 0),
        (&["results"], 0),
        (&["show", "1"], 0),
        (&["logs", "2"], 0),
        (&["export", "--output-file", "e.json"], 0),
        (&["backup", "b.db"], 0),
        (&["backup", "b.db"], 4),
        (&["backup", "b.db", "--overwrite"], 0),
        (&["backup", "absent/b.db"], 4),
        (&["backup", "-"], 2),
        (&["clear"], 0),
        (&["functions"], 0),
        (&["config"], 0),
        (&["daemon", "status"], 0),
        (&["stop"], 0),
        (&["wait"], 3),
        (&["show", "99"], 3),
        (&["add", "x", "--function", "simulate", "--priority", "x"], 4),
        (&["add-batch", "absent.json"], 4),
        (&["export", "--output-file", "absent/e.json"], 4),
        (&["call", "{"], 4),
        (&["status", "--config", "absent"], 78),
        (&["status", "--frob"], 2),
        (&["frob"], 2),
        (&["cancel"], 2),
        (&[], 2),
        (&["daemon", "stop"], 0),
        (&["daemon", "stop"], 69),
        (&["status", "--no-autostart"], 69),
    ];
    for (arguments, code) in cases {
        let output = daemon.cli(&[&["--json"], *arguments].concat());
        let answer = response(&output);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {answer}");
        assert_eq!(answer["ok"], *code == 0, "{arguments:?}: {answer}");
        assert_eq!(stderr(&output), "", "{arguments:?}");
    }
}

#[test]
fn quiet_is_ids_alone() {
    let daemon = Daemon::start();
    std::fs::write(
        daemon.work().join("t.jsonl"),
        "{\"function\":\"simulate\",\"params\":{\"duration\":0}}\n".repeat(2),
    )
    .expect("a file");
    for (arguments, expected) in [
        (&["add", "-q", "--", "true"][..], "1\n"),
        (&["add-batch", "t.jsonl", "-q"], "2\n"),
        (&["start", "-q"], ""),
        (&["wait", "-q"], ""),
        (&["results", "-q"], "1\n2\n3\n"),
        (&["run", "t.jsonl", "-q"], "3\n"),
        (&["clear", "-q"], ""),
    ] {
        let output = daemon.cli(arguments);
        assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), (expected, ""), "{arguments:?}");
        assert!(output.status.success());
    }
}

#[test]
fn an_older_daemon_is_a_version_mismatch() {
    let daemon = Daemon::home_only();
    std::fs::create_dir(daemon.home()).expect("a home");
    let listener = UnixListener::bind(daemon.home().join("daemon.sock")).expect("a socket");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
            while let Some(Ok(line)) = lines.next() {
                let request: Value = serde_json::from_str(&line).expect("a request");
                let answer = match request["action"].as_str() {
                    Some("start") => json!({"ok": true, "action": "start", "message": "done", "data": {},
                                            "warnings": ["unknown field `keep` was ignored"]}),
                    Some("status") => {
                        json!({"ok": true, "action": "status", "message": "?", "data": {}, "warnings": []})
                    }
                    _ => json!({"ok": false, "action": null, "message": "unknown action",
                                "error": {"code": "unknown_action", "message": "unknown action", "details": {}}}),
                };
                // A client that has heard enough goes.
                let _ = writeln!(&stream, "{answer}");
            }
        }
    });
    for arguments in [&["functions"][..], &["start", "--keep"], &["status"], &["daemon", "restart"]] {
        let output = daemon.cli(arguments);
        assert_eq!(output.status.code(), Some(76), "{arguments:?}");
        assert!(stderr(&output).contains("batch-executor daemon restart"), "{arguments:?}: {}", stderr(&output));
        if arguments == ["status"] {
            // With --json whatever the daemon says is passed on.
            continue;
        }
        let output = daemon.cli(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(76), "{arguments:?}");
        assert!(response(&output).to_string().contains("daemon restart"), "{arguments:?}");
    }
}

#[test]
fn a_file_of_several_parts_is_one_batch_with_one_summary() {
    let daemon = Daemon::start();
    let mut lines = String::new();
    for line in 1..=20_000 {
        if line == 15_000 {
            lines.push_str("broken\n");
        } else {
            lines.push_str(&format!("{{\"name\":\"task {line} {}\",\"function\":\"simulate\"}}\n", "x".repeat(100)));
        }
    }
    std::fs::write(daemon.work().join("t.jsonl"), lines).expect("a file");
    let first = daemon.cli(&["add-batch", "t.jsonl", "--request-key", "k"]);
    assert_eq!(first.status.code(), Some(4), "one line is bad");
    assert!(stdout(&first).starts_with("batch 1: 19999 tasks added, tasks 1 to 19999; 1 bad left out."), "{first:?}");
    assert!(stderr(&first).contains("line 15000: "), "{}", stderr(&first));
    let again = daemon.cli(&["add-batch", "t.jsonl", "--request-key", "k", "--json"]);
    assert_eq!(response(&again)["data"]["repeated"], true);
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 19_999);
    let atomic = daemon.cli(&["add-batch", "t.jsonl", "--atomic", "--json"]);
    assert_eq!(response(&atomic)["error"]["details"]["errors"][0]["line"], 15_000);
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 19_999);
}

#[test]
fn a_file_of_which_some_parts_were_there_before_says_how_many_tasks() {
    let daemon = Daemon::start();
    // Each is a part of its own.
    let task = json!({"name": "t", "function": "code_execution",
        "params": {"runtime": "terminal", "code": format!("true #{}", "x".repeat(200_000))}});
    let line = format!("{task}\n");
    for (parts, said) in [
        (2, "batch 1: 2 tasks added, tasks 1 to 2."),
        (3, "batch 1: 3 tasks added, 2 of them before, tasks 1 to 3."),
        (3, "batch 1: 3 tasks were there before, tasks 1 to 3."),
    ] {
        std::fs::write(daemon.work().join("t.jsonl"), line.repeat(parts)).expect("a file");
        let output = daemon.cli(&["add-batch", "t.jsonl", "--request-key", "k"]);
        assert!(stdout(&output).starts_with(said), "{output:?}");
    }
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 3);
}

#[test]
fn atomic_refuses_the_whole_file_for_what_only_the_daemon_can_see() {
    let daemon = Daemon::start();
    let good = format!("{{\"name\":\"{}\",\"function\":\"simulate\"}}\n", "x".repeat(1000));
    let bad = r#"{"function":"code_execution","params":{"runtime":"cobol","code":""}}"#;
    std::fs::write(daemon.work().join("t.jsonl"), good.repeat(2500) + bad).expect("a file");
    let output = daemon.cli(&["add-batch", "t.jsonl", "--atomic", "--json"]);
    let errors = response(&output)["error"]["details"]["errors"].take();
    assert_eq!((output.status.code(), &errors[0]["line"]), (Some(4), &json!(2501)), "{errors}");
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 0, "the parts before it were not added");
    std::fs::write(daemon.work().join("t.jsonl"), good.repeat(2500)).expect("a file");
    let output = daemon.cli(&["add-batch", "t.jsonl", "--atomic", "--json", "--name", "all"]);
    assert_eq!(response(&output)["data"]["added"], 2500);
}

#[test]
fn a_run_goes_on_with_its_batch_until_that_is_done() {
    let daemon = Daemon::start();
    let gate = "while [ ! -e gate ]; do sleep 0.01; done";
    let task = json!({"name": "t", "function": "code_execution", "params": {"runtime": "terminal", "code": gate}});
    std::fs::write(daemon.work().join("t.jsonl"), format!("{task}\n{task}\n")).expect("a file");
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let mut client = spawned(&daemon, &["run", "t.jsonl"]);
        let mut said = BufReader::new(client.stderr.take().expect("its words")).lines();
        // Past adding; from then on a signal ends it with words of its own.
        said.next().expect("words").expect("text");
        signal(i32::try_from(client.id()).expect("a pid"), name);
        assert_eq!(client.wait().expect("its end").code(), Some(code));
        let rest: Vec<String> = said.map_while(Result::ok).collect();
        assert!(rest.concat().contains("batch-executor status --batch-id 1"), "{rest:?}");
    }
    let mut killed = spawned(&daemon, &["run", "t.jsonl"]);
    daemon.running(2);
    killed.kill().expect("killed");
    killed.wait().expect("reaped");
    let mut goes_on = spawned(&daemon, &["run", "t.jsonl"]);
    let mut said = BufReader::new(goes_on.stderr.take().expect("its words")).lines();
    let first = said.next().expect("words").expect("text");
    assert_eq!(first, "batch 1 was added before and is not done: going on with it");
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    assert_eq!(goes_on.wait_with_output().expect("its end").status.code(), Some(0));
    assert_eq!(daemon.tasks().len(), 2, "nothing was added twice");
    let anew = daemon.cli(&["run", "t.jsonl", "--json"]);
    assert_eq!(response(&anew)["data"]["batch_id"], 2, "the first batch was done");
    let again = daemon.cli(&["run", "t.jsonl", "--again", "--quiet"]);
    assert_eq!(stdout(&again), "3\n");
}

#[test]
fn a_wait_ends_with_the_code_for_what_ended_it() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add", "name": "n", "function": "simulate", "delay": 3600}));
    assert_eq!(daemon.cli(&["wait"]).status.code(), Some(4), "the executor is stopped");
    daemon.ok(json!({"action": "start"}));
    assert_eq!(daemon.cli(&["wait", "--timeout", "0.01"]).status.code(), Some(124));
    assert_eq!(daemon.cli(&["wait", "--timeout", "0"]).status.code(), Some(124));
    let client = spawned(&daemon, &["wait"]);
    daemon.cli(&["cancel", "1"]);
    assert_eq!(client.wait_with_output().expect("its end").status.code(), Some(1));
    assert_eq!(daemon.cli(&["wait", "--batch-id", "7"]).status.code(), Some(3));
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let daemon = Daemon::start();
    let tasks: Vec<_> = (0..2000).map(|_| json!({"function": "simulate"})).collect();
    daemon.ok(json!({"action": "add_batch", "tasks": tasks}));
    for arguments in [&["results", "--all"][..], &["results", "--json", "--limit", "2000"], &["export", "-o", "-"]] {
        let mut client = spawned(&daemon, arguments);
        let mut line = String::new();
        BufReader::new(client.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let output = client.wait_with_output().expect("its end");
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn an_export_to_standard_output_is_alone_there() {
    let daemon = Daemon::start();
    std::fs::write(daemon.work().join("t.json"), r#"[{"function":"simulate","params":{"duration":0}}]"#).expect("t");
    let run = daemon.cli(&["run", "t.json", "--export", "-"]);
    let exported: Value = serde_json::from_str(&stdout(&run)).expect("JSON alone");
    assert_eq!(exported["metadata"]["completed"], 1);
    assert!(stderr(&run).contains("batch 1 has ended"), "{}", stderr(&run));
    let both = daemon.cli(&["export", "--output-file", "-", "--json"]);
    assert_eq!((both.status.code(), &response(&both)["ok"]), (Some(2), &json!(false)));
    assert_eq!(
        std::fs::read_dir(daemon.home())
            .expect("a home")
            .filter_map(Result::ok)
            .filter(|entry| { entry.file_name().to_string_lossy().starts_with("export-") })
            .count(),
        0,
        "nothing of it is left in the home"
    );
}

#[test]
fn an_export_that_cannot_be_written_is_refused_before_the_run() {
    let daemon = Daemon::start();
    std::fs::write(daemon.work().join("t.json"), r#"[{"function":"simulate"}]"#).expect("a file");
    let run = daemon.cli(&["run", "t.json", "--export", "absent/out.csv"]);
    assert_eq!(run.status.code(), Some(4));
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 0);
}

#[test]
fn call_takes_lines_and_ends_with_the_worst_code() {
    let daemon = Daemon::start();
    std::fs::write(daemon.work().join("r.json"), "{\n  \"action\": \"functions\",\n  \"id\": 1\n}\n").expect("a file");
    assert_eq!(response(&daemon.cli(&["call", "--file", "r.json"]))["id"], 1);
    let lines = [
        r#"{"action": "functions", "id": 1}"#,
        "",
        r#"{"tool_name": "batch_executor_tool", "tool_args": {"action": "show", "task_id": 9}, "id": 2}"#,
        r#"{"tool_name": "batch_executor", "action": "status", "id": 3}"#,
    ];
    std::fs::write(daemon.work().join("r.jsonl"), lines.join("\n")).expect("a file");
    let output = daemon.cli(&["call", "--file", "r.jsonl"]);
    assert_eq!(output.status.code(), Some(3));
    let ids: Vec<i64> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a response")["id"].as_i64().expect("an id"))
        .collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn what_goes_with_a_task_is_what_was_named() {
    let daemon = Daemon::start();
    let show = "for n in PATH LC_TIME WANTED SECRET SET; do eval \"v=\\${$n-}\"; test -z \"$v\" || echo $n; done";
    let add = |more: &[&str]| {
        let mut command = daemon.command(&[&["add", "-q"], more, &["--", "sh", "-c", show]].concat());
        command.env("LC_TIME", "C").env("WANTED", "w").env("SECRET", "s");
        assert!(command.output().expect("it runs").status.success());
    };
    add(&[]);
    add(&["--env", "WANTED", "--env", "SET=a=b"]);
    add(&["--env-all"]);
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    let seen: Vec<_> = daemon.tasks().iter().map(|task| task["result"]["stdout"].clone()).collect();
    assert_eq!(seen, ["PATH\nLC_TIME\n", "PATH\nLC_TIME\nWANTED\nSET\n", "PATH\nLC_TIME\nWANTED\nSECRET\n"]);
}

#[test]
fn every_command_has_a_page_in_the_manual() {
    let daemon = Daemon::home_only();
    assert!(daemon.cli(&["man", "pages"]).status.success());
    for command in ["", "-run", "-daemon-stop", "-service-install", "-mcp", "-man"] {
        let page = daemon.work().join(format!("pages/batch-executor{command}.1"));
        let check = ["-K", "utf8", "-man", "-ww", "-Tutf8", "-z"];
        let checked = std::process::Command::new("groff").args(check).arg(&page).output().expect("groff");
        assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
    }
    assert!(!daemon.work().join("pages/batch-executor-keeper.1").exists(), "it is hidden");
    assert!(stdout(&daemon.cli(&["man"])).contains(".TH batch-executor 1"));
}

#[test]
fn doctor_looks_at_everything_that_the_promises_rest_on() {
    let daemon = Daemon::start();
    let healthy = daemon.cli(&["doctor", "--json"]);
    assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
    let answer = response(&healthy);
    let checks = answer["data"]["checks"].as_array().expect("checks");
    let names: Vec<&str> = checks.iter().filter_map(|check| check["name"].as_str()).collect();
    for name in [
        "program",
        "version",
        "socket",
        "daemon",
        "home",
        "queue",
        "disk",
        "python",
        "nodejs",
        "terminal",
        "clock",
        "open files",
        "processes",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert!(checks.iter().all(|check| check["level"] == "ok" || check["advice"].is_string()), "{checks:?}");
    drop(daemon);

    let broken = Daemon::home_only();
    std::fs::create_dir(broken.home()).expect("a home");
    std::fs::write(broken.home().join("queue.db"), "this is no database ".repeat(1000)).expect("a file");
    assert_eq!(broken.cli(&["doctor"]).status.code(), Some(1));
}
