//! `service`: what it writes for each manager, what it leaves alone, and a real runit that runs the daemon.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use support::{Daemon, lives, shell, signal, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_batch-executor");

/// A user with a home of its own and the managers' commands in PATH, some of which are stand-ins that note what they are asked.
struct User {
    daemon: Daemon,
    folder: PathBuf,
}

impl User {
    fn new() -> Self {
        let daemon = Daemon::home_only();
        let folder = daemon.work();
        Self { daemon, folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.daemon.command(&[&["service"], arguments].concat());
        command
            .env("HOME", &self.folder)
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env("PREFIX", self.folder.join("usr"))
            .env("SVDIR", self.folder.join("sv"))
            .env_remove("TERMUX_VERSION");
        command
    }

    fn said(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    }

    /// A program that notes its arguments and is fine with them.
    fn stand_in(&self, name: &str) -> String {
        let bin = self.folder.join("bin");
        std::fs::create_dir_all(&bin).expect("a folder");
        let text = format!("#!/bin/sh\necho {name} \"$@\" >> {}/asked\n", self.folder.display());
        std::fs::write(bin.join(name), text).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(bin.join(name), mode).expect("ours");
        format!("{}:{}", bin.display(), std::env::var("PATH").expect("a path"))
    }
}

#[test]
fn a_dry_run_shows_all_and_does_nothing() {
    let user = User::new();
    for (manager, shows) in [
        (
            "systemd",
            vec![
                "[Service]\nEnvironment=BATCH_EXECUTOR_HOME=",
                "Type=notify",
                "$ systemctl --user enable --now batch-executor.service",
            ],
        ),
        ("runit", vec!["exec svlogd -tt ", "daemon --home ", "$ sv up "]),
        (
            "termux",
            vec![
                "/usr/bin/sh\nexec 2>&1\nexec ",
                "share/termux-services/svlogger",
                "# termux-wake-lock",
                "Termux:Boot",
            ],
        ),
        ("openrc", vec!["#!/sbin/openrc-run", "supervisor=supervise-daemon", "$ rc-update add batch-executor default"]),
    ] {
        let (code, said) = user.said(&["install", "--dry-run", "--manager", manager]);
        assert_eq!(code, Some(0), "{said}");
        for part in shows.iter().chain(&[PROGRAM]) {
            assert!(said.contains(part), "{manager}: {part}\n{said}");
        }
    }
    let (code, said) = user.said(&["install", "--dry-run", "--manager", "systemd", "--on-demand"]);
    assert!(code == Some(0) && said.contains("enable --now batch-executor.socket"), "{said}");
    assert!(said.contains(&format!("ListenStream={}/daemon.sock", user.daemon.home().display())), "{said}");
    let (code, said) = user.said(&["install", "--dry-run", "--manager", "systemd", "--system"]);
    assert!(code == Some(0) && said.contains("# /etc/systemd/system/batch-executor@.service (not there)"), "{said}");
    let (code, said) = user.said(&["install", "--dry-run", "--manager", "runit", "--system"]);
    assert!(code == Some(2) && said.contains("--system and --on-demand are for systemd"), "{said}");
    let left: Vec<_> = std::fs::read_dir(&user.folder).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_file_that_somebody_changed_is_left_alone() {
    let user = User::new();
    let path = user.stand_in("systemctl");
    let asked = user.folder.join("asked");
    let unit = user.folder.join("config/systemd/user/batch-executor.service");
    let run = |arguments: &[&str]| {
        let output = user.command(&[arguments, &["--manager", "systemd"]].concat()).env("PATH", &path).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    };
    let (code, said) = run(&["status"]);
    assert!(code == Some(3) && said.contains("batch-executor.service: not there"), "{said}");
    // One that a client started would be in the way.
    assert!(user.daemon.cli(&["status"]).status.success());
    let (code, said) = run(&["install"]);
    assert!(code == Some(4) && said.contains("already (pid ") && said.contains("batch-executor daemon stop"), "{said}");
    assert!(!unit.exists());
    assert!(user.daemon.cli(&["daemon", "stop"]).status.success());
    assert_eq!(run(&["install"]).0, Some(0));
    let lines = std::fs::read_to_string(&asked).expect("asked");
    assert_eq!(
        lines,
        "systemctl --user daemon-reload\n\
         systemctl --user disable --now batch-executor.socket\n\
         systemctl --user enable --now batch-executor.service\n"
    );
    // An upgrade writes it anew.
    assert_eq!(run(&["install"]).0, Some(0));
    let edited = std::fs::read_to_string(&unit).expect("a unit").replace("RestartSec=2", "RestartSec=9");
    std::fs::write(&unit, &edited).expect("written");
    for asks in [["install"], ["uninstall"]] {
        let (code, said) = run(&asks);
        assert!(code == Some(4) && said.contains("was changed by somebody; nothing was done"), "{said}");
        assert_eq!(std::fs::read_to_string(&unit).expect("a unit"), edited);
    }
    let (code, said) = run(&["status"]);
    assert!(code == Some(0) && said.contains("batch-executor.service: changed by somebody"), "{said}");
    assert_eq!(run(&["install", "--force"]).0, Some(0));
    assert!(!std::fs::read_to_string(&unit).expect("a unit").contains("RestartSec=9"));
    let (code, said) = run(&["uninstall"]);
    assert!(code == Some(0) && said.contains("removed ") && !unit.exists(), "{said}");
    let (code, said) = run(&["uninstall"]);
    assert!(code == Some(0) && said.contains("it is not installed; nothing was done"), "{said}");
    // What the manager refuses is said, with what was written.
    std::fs::write(user.folder.join("bin/systemctl"), "#!/bin/sh\necho no bus >&2; exit 1\n").expect("written");
    let (code, said) = run(&["install"]);
    assert!(code == Some(4) && said.contains("`systemctl --user daemon-reload` failed: exit status: 1"), "{said}");
}

/// runsvdir(8) with all that it started; ended, nothing of it is left.
struct Runsvdir(Child);

impl Runsvdir {
    fn watch(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let mut command = Command::new("runsvdir");
        Self(command.args(["-P"]).arg(folder).stdin(Stdio::null()).spawn().expect("runsvdir"))
    }
}

impl Drop for Runsvdir {
    fn drop(&mut self) {
        // It sends SIGTERM to each runsv, which ends its service and its log.
        signal(i32::try_from(self.0.id()).expect("a pid"), "HUP");
        drop(self.0.wait());
    }
}

#[test]
fn a_real_runit_runs_the_daemon_and_brings_it_back() {
    let user = User::new();
    let runsvdir = Runsvdir::watch(&user.folder.join("sv"));
    let (code, said) = user.said(&["install", "--manager", "runit"]);
    assert_eq!(code, Some(0), "{said}");
    let pid = || user.daemon.answers()["data"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
    let first = pid();
    assert_eq!(user.daemon.run(&[shell("echo hello")])[0]["status"], "completed");
    signal(first, "KILL");
    until("another daemon serves", || {
        user.daemon.ask(&json!({"action": "status"})).is_some_and(|answer| answer["data"]["pid"] != first)
    });
    assert_eq!(user.daemon.ok(json!({"action": "status"}))["counts"]["completed"], 1);
    let (code, said) = user.said(&["status", "--manager", "runit"]);
    assert!(code == Some(0) && said.contains("run: ") && said.contains("log/run: as it was written"), "{said}");
    let (code, said) = user.said(&["logs", "--manager", "runit"]);
    assert!(code == Some(0) && said.contains(" serving pid="), "{said}");
    let second = pid();
    let (code, said) = user.said(&["uninstall", "--manager", "runit"]);
    assert_eq!(code, Some(0), "{said}");
    until("the daemon has ended", || !lives(second));
    assert!(!user.folder.join("sv/batch-executor").exists());
    drop(runsvdir);
}

#[test]
fn on_a_phone_three_run_at_once_when_nothing_is_said() {
    let daemon = Daemon::start_with(&[("TERMUX_VERSION", "0.118.1")]);
    assert_eq!(daemon.ok(json!({"action": "start", "keep": true}))["max_concurrent"], 3);
    assert_eq!(daemon.ok(json!({"action": "start", "max_concurrent": 7}))["max_concurrent"], 7);
}
