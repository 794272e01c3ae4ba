//! What happens to a home: two daemons, what dead ones left, taken away under the daemon, limits of the system. One daemon
//! serves, what is wrong is said in a sentence, and no task is lost.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Daemon, lives, shell, until};

const PATIENCE: Duration = Duration::from_secs(60);

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the system's `prlimit` on a process.
fn limit(pid: i32, what: &str) {
    let status = Command::new("prlimit").args(["--pid", &pid.to_string(), what]).status().expect("prlimit");
    assert!(status.success(), "prlimit {what}");
}

fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").count()
}

/// Deletes a home as `rm -rf` does, again where the daemon made a file in it meanwhile.
fn delete_home(daemon: &Daemon) {
    until("the home is deleted", || match fs::remove_dir_all(daemon.home()) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => false,
        deleted => {
            deleted.expect("deleted");
            true
        }
    });
}

/// A task that runs until the gate opens.
fn held(daemon: &Daemon) -> Value {
    shell(&format!(
        "echo begun >> {w}/marks; while [ ! -e {w}/gate ]; do sleep 0.01; done; echo ended >> {w}/marks",
        w = daemon.work().display()
    ))
}

fn marks(daemon: &Daemon) -> String {
    fs::read_to_string(daemon.work().join("marks")).unwrap_or_default()
}

fn open_gate(daemon: &Daemon) {
    fs::write(daemon.work().join("gate"), "").expect("the gate opens");
}

#[test]
fn of_many_daemons_that_start_at_once_one_serves_and_the_others_name_it() {
    let daemon = Daemon::home_only();
    let mut children: Vec<_> = (0..6)
        .map(|_| {
            daemon
                .command(&["daemon"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("starts")
        })
        .collect();
    let serving = daemon.answers()["data"]["pid"].as_u64().expect("a pid");
    let at = children.iter().position(|child| u64::from(child.id()) == serving).expect("one of them");
    let mut one = children.remove(at);
    for child in children {
        let output = child.wait_with_output().expect("its end");
        assert_eq!(output.status.code(), Some(75), "{output:?}");
        // One that came before the pid was written names nobody.
        assert!(stderr(&output).contains("another daemon holds this home"), "{output:?}");
    }
    assert_eq!(daemon.answers()["data"]["pid"], serving);
    assert!(daemon.cli(&["daemon", "stop"]).status.success());
    assert_eq!(one.wait().expect("its end").code(), Some(0));
}

#[test]
fn what_dead_daemons_left_is_in_nobodys_way() {
    let mut daemon = Daemon::home_only();
    fs::create_dir(daemon.home()).expect("a folder");
    fs::set_permissions(daemon.home(), fs::Permissions::from_mode(0o700)).expect("a mode");
    // A socket that nobody serves, and locks of processes that are long gone, or of one that has nothing to do with it.
    for socket in ["daemon.sock", "daemon.new", "keeper.sock"] {
        drop(UnixListener::bind(daemon.home().join(socket)).expect("a socket"));
    }
    fs::write(daemon.home().join("daemon.lock"), std::process::id().to_string()).expect("a lock");
    fs::write(daemon.home().join("keeper.lock"), "").expect("a lock");
    fs::write(daemon.home().join("keeper.slots"), "no table").expect("a table");
    assert_eq!(daemon.cli(&["status", "--no-autostart"]).status.code(), Some(69));
    daemon.serve();
    assert_eq!(fs::read_to_string(daemon.home().join("daemon.lock")).expect("the lock"), daemon.pid().to_string());
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("true")]}));
    daemon.ok(json!({"action": "start"}));
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
}

#[test]
fn a_folder_in_the_place_of_the_socket_is_named() {
    let daemon = Daemon::home_only();
    fs::create_dir_all(daemon.home().join("daemon.sock")).expect("a folder");
    fs::set_permissions(daemon.home(), fs::Permissions::from_mode(0o700)).expect("a mode");
    let refused = daemon.refusing(&["daemon"]);
    assert_eq!(refused.status.code(), Some(70), "{refused:?}");
    assert!(stderr(&refused).contains("daemon.sock` is in the way of the socket"), "{refused:?}");
}

#[test]
fn a_daemon_whose_home_is_deleted_says_so_and_ends() {
    let mut daemon = Daemon::start();
    delete_home(&daemon);
    assert_eq!(daemon.ended(), Some(74));
    let log = daemon.log();
    assert!(log.contains("was deleted or moved under the daemon"), "{log}");
    daemon.serve();
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 0);
}

#[test]
fn nothing_is_acknowledged_that_a_deleted_home_loses() {
    let mut daemon = Daemon::start();
    let client = daemon.connect();
    delete_home(&daemon);
    // The daemon may end before it hears of the request.
    let (mut stream, mut line) = (client.stream(), String::new());
    if stream.write_all(b"{\"action\":\"add\",\"name\":\"n\",\"function\":\"simulate\"}\n").is_ok() {
        drop(BufReader::new(stream).read_line(&mut line));
    }
    assert!(!line.contains("\"ok\":true"), "{line}");
    assert_eq!(daemon.ended(), Some(74));
}

#[test]
fn a_home_that_is_moved_goes_on_at_its_new_place() {
    let mut daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": [held(&daemon), shell("true")]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    until("the task begins", || marks(&daemon) == "begun\n");
    let elsewhere = daemon.home().with_file_name("elsewhere");
    fs::rename(daemon.home(), &elsewhere).expect("moved");
    assert_eq!(daemon.ended(), Some(74));
    assert!(daemon.log().contains("was deleted or moved under the daemon"), "{}", daemon.log());
    fs::rename(&elsewhere, daemon.home()).expect("moved back");
    fs::rename(daemon.home(), &elsewhere).expect("and for good");
    let at = |arguments: &[&str]| daemon.cli(&[arguments, &["--home", elsewhere.to_str().expect("text")]].concat());
    let status = at(&["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_else(|error| panic!("{error}: {status:?}"));
    assert_eq!(status["data"]["counts"]["total"], 2);
    open_gate(&daemon);
    let waited = at(&["wait", "--timeout", "60"]);
    let stopped = at(&["daemon", "stop", "--grace", "0"]);
    assert_eq!(waited.status.code(), Some(0), "{waited:?}");
    assert!(stopped.status.success(), "{stopped:?}");
    assert_eq!(marks(&daemon), "begun\nended\n", "it ran once, under both daemons");
}

#[test]
fn the_keeper_of_a_deleted_home_leaves_nothing_in_a_new_one() {
    let mut daemon = Daemon::home_only();
    fs::create_dir(daemon.home()).expect("a folder");
    fs::set_permissions(daemon.home(), fs::Permissions::from_mode(0o700)).expect("a mode");
    // One that waits for the next daemon for a moment only.
    let mut keeper =
        daemon.command(&["keeper", "--patience-ms", "100"]).stdout(Stdio::piped()).spawn().expect("a keeper");
    let mut ready = String::new();
    BufReader::new(keeper.stdout.take().expect("a pipe")).read_line(&mut ready).expect("a line");
    let reaped = std::thread::spawn(move || keeper.wait().expect("its end"));
    daemon.serve();
    daemon.ok(json!({"action": "add_batch", "tasks": [held(&daemon)]}));
    daemon.ok(json!({"action": "start"}));
    until("the task begins", || marks(&daemon) == "begun\n");
    let keeper = daemon.keeper_pid();
    delete_home(&daemon);
    assert_eq!(daemon.ended(), Some(74));
    daemon.serve();
    assert_ne!(daemon.keeper_pid(), keeper);
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("sleep 600")]}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    open_gate(&daemon);
    assert!(reaped.join().expect("the old keeper leaves").success());
    assert!(daemon.home().join("keeper.sock").exists(), "the new one's socket is still there");
    assert!(!daemon.home().join("keeper.ends").exists(), "and nothing of the old one's");
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["running"], 1);
}

#[test]
fn a_daemon_without_descriptors_goes_on_when_there_are_some() {
    let mut daemon = Daemon::start();
    let keeper = daemon.keeper_pid();
    daemon.ok(json!({"action": "add_batch", "tasks": [held(&daemon), shell("true")]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    until("the task begins", || marks(&daemon) == "begun\n");
    let most = open_files(daemon.pid()) + 8;
    limit(daemon.pid(), &format!("--nofile={most}:4096"));
    let clients: Vec<_> =
        (0..32).map(|_| UnixStream::connect(daemon.home().join("daemon.sock")).expect("in the backlog")).collect();
    until("none is left", || open_files(daemon.pid()) >= most);
    open_gate(&daemon);
    until("the task ends", || marks(&daemon) == "begun\nended\n");
    assert!(lives(daemon.pid()));
    drop(clients);
    daemon.answers();
    assert_eq!(daemon.wait()["counts"]["completed"], 2);
    assert_eq!(daemon.keeper_pid(), keeper);
    assert_eq!(daemon.stop(), Some(0));
}

/// What a task came to that met a limit of the keeper, and the same task when the limit is gone.
fn keeper_limited(daemon: &Daemon, keeper: i32, code: &str, tight: &str, loose: &str) -> Value {
    let mut task = shell(code);
    task["max_retries"] = json!(1000);
    task["retry_delay"] = json!(0.05);
    limit(keeper, tight);
    daemon.ok(json!({"action": "add_batch", "tasks": [task]}));
    daemon.ok(json!({"action": "start"}));
    let tried = daemon.until(&json!({"action": "show", "task_id": 1}), |task| {
        task["attempts"].as_array().is_some_and(|attempts| attempts.iter().any(|attempt| attempt["error"].is_string()))
    });
    limit(keeper, loose);
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
    assert_eq!(daemon.keeper_pid(), keeper, "the keeper lives");
    tried["attempts"][0]["error"].clone()
}

#[test]
fn a_keeper_without_descriptors_says_so_and_tries_again() {
    let daemon = Daemon::start();
    let keeper = daemon.keeper_pid();
    let tight = format!("--nofile={}:4096", open_files(keeper));
    let error = keeper_limited(&daemon, keeper, "true", &tight, "--nofile=1024:4096");
    assert_eq!(error, "no process can be started: Too many open files (os error 24)");
}

#[test]
fn a_task_without_memory_says_so_and_is_tried_again() {
    let daemon = Daemon::start();
    let keeper = daemon.keeper_pid();
    let takes = "python3 -c 'bytearray(300 << 20)'";
    let error = keeper_limited(&daemon, keeper, takes, "--data=67108864:", "--data=unlimited:");
    assert!(error.as_str().is_some_and(|error| error.ends_with("MemoryError")), "{error}");
}

/// A user whose processes are counted apart from everybody else's.
const COUNTED: &str = "54321";

#[test]
fn a_keeper_without_processes_says_so_and_tries_again() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: only root can make another user's daemon");
        return;
    }
    let root = tempfile::tempdir().expect("a folder");
    let program = root.path().join("program");
    fs::copy(env!("CARGO_BIN_EXE_batch-executor"), &program).expect("a copy");
    let uid: u32 = COUNTED.parse().expect("a number");
    std::os::unix::fs::chown(root.path(), Some(uid), Some(uid)).expect("given away");
    let run_as_counted = |program: &Path, arguments: &[&str]| {
        Command::new("setpriv")
            .args(["--clear-groups", "--reuid", COUNTED, "--regid", COUNTED])
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("BATCH_EXECUTOR_HOME", root.path().join("home"))
            .current_dir(root.path())
            .stdin(Stdio::null())
            .output()
            .expect("the program runs")
    };
    let run = |arguments: &[&str]| run_as_counted(&program, arguments);
    let data = |arguments: &[&str]| -> Value {
        let output = run(&[&["--json"], arguments].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    let health = data(&["call", r#"{"action":"health"}"#]);
    let keeper = health["data"]["keeper_pid"].to_string();
    // Its own user may change the first of the two limits, and root of a container not always.
    let processes = |most: &str| {
        let limited = run_as_counted(Path::new("prlimit"), &["--pid", &keeper, &format!("--nproc={most}:")]);
        assert!(limited.status.success(), "{limited:?}");
    };
    processes("1");
    data(&["add", "--max-retries", "1000", "--retry-delay", "0.05", "--", "echo", "done"]);
    data(&["start"]);
    let begun = Instant::now();
    let tried = loop {
        let task = data(&["show", "1"]);
        if task["data"]["attempts"][0]["error"].is_string() || begun.elapsed() > PATIENCE {
            break task;
        }
    };
    processes("4096");
    let waited = run(&["wait", "--timeout", "60"]);
    let stopped = run(&["daemon", "stop", "--grace", "0"]);
    let error = &tried["data"]["attempts"][0]["error"];
    assert_eq!(error, "no process can be started: Resource temporarily unavailable (os error 11)");
    assert!(waited.status.success() && stopped.status.success(), "{waited:?} {stopped:?}");
}

#[test]
fn a_pid_that_has_come_round_is_somebody_elses() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/pids_come_round.sh");
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "bash"])
        .arg(script)
        .args([env!("CARGO_BIN_EXE_batch-executor").as_ref(), folder.path()])
        .output()
        .expect("unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains("not run: ") || stderr(&output).contains("unshare failed") {
        eprintln!("not run: pids cannot be chosen here: {said} {}", stderr(&output));
        return;
    }
    assert!(output.status.success() && said.ends_with("the bystander lives\n"), "{said}{}", stderr(&output));
}
