//! Control groups: where some are delegated each task has its own, and all that it has become is suspended and ended with it;
//! where there are none, what needs them is refused.

mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Daemon, lives, shell, until};

/// A folder of the machine's control groups (version 2), as an administrator delegates it. Needs root, as `make test` has it in CI.
struct Delegated(PathBuf);

impl Delegated {
    fn new() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
        let mount = mounts.lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[2] == "cgroup2").then(|| words[1].to_owned())
        });
        let folder = Path::new(&mount.expect("control groups, version 2")).join(format!("bx-{}", fastrand::u64(..)));
        std::fs::create_dir(&folder).expect("root may make one");
        Self(folder)
    }

    fn daemon(&self) -> Daemon {
        Daemon::start_with(&[("BATCH_EXECUTOR_CGROUPS", &self.0.display().to_string())])
    }

    /// The groups of attempts, of every home.
    fn groups(&self) -> Vec<PathBuf> {
        folders(&self.0).iter().flat_map(|tasks| folders(tasks)).collect()
    }
}

fn folders(within: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(within).expect("a folder").map(|entry| entry.expect("an entry"));
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for folder in folders(&self.0).into_iter().chain([self.0.clone()]) {
            drop(std::fs::remove_dir(folder));
        }
    }
}

/// Nobody in particular.
const USER: &str = "65534";

/// Leaves a process behind that has shed its session, its group, its parent and its environment.
const ESCAPES: &str = "setsid env -i sh -c 'echo $$ > escaped.new; mv escaped.new escaped; exec sleep 600' & until [ -e escaped ]; do sleep 0.01; done";

fn escaped(daemon: &Daemon) -> i32 {
    let file = daemon.work().join("escaped");
    until("it escapes", || file.exists());
    std::fs::read_to_string(file).expect("a pid").trim().parse().expect("a number")
}

#[test]
fn what_escapes_ends_with_its_own_task_while_others_run() {
    let delegated = Delegated::new();
    let daemon = delegated.daemon();
    let waits = "until [ -e go ]; do sleep 0.01; done";
    daemon.ok(json!({"action": "add_batch", "tasks": [shell(&format!("{ESCAPES}; {waits}")), shell("sleep 600")]}));
    daemon.ok(json!({"action": "start"}));
    let escaped = escaped(&daemon);
    assert!(lives(escaped));
    daemon.running(2);
    assert_eq!(delegated.groups().len(), 2);
    std::fs::write(daemon.work().join("go"), "").expect("written");
    daemon.until(&json!({"action": "show", "task_id": 1}), |task| task["status"] == "completed");
    until("what escaped has ended", || !lives(escaped));
    assert_eq!(daemon.ok(json!({"action": "show", "task_id": 2}))["status"], "running");
    daemon.ok(json!({"action": "cancel", "task_id": 2}));
    until("the groups are gone", || delegated.groups().is_empty());
}

#[test]
fn all_of_a_task_is_suspended_and_ends_all_the_same() {
    let delegated = Delegated::new();
    let daemon = delegated.daemon();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell(&format!("{ESCAPES}; sleep 600"))]}));
    daemon.ok(json!({"action": "start"}));
    let escaped = escaped(&daemon);
    let [group] = delegated.groups().try_into().expect("one");
    let is_frozen = || {
        let events = std::fs::read_to_string(group.join("cgroup.events")).expect("events");
        events.contains("frozen 1")
    };
    daemon.ok(json!({"action": "pause"}));
    until("all of it is frozen", is_frozen);
    daemon.ok(json!({"action": "resume"}));
    until("it goes on", || !is_frozen());
    daemon.ok(json!({"action": "pause", "task_id": 1}));
    until("all of it is frozen", is_frozen);
    daemon.ok(json!({"action": "cancel", "task_id": 1}));
    daemon.until(&json!({"action": "show", "task_id": 1}), |task| task["status"] == "cancelled");
    until("what escaped has ended", || !lives(escaped));
}

#[test]
fn a_killed_keeper_leaves_no_group() {
    let delegated = Delegated::new();
    let mut daemon = delegated.daemon();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell(&format!("rm -f escaped; {ESCAPES}; until [ -e done ]; do sleep 0.01; done"))]}));
    daemon.ok(json!({"action": "start"}));
    let first = escaped(&daemon);
    daemon.kill();
    daemon.kill_keepers();
    std::fs::write(daemon.work().join("done"), "").expect("written");
    daemon.serve();
    daemon.wait();
    assert!(!lives(first));
    until("the groups are gone", || delegated.groups().is_empty());
}

#[test]
fn what_only_a_group_can_limit_is_refused_where_there_is_none() {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_CGROUPS", "off")]);
    let mut task = shell("true");
    task["action"] = json!("add");
    task["name"] = json!("n");
    for (limits, sentence) in [
        (
            json!({"cpus": 1.5}),
            "`limits.cpus` is 1.5, but tasks have no control group with `cpu` here; `doctor` says why",
        ),
        (
            json!({"processes": 9}),
            "`limits.processes` is 9, but tasks have no control group with `pids` here; `doctor` says why",
        ),
    ] {
        task["limits"] = limits;
        let refused = daemon.call(&task);
        assert_eq!((&refused["error"]["code"], &refused["message"]), (&json!("invalid_request"), &json!(sentence)));
    }
    let health = daemon.ok(json!({"action": "health"}));
    assert_eq!(health["cgroups"], "none: switched off (setting `cgroups`)");
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 0);
}

#[test]
fn a_folder_that_is_none_is_said_by_doctor() {
    let folder = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_CGROUPS", &folder.path().display().to_string())]);
    let said: Value = daemon.ok(json!({"action": "health"}))["cgroups"].clone();
    assert_eq!(said, format!("none: `{}` is no folder of control groups (version 2)", folder.path().display()));
    let task = &daemon.run(&[shell("echo runs")])[0];
    assert_eq!(task["status"], "completed");
    let wrong = daemon.command(&["config"]).env("BATCH_EXECUTOR_CGROUPS", "some").output().expect("it runs");
    assert_eq!(wrong.status.code(), Some(78));
}

#[test]
fn the_daemons_own_group_is_taken_where_it_is_its_users() {
    let delegated = Delegated::new();
    let own = delegated.0.join("unit");
    std::fs::create_dir(&own).expect("a group");
    let mut daemon = Daemon::home_only();
    let root = daemon.home().parent().expect("a root").to_owned();
    // As a service manager does: the group is the user's, and the daemon begins in it.
    let chown = ["-R", USER, &root.display().to_string(), &own.display().to_string()].map(str::to_owned);
    assert!(std::process::Command::new("chown").args(chown).status().expect("chown").success());
    let enter = format!(
        "echo $$ > {}/cgroup.procs && exec setpriv --reuid={USER} --regid={USER} --clear-groups \"$@\"",
        own.display()
    );
    daemon.serve_by(&["sh", "-c", &enter, "sh"]);
    let found = daemon.ok(json!({"action": "health"}))["cgroups"].clone();
    assert_eq!(found, "each task has its own: ended and suspended as one");
    let task = &daemon.run(&[shell("grep ^0: /proc/self/cgroup")])[0];
    let group = task["result"]["stdout"].as_str().expect("a group").trim();
    assert!(group.contains("/unit/tasks-") && group.ends_with("/1"), "{group}");
    daemon.stop();
    until("the keeper leaves", || std::fs::read_to_string(own.join("cgroup.procs")).is_ok_and(|pids| pids.is_empty()));
    for folder in folders(&own).into_iter().chain([own]) {
        std::fs::remove_dir(folder).expect("an empty group");
    }
}

#[test]
fn homes_that_share_a_folder_leave_each_other_alone() {
    let delegated = Delegated::new();
    let (one, other) = (delegated.daemon(), delegated.daemon());
    let waits = "until [ -e go ]; do sleep 0.01; done; mkdir -p $(sed -n s,0::,/sys/fs/cgroup/unified,p /proc/self/cgroup)/own/within || :";
    one.ok(json!({"action": "add_batch", "tasks": [shell(waits)]}));
    one.ok(json!({"action": "start"}));
    one.running(1);
    assert_eq!(other.run(&[shell("true")])[0]["status"], "completed");
    let mut more = delegated.daemon();
    more.kill();
    more.serve();
    std::fs::write(one.work().join("go"), "").expect("written");
    assert_eq!(one.wait()["counts"]["completed"], 1);
    until("the groups are gone, also those that a task has made", || delegated.groups().is_empty());
}

#[test]
fn a_folder_that_this_process_cannot_move_into_is_done_without() {
    let delegated = Delegated::new();
    let daemon_of_nobody = || {
        let mut daemon = Daemon::home_with(&[("BATCH_EXECUTOR_CGROUPS", &delegated.0.display().to_string())]);
        let root = daemon.home().parent().expect("a root").to_owned();
        let chown = ["-R", USER, &root.display().to_string(), &delegated.0.display().to_string()].map(str::to_owned);
        assert!(std::process::Command::new("chown").args(chown).status().expect("chown").success());
        let reuid = format!("--reuid={USER}");
        daemon.serve_by(&["setpriv", &reuid, "--regid=65534", "--clear-groups"]);
        daemon
    };
    let daemon = daemon_of_nobody();
    let said = daemon.ok(json!({"action": "health"}))["cgroups"].as_str().expect("text").to_owned();
    assert!(said.contains("cannot be entered from this process's own control group"), "{said}");
    assert_eq!(daemon.run(&[shell("true")])[0]["status"], "completed");
}
