//! Warm functions: a worker takes one task after the other, and what befalls it befalls one task.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Daemon, lives, signal, until};

/// A worker in Python: does what `params.do` says, an expression or statements, and answers `answer`.
const WORKER: &str = r#"
import json, os, sys, time
tasks = 0
for line in sys.stdin:
    task = json.loads(line)
    tasks += 1
    answer = {"result": {"pid": os.getpid(), "tasks": tasks}}
    exec(task["params"].get("do", ""))
    if answer is not None:
        print(json.dumps(answer), flush=True)
"#;

fn configure(daemon: &Daemon, more: &str) {
    let folder = daemon.home().parent().expect("a root").join("config/batch-executor");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("worker.py"), WORKER).expect("a worker");
    let text = format!(
        "[functions.work]\ncommand = [\"python3\", \"{}\"]\nwarm = true\n{more}",
        folder.join("worker.py").display()
    );
    std::fs::write(folder.join("config.toml"), text).expect("a configuration");
}

/// A daemon with the function `work`, one task at a time.
fn warm(more: &str) -> Daemon {
    let mut daemon = Daemon::home_only();
    configure(&daemon, more);
    daemon.serve();
    daemon.ok(json!({"action": "start", "max_concurrent": 1, "keep": true}));
    daemon
}

fn work(code: &str) -> Value {
    of("work", code)
}

fn of(function: &str, code: &str) -> Value {
    json!({"name": "n", "function": function, "params": {"do": code}, "max_retries": 0})
}

fn with(mut task: Value, field: &str, value: Value) -> Value {
    task[field] = value;
    task
}

fn pid(task: &Value) -> i64 {
    task["result"]["pid"].as_i64().unwrap_or_else(|| panic!("{task}"))
}

fn process(pid: i64) -> i32 {
    i32::try_from(pid).expect("a pid")
}

fn pids(tasks: &[Value]) -> BTreeSet<i64> {
    tasks.iter().map(pid).collect()
}

/// Waits until a file holds a pid.
fn pid_in(file: &Path) -> i32 {
    let read = || std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    until("the file holds a pid", || read().is_some());
    read().expect("a pid")
}

fn gone(pid: i32) {
    until("the process is gone", || !lives(pid));
}

/// Python that starts a shell by `launcher`, which tells its pid in a file and sleeps.
fn starting(launcher: &[&str], file: &Path) -> String {
    let code = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", file.display());
    let command = [launcher, &["sh", "-c", &code]].concat();
    format!("import subprocess\nsubprocess.Popen({command:?}, stdout=2)")
}

/// Python that writes its pid to a file and waits until another is there.
fn waiting(daemon: &Daemon) -> (String, PathBuf, PathBuf) {
    let (here, go) = (daemon.work().join("here"), daemon.work().join("go"));
    let code = format!(
        "own = {here:?} + str(os.getpid()); open(own, 'w').write(str(os.getpid())); os.rename(own, {here:?})\n\
         while not os.path.exists({go:?}): time.sleep(0.002)"
    );
    (code, here, go)
}

#[test]
fn one_worker_answers_one_task_after_the_other() {
    let daemon = warm("");
    let shown = daemon.run(&vec![work(""); 20]);
    assert_eq!(pids(&shown).len(), 1, "{shown:?}");
    let tasks: Vec<i64> = shown.iter().filter_map(|task| task["result"]["tasks"].as_i64()).collect();
    assert_eq!(tasks, (1..=20).collect::<Vec<i64>>());
    assert_eq!((&shown[0]["exit_code"], &shown[0]["status"]), (&Value::Null, &json!("completed")));

    let line = daemon.run(&[with(work("answer = {'result': task}"), "name", json!("é\n"))]);
    let told = &line[0]["result"];
    assert_eq!((&told["task_id"], &told["name"], &told["attempt"]), (&line[0]["task_id"], &json!("é\n"), &json!(1)));
    for (code, result) in
        [("answer = {'result': None}", json!(null)), ("answer['result'] = [1, {'a': 'ü'}]", json!([1, {"a": "ü"}]))]
    {
        assert_eq!(daemon.run(&[work(code)])[0]["result"], result);
    }
}

#[test]
fn as_many_workers_as_tasks_run_at_once() {
    let daemon = warm("");
    daemon.ok(json!({"action": "start", "max_concurrent": 3, "keep": true}));
    let (code, _, go) = waiting(&daemon);
    daemon.ok(json!({"action": "add_batch", "tasks": vec![work(&code); 3]}));
    daemon.running(3);
    std::fs::write(go, "").expect("written");
    daemon.wait();
    let first = daemon.tasks();
    assert_eq!(pids(&first).len(), 3, "{first:?}");
    assert!(pids(&daemon.run(&vec![work(""); 30])).is_subset(&pids(&first)));
}

#[test]
fn what_goes_wrong_fails_its_task_alone() {
    let daemon = warm("");
    let cases = [
        ("answer = {'error': 'no such thing'}", "no such thing", true),
        ("answer = {'result': 1, 'error': 'both'}", "both", true),
        ("print('debugging', flush=True)", "the worker's answer is \"debugging\", but must be one line with", false),
        ("answer = {'nothing': 1}", "`result` (any JSON) or `error`", false),
        ("answer = [1]", "`result` (any JSON) or `error`", false),
        ("os.write(2, b'last words\\n'); os._exit(3)", "exit code 3: last words", false),
        ("os._exit(0)", "the worker ended with exit code 0 before it answered", false),
        ("os.kill(os.getpid(), 11)", "killed by SIGSEGV (signal 11)", false),
        ("os.close(1); time.sleep(60)", "closed its standard output before it answered", false),
        ("sys.stdout.write('half an ans'); sys.stdout.flush(); os._exit(0)", "before it answered", false),
        ("answer = {'result': 'x' * (17 << 20)}", "longer than 16777216 bytes", false),
        ("x = []\nfor _ in range(110): x = [x]\nanswer = {'result': x}", "nested too deep", true),
    ];
    for (code, said, stays) in cases {
        let before = pid(&daemon.run(&[work("")])[0]);
        let failed = &daemon.run(&[work(code)])[0];
        let error = failed["error"].as_str().unwrap_or_else(|| panic!("{failed}"));
        assert!(error.contains(said), "{code}: {error}");
        assert_eq!(failed["status"], "failed", "{failed}");
        let after = pid(&daemon.run(&[work("")])[0]);
        assert_eq!(before == after, stays, "{code}");
    }
}

#[test]
fn an_answer_says_whether_retries_help() {
    let daemon = warm("");
    let twice = |answer: &str| {
        let task = with(with(work(answer), "max_retries", json!(1)), "retry_delay", json!(0));
        daemon.run(&[task])[0]["attempts"].as_array().map(Vec::len)
    };
    assert_eq!(twice("answer = {'error': 'no'}"), Some(2));
    assert_eq!(twice("answer = {'error': 'no', 'permanent': True}"), Some(1));
}

#[test]
fn what_it_writes_to_stderr_is_its_tasks_output() {
    let daemon = warm("");
    let codes =
        ["sys.stderr.write('of one\\n')", "", "sys.stderr.write('x' * 300000)", "sys.stderr.write('of four\\n')"];
    let shown = daemon.run(&codes.map(work));
    let log = |task: &Value| {
        let asked = json!({"action": "logs", "task_id": task["task_id"], "limit": 1_000_000});
        daemon.ok(asked)["text"].as_str().expect("text").to_owned()
    };
    assert_eq!(pids(&shown).len(), 1);
    assert_eq!(
        (log(&shown[0]), log(&shown[1]), log(&shown[3])),
        ("of one\n".into(), String::new(), "of four\n".into())
    );
    assert_eq!(log(&shown[2]).len(), 300_000);
}

#[test]
fn a_line_and_an_answer_may_be_long() {
    let daemon = warm("");
    let length = 2 << 20;
    let task = json!({"name": "n", "function": "work", "max_retries": 0,
                      "params": {"do": "answer = {'result': task['params']['text']}", "text": "é".repeat(length)}});
    let shown = daemon.run(&[task, work("answer = {'result': tasks}")]);
    let said = |text: &str| text.chars().take(300).collect::<String>();
    assert_eq!(
        shown[0]["result"].as_str().map(|text| text.chars().count()),
        Some(length),
        "{}",
        said(&shown[0].to_string())
    );
    assert_eq!(shown[1]["result"], 2, "by the same worker");
}

#[test]
fn a_timeout_ends_the_worker_and_all_that_it_started() {
    let daemon = warm("");
    let child = daemon.work().join("child");
    let start = starting(&[], &child);
    let before = pid(&daemon.run(&[work(&start)])[0]);
    let child = pid_in(&child);
    let late = &daemon.run(&[with(work("time.sleep(600)"), "timeout", json!(0.2))])[0];
    assert_eq!((&late["status"], &late["error"]), (&json!("failed"), &json!("timed out after 0.2 s")), "{late}");
    gone(child);
    gone(process(before));
    assert_ne!(pid(&daemon.run(&[work("")])[0]), before);
}

#[test]
fn what_left_its_session_ends_with_the_worker() {
    let daemon = warm("");
    let escaped = daemon.work().join("escaped");
    let start = starting(&["setsid", "-f"], &escaped);
    let first = pid(&daemon.run(&[work(&start)])[0]);
    let escaped = pid_in(&escaped);
    // What dies meanwhile makes the keeper look at its children.
    daemon.run(&[support::shell("true"), work(""), support::shell("true")]);
    assert!(lives(escaped), "it is the worker's, not one task's");
    signal(process(first), "KILL");
    gone(escaped);
}

#[test]
fn a_worker_that_dies_without_a_task_is_replaced() {
    let daemon = warm("");
    for how in ["KILL", "TERM"] {
        let first = pid(&daemon.run(&[work("")])[0]);
        signal(process(first), how);
        gone(process(first));
        let next = daemon.run(&vec![work(""); 3]);
        assert!(next.iter().all(|task| task["status"] == "completed" && pid(task) != first), "{next:?}");
    }
    // One that ends as soon as it has answered, before anybody can know.
    let ends = "print(json.dumps(answer), flush=True); os._exit(0)";
    let shown = daemon.run(&vec![work(ends); 20]);
    assert!(shown.iter().all(|task| task["status"] == "completed"), "{shown:?}");
}

#[test]
fn what_a_worker_says_without_a_task_is_no_answer() {
    let daemon = warm("");
    let late = "import threading\ndef late():\n    time.sleep(0.05)\n    print('{\"result\": 1}', flush=True)\n\
                threading.Thread(target=late).start()";
    let first = pid(&daemon.run(&[work(late)])[0]);
    gone(process(first));
    let next = daemon.run(&vec![work(""); 3]);
    assert!(next.iter().all(|task| pid(task) != first), "{next:?}");
    let two = daemon.run(&[work("print('{\"result\": 1}\\n{\"result\": 2}', flush=True); answer = None"), work("")]);
    assert_eq!((&two[0]["result"], two[1]["status"].as_str()), (&json!(1), Some("completed")), "{two:?}");
}

#[test]
fn another_place_environment_or_limit_is_another_worker() {
    let daemon = warm(
        "[functions.busy]\ncommand = [\"python3\", \"-c\", \"import os, sys, json\\nfor line in sys.stdin: print(json.dumps({'result': {'pid': os.getpid()}}))\"]\nwarm = true\nlimits = {cpu = 5}\n",
    );
    let first = pid(&daemon.run(&[work("")])[0]);
    let answer = "answer['result'].update(cwd=os.getcwd(), own=os.environ.get('OWN'), mask=os.umask(0), names=sorted(n for n in os.environ if n.startswith('BATCH_EXECUTOR')))";
    let add = |fields: Value| {
        let mut request = json!({"action": "add_batch", "tasks": [work(answer)], "cwd": daemon.work()});
        request.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let mut client = daemon.connect();
        client.send(&request);
        let added = client.receive();
        assert_eq!(added["ok"], true, "{added}");
        daemon.wait();
        daemon.ok(json!({"action": "show", "task_id": added["data"]["first_task_id"]}))
    };
    let same = add(json!({}));
    assert_eq!(pid(&same), first, "{same}");
    assert_eq!(same["result"]["names"], json!(["BATCH_EXECUTOR_CLAIM", "BATCH_EXECUTOR_HOME"]), "of no one task");
    let elsewhere = add(json!({"cwd": "/"}));
    assert_eq!(elsewhere["result"]["cwd"], "/");
    let environment = std::env::var("PATH").expect("PATH");
    let other = add(json!({"environment": {"PATH": environment, "OWN": "é"}}));
    assert_eq!(other["result"]["own"], "é");
    let limited = &daemon.run(&[with(work(answer), "limits", json!({"umask": "027"}))])[0];
    assert_eq!(limited["result"]["mask"], 0o027, "{limited}");
    assert_eq!(pids(&[same, elsewhere, other, limited.clone()]).len(), 4);
    assert_eq!(pid(&daemon.run(&[work("")])[0]), first);
    let busy = daemon.run(&vec![of("busy", ""); 3]);
    assert_eq!(pids(&busy).len(), 3, "each has its own CPU time: {busy:?}");
}

#[test]
fn one_that_cannot_be_started_is_an_error_of_its_task() {
    let more = "[functions.absent]\ncommand = [\"/no/such/program\"]\nwarm = true\n\
                [functions.deaf]\ncommand = [\"true\"]\nwarm = true\n\
                [functions.once]\ncommand = [\"sh\", \"-c\", \"read line; echo \\\"{\\\\\\\"result\\\\\\\": $$}\\\"\"]\nwarm = true\n";
    let daemon = warm(more);
    let shown = daemon.run(&["absent", "deaf", "once", "once"].map(|name| of(name, "")));
    let error = |task: &Value| task["error"].as_str().unwrap_or_default().to_owned();
    assert!(error(&shown[0]).contains("`/no/such/program` is not there"), "{}", shown[0]);
    assert!(error(&shown[1]).contains("the worker"), "{}", shown[1]);
    assert!(shown[2]["result"].is_i64() && shown[3]["result"].is_i64(), "a program of one task is one too: {shown:?}");
}

#[test]
fn the_next_daemon_takes_the_answer() {
    let mut daemon = warm("");
    let (code, here, go) = waiting(&daemon);
    daemon.ok(json!({"action": "add_batch", "tasks": [work(&code), work("")]}));
    daemon.running(1);
    let first = pid_in(&here);
    daemon.kill();
    daemon.serve();
    std::fs::write(go, "").expect("written");
    daemon.wait();
    let tasks = daemon.tasks();
    let shown = tasks.iter().find(|task| pid(task) == i64::from(first)).unwrap_or_else(|| panic!("{tasks:?}"));
    assert_eq!((&shown["interruptions"], &shown["result"]["tasks"]), (&json!(0), &json!(1)), "{shown}");
    gone(first);
    assert_eq!(pids(&tasks).len(), 2, "what the next daemon declares may be another worker: {tasks:?}");
}

#[test]
fn nothing_is_left_of_a_worker_whose_keeper_is_killed() {
    let daemon = warm("");
    let escaped = daemon.work().join("escaped");
    let (code, here, go) = waiting(&daemon);
    let code = format!("{}\n{code}", starting(&["setsid", "-f"], &escaped));
    let id = daemon.ok(json!({"action": "add_batch", "tasks": [work(&code)]}))["first_task_id"].clone();
    let left = [pid_in(&here), pid_in(&escaped)];
    std::fs::write(go, "").expect("written");
    signal(daemon.keeper_pid(), "KILL");
    left.into_iter().for_each(gone);
    let again = daemon.until(&json!({"action": "show", "task_id": id}), |task| task["status"] == "completed");
    // It may have answered before, and its end been written.
    assert!(again["interruptions"] == 1 || again["attempts"].as_array().map(Vec::len) == Some(1), "{again}");
}

#[test]
fn a_cancelled_task_takes_its_worker_along() {
    let daemon = warm("");
    let (code, here, _) = waiting(&daemon);
    let id = daemon.ok(json!({"action": "add_batch", "tasks": [work(&code), work("")]}))["first_task_id"].clone();
    let first = pid_in(&here);
    daemon.ok(json!({"action": "cancel", "task_id": id}));
    daemon.wait();
    gone(first);
    let shown = daemon.ok(json!({"action": "show", "task_id": id}));
    assert_eq!((&shown["status"], &shown["signal"]), (&json!("cancelled"), &json!(15)), "{shown}");
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
    // One that ignores it and answers is cancelled all the same.
    let here = daemon.work().join("deaf");
    let deaf = format!(
        "import signal\ntold = []\nsignal.signal(15, lambda *_: told.append(1))\n\
         open({here:?}, 'w').write(str(os.getpid()))\nwhile not told: time.sleep(0.002)"
    );
    let id = daemon.ok(json!({"action": "add_batch", "tasks": [work(&deaf), work("")]}))["first_task_id"].clone();
    let first = pid_in(&here);
    daemon.ok(json!({"action": "cancel", "task_id": id}));
    daemon.wait();
    gone(first);
    assert_eq!(daemon.ok(json!({"action": "show", "task_id": id}))["status"], "cancelled");
}

#[test]
fn nothing_is_left_when_the_daemon_stops() {
    let mut daemon = warm("");
    let keeper = daemon.keeper_pid();
    let stubborn = "import signal\nsignal.signal(15, signal.SIG_IGN)\nimport threading\nthreading.Thread(target=lambda: time.sleep(600)).start()";
    let shown = daemon.run(&[work(""), work(stubborn)]);
    daemon.stop();
    gone(keeper);
    for task in &shown {
        assert!(!lives(process(pid(task))), "{task}");
    }
}

#[test]
fn the_declaration_is_read_strictly() {
    let daemon = Daemon::home_only();
    configure(&daemon, "wram = true\n");
    let refused = daemon.cli(&["config"]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("wram"));
    configure(&daemon, "[functions.x]\ncommand = [\"x\"]\nwarm = 1\n");
    assert_eq!(daemon.cli(&["config"]).status.code(), Some(78));
}
