//! What a phone takes away: places, permissions, system calls, files in `/proc`, and the name of the program itself.

#[path = "support/phone.rs"]
mod phone;
mod support;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;

use phone::{Filter, HOME, PREFIX, Phone};
use serde_json::{Value, json};
use support::{shell, until};

const YEAR_S: i64 = 365 * 86_400;

/// What the CLI says there, which is fine.
fn cli(phone: &Phone, words: &[&str]) -> String {
    phone.says(&[&["batch-executor"], words].concat())
}

fn data(phone: &Phone, words: &[&str]) -> Value {
    let said = cli(phone, &[&["--json"], words].concat());
    serde_json::from_str::<Value>(&said).unwrap_or_else(|error| panic!("{error}: {said}"))["data"].take()
}

fn configure(phone: &Phone, text: &str) {
    let config = phone.path(HOME).join(".config/batch-executor/config.toml");
    std::fs::create_dir_all(config.parent().expect("a folder")).expect("a folder");
    std::fs::write(config, text).expect("written");
}

fn on(filter: Filter) -> Phone {
    let mut phone = Phone::new();
    phone.set_clock(0);
    phone.boots(filter);
    phone
}

#[test]
fn the_phone_is_one() {
    let phone = on(Filter::Missing);
    let signal = |output: &Output| output.status.signal();
    let said = |words: &[&str]| String::from_utf8_lossy(&phone.run(words).stderr).into_owned();
    for gone in ["/bin/sh", "/usr", "/tmp", "/etc", "/run", "/var"] {
        assert!(!phone.path(gone).exists(), "{gone}");
    }
    for denied in ["stat", "vmstat", "uptime", "sys/kernel/random/boot_id"] {
        assert!(said(&["cat", &format!("/proc/{denied}")]).contains("Permission denied"), "{denied}");
    }
    assert!(said(&["sh", "-c", "touch one; ln one two"]).contains("Permission denied"));
    phone.says(&["sh", "-c", "read -r pid rest < /proc/self/stat; [ $pid = $$ ] && [ $PPID = 0 ]"]);
    let phone = on(Filter::Killing);
    let output = phone.run(&["bash", "-c", "[ -w . ]"]);
    assert_eq!(signal(&output), Some(libc::SIGSYS), "bash asks for faccessat2(2): {output:?}");
}

/// All that the program can do, at least once, under the filter that kills.
#[test]
fn nothing_of_the_program_makes_a_call_that_android_kills_for() {
    let phone = on(Filter::Killing);
    configure(&phone, "[runtimes.python]\nwarm = true\n");
    let batch = json!([
        {"name": "s", "function": "simulate", "params": {"duration": 0.01, "fail": 1}, "retry_delay": 0.01},
        {"name": "c", "function": "command", "params": {"argv": ["sleep", "0.01"]}},
        {"name": "t", "function": "code_execution", "params": {"runtime": "terminal", "code": "echo said; echo >&2"}},
        {"name": "p", "function": "code_execution", "params": {"runtime": "python", "code": "print(1)"}},
        {"name": "f", "function": "custom_function",
         "params": {"code": "def process(x):\n return x", "args": {"x": 1}}},
        {"name": "long", "function": "code_execution",
         "params": {"runtime": "terminal", "code": "while read -r line; do echo $line; done", "stdin": format!("{}\n", "x".repeat(1000)).repeat(200)}},
        {"name": "late", "function": "command", "params": {"argv": ["sleep", "100"]}, "timeout": 0.1, "max_retries": 0},
        {"name": "limited", "function": "command", "params": {"argv": ["true"]},
         "limits": {"memory": 1_000_000_000, "cpu_time": 10, "open_files": 100, "nice": 5}},
    ]);
    std::fs::write(phone.path(HOME).join("batch.json"), batch.to_string()).expect("written");
    assert_eq!(data(&phone, &["add-batch", "batch.json"])["added"], 8);
    cli(&phone, &["start", "--keep"]);
    let output = phone.run(&["batch-executor", "wait"]);
    assert_eq!(output.status.code(), Some(1), "one timed out: {output:?}");
    assert_eq!((phone.count("completed"), phone.count("failed")), (7, 1));
    let long = data(&phone, &["add", "--", "sleep", "100"])["task_id"].to_string();
    phone.ok(&json!({"action": "wait", "task_ids": [1]}));
    until("it runs", || phone.count("running") == 1);
    cli(&phone, &["daemon", "restart"]);
    assert_eq!(phone.count("running"), 1, "it goes on under the next daemon and keeper");
    cli(&phone, &["cancel", &long]);
    cli(&phone, &["logs", "6"]);
    for format in ["json", "jsonl", "csv"] {
        cli(&phone, &["export", "--format", format, "--output-file", &format!("out.{format}")]);
    }
    cli(&phone, &["backup", "copy.db"]);
    cli(&phone, &["results"]);
    let said = cli(&phone, &["doctor"]);
    assert!(said.lines().any(|line| line.contains("warm python") && line.ends_with(" on")), "{said}");
    cli(&phone, &["demo"]);
    cli(&phone, &["selftest", "--cycles", "1"]);
    phone.kill(|one| one.is("keeper"));
    cli(&phone, &["retry", "7"]);
    until("it failed again", || phone.count("failed") == 1);
    cli(&phone, &["clear"]);
    cli(&phone, &["daemon", "stop"]);
    until("all has ended", || phone.processes().is_empty());
}

/// A daemon that sees the phone's clock; one that a client starts does not.
fn serve(phone: &Phone) {
    phone.leave(&["batch-executor", "daemon"]);
    phone.ok(&json!({"action": "status"}));
}

fn gone(phone: &Phone, words: &[&str]) {
    let chosen: Vec<i32> =
        phone.processes().iter().filter(|one| words.iter().any(|word| one.is(word))).map(|one| one.pid).collect();
    phone.kill(|one| chosen.contains(&one.pid));
    // Not before it is reaped has it let go of its lock.
    until("they have ended", || chosen.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
}

#[test]
fn a_clock_that_is_set_is_no_boot_where_boots_can_only_be_guessed() {
    let phone = on(Filter::Missing);
    serve(&phone);
    let mut delayed = shell("echo early");
    delayed["delay"] = json!(3600);
    phone.ok(&json!({"action": "add_batch", "tasks": [delayed, shell("exec sleep 1000")]}));
    phone.ok(&json!({"action": "start", "keep": true}));
    let waits = || {
        let task = phone.ok(&json!({"action": "show", "task_id": 1}));
        let reason = task["reason"].as_str().expect("a reason").to_owned();
        reason.split(' ').find_map(|word| word.parse::<f64>().ok()).unwrap_or_else(|| panic!("no number: {reason}"))
    };
    for (ahead, dies) in [(YEAR_S, &["daemon"][..]), (-YEAR_S, &["daemon", "keeper"])] {
        until("it runs", || phone.count("running") == 1);
        phone.set_clock(ahead);
        gone(&phone, dies);
        serve(&phone);
        until("it runs again, or still", || phone.count("running") == 1);
        assert!((3000.0..=3600.0).contains(&waits()), "set by {ahead} s, it waits {}", waits());
    }
    assert_eq!(phone.processes().iter().filter(|one| one.leads_task).count(), 1, "the lost one is gone");
    // It boots: what was slept and switched off is the wall clock's to tell.
    phone.ok(&json!({"action": "stop", "graceful": false, "wait": true}));
    cli(&phone, &["daemon", "stop"]);
}

#[test]
fn where_the_kernel_runs_a_linker_the_program_finds_itself() {
    let phone = on(Filter::Missing);
    // As termux-exec does it for every program there: what runs is the linker, and a variable has the program.
    let linked = format!("{PREFIX}/bin/linked");
    let script = format!(
        "#!{PREFIX}/bin/sh\nexport TERMUX_EXEC__PROC_SELF_EXE={linked}\nexec {} {PREFIX}/bin/batch-executor \"$@\"\n",
        phone.linker.display()
    );
    phone.write(&linked, &script);
    let reader = format!("{PREFIX}/bin/cat");
    configure(&phone, &format!("[secrets.word]\ncommand = [\"{reader}\", \"{HOME}/word\"]\n"));
    std::fs::write(phone.path(HOME).join("word"), "hidden").expect("written");
    // The daemon, started by the client; its keeper; the reader of secrets, started by the keeper; both replaced.
    let ask = |words: &[&str]| phone.says(&[&["linked"], words].concat());
    let reads_it = ["add", "--secret", "TOKEN=word", "--", "sh", "-c", "[ $TOKEN = hidden ]"];
    ask(&reads_it);
    ask(&["start", "--keep"]);
    ask(&["wait"]);
    ask(&["daemon", "restart"]);
    ask(&reads_it);
    ask(&["wait"]);
    assert_eq!(phone.count("completed"), 2);
    let linker = std::fs::read_link(format!("/proc/{}/exe", phone.processes()[0].pid)).expect("a program");
    assert!(linker.display().to_string().contains("/ld-"), "{}", linker.display());
    for word in ["daemon", "keeper"] {
        let found = phone.processes().into_iter().filter(|one| one.words.iter().any(|is| is == word)).count();
        assert_eq!(found, 1, "{word}");
    }
    ask(&["daemon", "stop"]);
}

#[test]
fn nothing_needs_a_folder_for_temporary_files() {
    let mut phone = on(Filter::Missing);
    phone.set("TMPDIR", "/gone");
    cli(&phone, &["add", "--", "true"]);
    cli(&phone, &["add", "python", "--function", "code_execution", "-p", "runtime=python", "-p", "code=print(1)"]);
    cli(&phone, &["start"]);
    cli(&phone, &["wait"]);
    assert_eq!(phone.count("completed"), 2);
    cli(&phone, &["daemon", "stop"]);
}
