//! Under a service manager: what it is told, the socket that it listens on, and the unit files.

mod support;

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::json;
use support::{Daemon, lives, shell, signal, until};

/// The longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `systemd-socket-activate` hands on of its environment.
const PASSED: &[&str] = &["-E", "BATCH_EXECUTOR_HOME", "-E", "XDG_CONFIG_HOME", "-E", "PATH"];

/// A service manager as far as the daemon sees it: a socket to which it is told how it goes.
struct Manager {
    told: Receiver<String>,
    socket: PathBuf,
}

impl Manager {
    fn new(daemon: &Daemon) -> Self {
        let socket = daemon.work().join("notify");
        let listener = UnixDatagram::bind(&socket).expect("a socket");
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = listener.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned();
                if tell.send(text).is_err() {
                    break;
                }
            }
        });
        Self { told, socket }
    }

    /// What it is told until a message has a line of this beginning; that message.
    fn until(&self, beginning: &str) -> String {
        loop {
            let text = self.told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {beginning}"));
            if text.lines().any(|line| line.starts_with(beginning)) {
                return text;
            }
        }
    }
}

#[test]
fn the_manager_is_told_how_it_goes_and_tasks_know_nothing_of_it() {
    let mut daemon = Daemon::home_only();
    let manager = Manager::new(&daemon);
    let socket = manager.socket.to_str().expect("text").to_owned();
    daemon.set("NOTIFY_SOCKET", &socket);
    daemon.set("WATCHDOG_USEC", "100000");
    daemon.set("INVOCATION_ID", "1234");
    daemon.spawn(&[]);
    manager.until("READY=1");
    let pid = daemon.pid();
    assert_eq!(manager.until("STATUS="), "STATUS=stopped: 0 queued, 0 running, 0 completed, 0 failed");
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("env"), shell("exit 1")], "defaults": {"max_retries": 0}}));
    manager.until("STATUS=stopped: 2 queued");
    daemon.ok(json!({"action": "start"}));
    manager.until("STATUS=stopped: 0 queued, 0 running, 1 completed, 1 failed");
    let seen = daemon.ok(json!({"action": "logs", "task_id": 1}))["text"].as_str().expect("text").to_owned();
    for name in ["NOTIFY_SOCKET", "WATCHDOG_", "INVOCATION_ID", "LISTEN_"] {
        assert!(!seen.lines().any(|line| line.starts_with(name)), "{seen}");
    }
    signal(pid, "USR2");
    assert!(manager.until("RELOADING=1").contains("\nMONOTONIC_USEC="));
    manager.until("READY=1");
    assert_eq!(daemon.pid(), pid);
    assert_eq!(daemon.cli(&["daemon", "stop", "--grace", "7"]).status.code(), Some(0));
    assert_eq!(manager.until("STOPPING=1"), "STOPPING=1\nEXTEND_TIMEOUT_USEC=17000000");
}

#[test]
fn a_client_wakes_a_daemon_whose_socket_the_manager_holds_and_which_leaves_it_there() {
    let mut daemon = Daemon::home_only();
    std::fs::create_dir(daemon.home()).expect("a home");
    let socket = daemon.home().join("daemon.sock");
    let listen = format!("--listen={}", socket.display());
    // It becomes the daemon when the first client comes.
    daemon.serve_by(&[&["systemd-socket-activate", &listen], PASSED].concat());
    let pid = daemon.pid();
    let status = json!({"action": "status"});
    let before = daemon.until(&status, |data| data["uptime"].as_f64() > Some(0.1))["uptime"].as_f64();
    signal(pid, "USR2");
    daemon.until(&status, |data| data["uptime"].as_f64() < before);
    assert_eq!(daemon.pid(), pid);
    assert_eq!(daemon.run(&[shell("true")])[0]["status"], "completed");
    assert_eq!(daemon.cli(&["daemon", "stop"]).status.code(), Some(0));
    until("the daemon has ended", || !lives(pid));
    assert!(socket.exists(), "it is the manager's");
    assert_eq!(daemon.ended(), Some(0));
}

#[test]
fn a_socket_that_is_not_the_homes_is_refused() {
    let daemon = Daemon::home_only();
    let elsewhere = daemon.work().join("other.sock");
    let mut activate = Command::new("systemd-socket-activate");
    let command = daemon.command(&["daemon"]);
    activate
        .arg(format!("--listen={}", elsewhere.display()))
        .args(PASSED)
        .arg(command.get_program())
        .args(command.get_args());
    activate.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = activate.stderr(std::process::Stdio::piped()).spawn().expect("it starts");
    until("somebody listens", || std::os::unix::net::UnixStream::connect(&elsewhere).is_ok());
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(70), "{said}");
    assert!(said.contains("the service manager hands over 1 sockets, the first at "), "{said}");
    assert!(said.contains("/home/daemon.sock`"), "{said}");
}

/// The unit files, with the program where it is.
fn units(folder: &Path) -> Vec<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let names = ["batch-executor.service", "batch-executor.socket", "batch-executor@.service"];
    names
        .iter()
        .map(|name| {
            let text = std::fs::read_to_string(source.join(name)).expect("a unit");
            let program = env!("CARGO_BIN_EXE_batch-executor");
            let text =
                text.replace("%h/.cargo/bin/batch-executor", program).replace("/usr/bin/batch-executor", program);
            let unit = folder.join(name);
            std::fs::write(&unit, text).expect("written");
            unit
        })
        .collect()
}

fn analyze(folder: &Path, arguments: &[&str], unit: &Path) -> (bool, String) {
    let mut command = Command::new("systemd-analyze");
    let output = command.args(arguments).arg(unit).env("XDG_RUNTIME_DIR", folder).output().expect("systemd-analyze");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[test]
fn the_units_are_good_and_the_system_ones_hardened() {
    let folder = tempfile::tempdir().expect("a folder");
    let units = units(folder.path());
    for unit in &units {
        let (good, said) = analyze(folder.path(), &["verify", "--man=no"], unit);
        assert!(good && said.is_empty(), "{}: {said}", unit.display());
    }
    let [.., template] = units.as_slice() else { panic!("no units") };
    let exposure = |most: &str| analyze(folder.path(), &["security", "--offline=true", "--threshold", most], template);
    assert!(exposure("55").0, "{}", exposure("55").1);
    let drop_in = folder.path().join("batch-executor@.service.d");
    std::fs::create_dir(&drop_in).expect("a folder");
    let strict = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/batch-executor@.service.d/strict.conf");
    std::fs::copy(strict, drop_in.join("strict.conf")).expect("copied");
    assert!(exposure("20").0, "{}", exposure("20").1);
    assert!(!exposure("1").0, "a threshold can be missed");
}
