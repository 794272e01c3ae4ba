//! `service` and the units under a real `systemd --user`: what its user sees, and what becomes of tasks when the daemon is killed,
//! hangs, is replaced or stopped.

mod support;
#[path = "support/systemd.rs"]
mod systemd;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::until;
use systemd::{PROGRAM, Systemd};

const SERVICE: &str = "batch-executor.service";
const SOCKET: &str = "batch-executor.socket";
/// A task that notes that it began and waits for its word; told to end, it notes that and ends as if all were well.
const WAITS: &str =
    "trap 'echo told >> told; exit 0' TERM; echo began >> began; until [ -e go ]; do sleep 0.01; done; echo ran >> ran";

/// A user whose daemon is a service.
struct User {
    manager: Systemd,
}

impl User {
    /// Who has it installed; None where no user manager can be had.
    fn with_service(flags: &[&str]) -> Option<Self> {
        let user = Self { manager: Systemd::of_a_user()? };
        let (code, said) = user.program(&[&["service", "install"], flags].concat());
        assert_eq!(code, Some(0), "{said}");
        Some(user)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.manager.run(program, arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    }

    /// The program, which starts no daemon by itself.
    fn program(&self, arguments: &[&str]) -> (Option<i32>, String) {
        self.run(PROGRAM, &[&["--no-autostart"], arguments].concat())
    }

    fn systemctl(&self, arguments: &[&str]) -> (Option<i32>, String) {
        self.run("systemctl", &[&["--user", "--no-pager"], arguments].concat())
    }

    /// What systemd must do.
    fn ordered(&self, arguments: &[&str]) {
        let (code, said) = self.systemctl(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    }

    /// A property of the service.
    fn is(&self, property: &str) -> String {
        let (_, said) = self.systemctl(&["show", "--value", "--property", property, SERVICE]);
        said.trim().to_owned()
    }

    fn becomes(&self, property: &str, value: &str) {
        until(&format!("{property} is {value}"), || self.is(property) == value);
    }

    /// One request, whose data is wanted.
    fn ok(&self, request: &Value) -> Value {
        let (code, said) = self.program(&["--json", "call", &request.to_string()]);
        assert_eq!(code, Some(0), "{request}: {said}");
        let mut answer: Value = serde_json::from_str(&said).expect("JSON");
        answer["data"].take()
    }

    fn keeper(&self) -> Value {
        self.ok(&json!({"action": "health"}))["keeper_pid"].take()
    }

    /// Adds a task and lets it begin.
    fn a_task_waits(&self) {
        let task =
            json!({"action": "add", "name": "waits", "function": "command", "params": {"argv": ["sh", "-c", WAITS]}});
        self.ok(&task);
        self.ok(&json!({"action": "start", "keep": true}));
        self.noted("began", 1);
    }

    /// Lets it end; it must have run once.
    fn the_task_ends(&self) -> Value {
        std::fs::write(self.file("go"), "").expect("written");
        self.ok(&json!({"action": "wait"}));
        self.noted("ran", 1);
        let task = self.ok(&json!({"action": "show", "task_id": 1}));
        assert_eq!((&task["status"], &task["retry_count"]), (&json!("completed"), &json!(0)), "{task}");
        task
    }

    /// Waits until a task has noted something so often.
    fn noted(&self, name: &str, times: usize) {
        let count = || std::fs::read_to_string(self.file(name)).unwrap_or_default().lines().count();
        until(&format!("{name} is there {times} times"), || count() == times);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.manager.folder().join(name)
    }

    /// More for the unit, as `systemctl edit` writes it.
    fn edit(&self, text: &str) {
        let folder = self.file(".config/systemd/user/batch-executor.service.d");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("override.conf"), text).expect("written");
        self.ordered(&["daemon-reload"]);
    }
}

#[test]
fn its_user_sees_how_it_goes_and_nothing_is_left_of_it() {
    let Some(user) = User::with_service(&[]) else { return };
    let states = ["Type", "NotifyAccess", "ActiveState", "SubState"].map(|property| user.is(property));
    assert_eq!(states, ["notify", "main", "active", "running"]);
    user.becomes("StatusText", "stopped: 0 queued, 0 running, 0 completed, 0 failed");
    user.ok(&json!({"action": "add_batch", "defaults": {"function": "command", "max_retries": 0}, "tasks": [
        {"params": {"argv": ["cat", "/proc/self/cgroup"]}}, {"params": {"argv": ["sh", "-c", "echo no >&2; exit 3"]}},
    ]}));
    user.ok(&json!({"action": "start"}));
    user.becomes("StatusText", "stopped: 0 queued, 0 running, 1 completed, 1 failed");
    // `Delegate=yes`: each task has a group of its own in the service's.
    let log = user.ok(&json!({"action": "logs", "task_id": 1}))["text"].take();
    let group = user.is("ControlGroup");
    let own = format!("0::{group}/tasks-");
    let is_own = |line: &str| line.strip_prefix(&own).is_some_and(|rest| rest.ends_with("/1"));
    assert!(log.as_str().expect("text").lines().any(is_own), "{group}: {log}");
    let (code, said) = user.program(&["service", "status"]);
    assert_eq!(code, Some(0), "{said}");
    for part in
        ["batch-executor.service: as it was written", "active (running)", "\"stopped: 0 queued, 0 running, 1 completed"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The journal takes what it was sent in its own time.
    until("the service's log has it", || {
        let (code, said) = user.program(&["service", "logs"]);
        code == Some(0) && said.contains("an attempt ended task_id=2 batch_id=1")
    });
    let of_the_task = ["--user", "--output=cat", "--unit=batch-executor", "TASK_ID=2"];
    until("it is found by the task", || user.run("journalctl", &of_the_task).1.contains("error=\"exit code 3: no\""));

    let (code, said) = user.program(&["service", "uninstall"]);
    assert!(code == Some(0) && !said.contains("warning"), "{said}");
    assert_eq!(user.systemctl(&["list-units", "--all", "--no-legend", "batch-executor.*"]), (Some(0), String::new()));
    let left = user.manager.run("find", &[".config", "-name", "batch-executor*"]).stdout;
    assert_eq!(String::from_utf8_lossy(&left), "");
    assert_eq!(user.program(&["status"]).0, Some(69));
    until("its control group is gone", || {
        !user.manager.run("test", &["-e", &format!("/sys/fs/cgroup{group}")]).status.success()
    });
}

#[test]
fn a_killed_daemon_comes_back_and_its_task_ran_on() {
    let Some(user) = User::with_service(&[]) else { return };
    user.a_task_waits();
    let (keeper, daemon) = (user.keeper(), user.is("MainPID"));
    user.run("kill", &["-KILL", &daemon]);
    user.becomes("NRestarts", "1");
    user.becomes("ActiveState", "active");
    assert_ne!(user.is("MainPID"), daemon);
    assert_eq!(user.keeper(), keeper);
    let task = user.the_task_ends();
    assert_eq!((task["attempts"].as_array().map(Vec::len), &task["interruptions"]), (Some(1), &json!(0)));
    user.noted("began", 1);
}

#[test]
fn a_daemon_that_hangs_is_replaced() {
    let Some(user) = User::with_service(&[]) else { return };
    user.edit("[Service]\nWatchdogSec=1\nRestartSec=100ms\n");
    user.ordered(&["restart", SERVICE]);
    user.a_task_waits();
    let (keeper, daemon) = (user.keeper(), user.is("MainPID"));
    user.run("kill", &["-STOP", &daemon]);
    user.becomes("NRestarts", "1");
    user.becomes("ActiveState", "active");
    assert_eq!(user.keeper(), keeper);
    user.the_task_ends();
    user.noted("began", 1);
    let (_, said) = user.run("journalctl", &["--user", "--output=cat", "--unit=batch-executor"]);
    assert!(said.contains("Watchdog timeout"), "{said}");
}

#[test]
fn a_reload_replaces_the_daemon_under_a_running_task() {
    let Some(user) = User::with_service(&[]) else { return };
    user.a_task_waits();
    let daemon = user.is("MainPID");
    let uptime = || user.ok(&json!({"action": "status"}))["uptime"].as_f64().expect("seconds");
    let before = uptime();
    user.ordered(&["reload", SERVICE]);
    until("another program serves", || uptime() < before);
    user.becomes("ActiveState", "active");
    assert_eq!((user.is("MainPID"), user.is("NRestarts")), (daemon, "0".to_owned()));
    user.the_task_ends();
    user.noted("began", 1);
}

#[test]
fn stopped_by_systemd_its_tasks_are_queued_again() {
    let Some(user) = User::with_service(&[]) else { return };
    user.a_task_waits();
    user.ordered(&["stop", SERVICE]);
    assert_eq!((user.is("ActiveState"), user.is("Result")), ("inactive".to_owned(), "success".to_owned()));
    user.noted("told", 1);
    user.ordered(&["start", SERVICE]);
    user.noted("began", 2);
    let task = user.the_task_ends();
    let outcomes: Vec<&Value> = task["attempts"].as_array().expect("attempts").iter().map(|a| &a["outcome"]).collect();
    assert_eq!((outcomes, &task["interruptions"]), (vec![&json!("stopped"), &json!("completed")], &json!(0)));
}

#[test]
fn a_wrong_configuration_is_not_tried_again() {
    let Some(user) = User::with_service(&[]) else { return };
    user.edit("[Service]\nEnvironment=BATCH_EXECUTOR_GRACE=soon\nRestartSec=1ms\n");
    let (code, said) = user.systemctl(&["restart", SERVICE]);
    assert_eq!(code, Some(1), "{said}");
    let states = ["ActiveState", "ExecMainStatus", "NRestarts"].map(|property| user.is(property));
    assert_eq!(states, ["failed", "78", "0"]);
    // systemd would show a failed unit for as long as it runs.
    std::fs::remove_dir_all(user.file(".config/systemd/user/batch-executor.service.d")).expect("removed");
    assert_eq!(user.program(&["service", "uninstall"]).0, Some(0));
    assert_eq!(user.systemctl(&["list-units", "--all", "--no-legend", "batch-executor.*"]), (Some(0), String::new()));
}

#[test]
fn on_demand_the_first_client_starts_it() {
    let Some(user) = User::with_service(&["--on-demand"]) else { return };
    let is_active = |unit: &str| user.systemctl(&["is-active", unit]).1;
    assert_eq!((is_active(SOCKET), is_active(SERVICE)), ("active\n".to_owned(), "inactive\n".to_owned()));
    user.a_task_waits();
    assert_eq!(is_active(SERVICE), "active\n");
    user.the_task_ends();
    // Also after one that was killed, before systemd would have started the next.
    user.run("kill", &["-KILL", &user.is("MainPID")]);
    assert_eq!(user.ok(&json!({"action": "status"}))["counts"]["completed"], 1);
    // From one to the other and back.
    for (flags, listens) in
        [(vec!["service", "install"], "inactive\n"), (vec!["service", "install", "--on-demand"], "active\n")]
    {
        let (code, said) = user.program(&flags);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(is_active(SOCKET), listens);
        assert_eq!(user.ok(&json!({"action": "status"}))["counts"]["completed"], 1);
    }
    assert_eq!(user.program(&["service", "uninstall"]).0, Some(0));
    assert_eq!(is_active(SOCKET), "inactive\n");
    assert_eq!(user.program(&["status"]).0, Some(69));
}
