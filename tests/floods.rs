//! Stopped processes, clients that do not read, that vanish, that are too many: the others go on, and memory and
//! descriptors stay bounded.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use support::{Daemon, shell, signal, until};

const MIB: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process has in memory, in bytes.
fn resident(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.split_whitespace().next().and_then(|kib| kib.parse::<usize>().ok()).expect("a number") * 1024
}

fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").count()
}

fn connect(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.home().join("daemon.sock")).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn line_of(stream: &UnixStream) -> Value {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

fn held(daemon: &Daemon) -> Value {
    let work = daemon.work();
    let work = work.display();
    shell(&format!(
        "echo begun >> {work}/marks; while [ ! -e {work}/gate ]; do sleep 0.01; done; echo ended >> {work}/marks"
    ))
}

fn marks(daemon: &Daemon) -> String {
    fs::read_to_string(daemon.work().join("marks")).unwrap_or_default()
}

fn open_gate(daemon: &Daemon) {
    fs::write(daemon.work().join("gate"), "").expect("the gate opens");
}

fn with_a_held_task() -> Daemon {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": [held(&daemon), shell("true")]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    until("the task begins", || marks(&daemon) == "begun\n");
    daemon
}

/// A stopped process that goes on when this is dropped, so that a failed test leaves none behind.
struct Stopped(i32);

impl Stopped {
    fn new(pid: i32) -> Self {
        signal(pid, "STOP");
        until("the process is stopped", || {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
        });
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

#[test]
fn what_runs_goes_on_while_the_daemon_is_stopped() {
    let daemon = with_a_held_task();
    // The end may be heard before the additions: then nothing is left to run, and the executor would stop.
    daemon.ok(json!({"action": "start", "keep": true}));
    let stopped = Stopped::new(daemon.pid());
    let mut asking: Vec<_> = (0..50).map(|_| connect(&daemon)).collect();
    for stream in &mut asking {
        stream
            .write_all(b"{\"action\":\"add\",\"name\":\"n\",\"function\":\"simulate\",\"params\":{\"duration\":0}}\n")
            .expect("sent");
    }
    open_gate(&daemon);
    until("the task ends", || marks(&daemon) == "begun\nended\n");
    drop(stopped);
    assert!(asking.iter().all(|stream| line_of(stream)["ok"] == true));
    assert_eq!(daemon.wait()["counts"]["completed"], 52);
}

#[test]
fn clients_are_answered_while_the_keeper_is_stopped() {
    let daemon = with_a_held_task();
    let stopped = Stopped::new(daemon.keeper_pid());
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("true"), shell("true")]}));
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["queued"], 3);
    assert_eq!(daemon.tasks().len(), 4);
    open_gate(&daemon);
    drop(stopped);
    assert_eq!(daemon.wait()["counts"]["completed"], 4);
}

#[test]
fn a_new_daemon_serves_before_a_stopped_keeper_answers() {
    let mut daemon = with_a_held_task();
    let keeper = daemon.keeper_pid();
    let stopped = Stopped::new(keeper);
    daemon.kill();
    for _ in 0..2 {
        daemon.serve();
        let status = daemon.ok(json!({"action": "status"}));
        assert_eq!(status["reason"], "waiting for the keeper", "{status}");
        assert_eq!(status["counts"]["running"], 1, "{status}");
        daemon.ok(json!({"action": "add_batch", "tasks": [shell("true")]}));
        // It is about what the keeper has, so it waits; and holds nobody up when the daemon ends.
        let mut waiting = connect(&daemon);
        waiting.write_all(b"{\"action\":\"cancel\",\"task_id\":1}\n").expect("sent");
        daemon.ok(json!({"action": "results"}));
        assert_eq!(daemon.stop(), Some(0));
    }
    daemon.serve();
    drop(stopped);
    open_gate(&daemon);
    assert_eq!(daemon.wait()["counts"]["completed"], 4);
    assert_eq!(daemon.keeper_pid(), keeper);
    assert_eq!(marks(&daemon), "begun\nended\n", "it ran once, under all of them");
    assert_eq!(daemon.ok(json!({"action": "status"}))["reason"], "done");
}

#[test]
fn a_daemon_ends_that_a_stopped_keeper_does_not_answer() {
    let mut daemon = with_a_held_task();
    let stopped = Stopped::new(daemon.keeper_pid());
    let mut waiting = connect(&daemon);
    waiting.write_all(b"{\"action\":\"start\",\"max_concurrent\":3}\n").expect("sent");
    daemon.ok(json!({"action": "status"}));
    assert_eq!(daemon.stop(), Some(0));
    assert!(daemon.log().contains("the keeper does not answer"), "{}", daemon.log());
    daemon.serve();
    drop(stopped);
    open_gate(&daemon);
    assert_eq!(daemon.wait()["counts"]["completed"], 2);
    assert_eq!(marks(&daemon), "begun\nended\n", "it ran once, under both");
}

#[test]
fn who_reads_nothing_holds_up_nobody_else() {
    let daemon = Daemon::start();
    let tasks: Vec<Value> = (0..2000)
        .map(|i| json!({"name": format!("task {i}"), "function": "simulate", "params": {"pad": "x".repeat(500)}}))
        .collect();
    daemon.ok(json!({"action": "add_batch", "tasks": tasks}));
    let before = resident(daemon.pid());
    let mut greedy: Vec<_> = (0..8).map(|_| connect(&daemon)).collect();
    for stream in &mut greedy {
        stream.set_nonblocking(true).expect("a mode");
        let mut sent = 0;
        // Until nothing more is taken: the daemon stops reading from who does not read.
        while sent < 64 * MIB {
            match stream.write(b"{\"action\":\"results\"}\n{\"action\":\"status\",\"detailed\":true}\n") {
                Ok(length) => sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(sent < 64 * MIB, "it was read to the end");
    }
    for _ in 0..50 {
        assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 2000);
    }
    let grown = resident(daemon.pid()).saturating_sub(before);
    assert!(grown < 96 * MIB, "{grown}");
    assert_eq!(daemon.cli(&["daemon", "stop"]).status.code(), Some(0));
}

#[test]
fn who_vanishes_in_the_middle_of_a_line_leaves_nothing() {
    let daemon = Daemon::start();
    let (files, before) = (open_files(daemon.pid()), resident(daemon.pid()));
    let half = format!(
        "{{\"action\":\"add\",\"name\":\"half\",\"function\":\"simulate\",\"params\":{{\"pad\":\"{}",
        "x".repeat(MIB)
    );
    for _ in 0..200 {
        connect(&daemon).write_all(half.as_bytes()).expect("sent");
    }
    until("their connections are closed", || open_files(daemon.pid()) <= files + 1);
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 0);
    let grown = resident(daemon.pid()).saturating_sub(before);
    assert!(grown < 64 * MIB, "{grown}");
}

#[test]
fn a_thousand_idle_clients_shut_nobody_out_who_has_no_connection() {
    let daemon = Daemon::start();
    let (files, before) = (open_files(daemon.pid()), resident(daemon.pid()));
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(4096).max(soft), hard).expect("descriptors for a thousand");
    let idle: Vec<_> = (0..1000).map(|_| connect(&daemon)).collect();
    let refused = line_of(idle.last().expect("a thousand"));
    assert_eq!(refused["error"]["code"], "busy", "{refused}");
    let message = refused["message"].as_str().expect("a sentence");
    assert!(message.starts_with("all 512 connections are taken"), "{message}");
    for arguments in [&["add", "n", "--function", "simulate"][..], &["status"], &["results"], &["daemon", "status"]] {
        let output = daemon.cli(arguments);
        assert!(output.status.success(), "{arguments:?} {output:?}");
    }
    let grown = resident(daemon.pid()).saturating_sub(before);
    assert!(grown < 32 * MIB, "{grown}");
    drop(idle);
    // The readers of the queue are opened when they are needed: four, with three files each.
    until("their connections are closed", || open_files(daemon.pid()) <= files + 12);
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 1);
}

#[test]
fn ten_thousand_connections_leave_nothing() {
    let daemon = Daemon::start();
    let one = || {
        let mut stream = connect(&daemon);
        stream.write_all(b"{\"action\":\"status\"}\n").expect("sent");
        assert_eq!(line_of(&stream)["ok"], true);
    };
    (0..500).for_each(|_| one());
    let (files, before) = (open_files(daemon.pid()), resident(daemon.pid()));
    (0..10_000).for_each(|_| one());
    until("the last is closed", || open_files(daemon.pid()) <= files);
    let grown = resident(daemon.pid()).saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown}");
}

#[test]
fn garbage_for_the_keeper_costs_a_connection_and_no_task() {
    let daemon = with_a_held_task();
    let keeper = daemon.keeper_pid();
    for garbage in [&b"\xff\xff\xff\xff garbage"[..], b"\x03\0\0\0\x93\x01\x02", b"\x40\0\0\0{}", b""] {
        let mut stream = UnixStream::connect(daemon.home().join("keeper.sock")).expect("a connection");
        // The daemon may be back already, and have its place.
        drop(stream.write_all(garbage));
        drop(stream);
        // The daemon was thrown off and is back.
        daemon.until(&json!({"action": "health"}), |health| health["keeper_pid"] == keeper);
        daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    }
    open_gate(&daemon);
    assert_eq!(daemon.wait()["counts"]["completed"], 2);
    assert_eq!(marks(&daemon), "begun\nended\n");
    assert_eq!(daemon.keeper_pid(), keeper);
}
