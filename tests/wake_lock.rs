//! `wake_lock`: taken while there is work, released after it, and only by those who took it. Termux's commands are played by
//! scripts that note that they were called.

#[path = "support/stand_ins.rs"]
mod stand_ins;
mod support;

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use stand_ins::StandIns;
use support::{Daemon, lives, shell, signal, until};

/// A home on a phone whose wake lock is seen.
struct Phone {
    daemon: Daemon,
    stand_ins: StandIns,
    calls: PathBuf,
}

impl Phone {
    fn new(wake_lock: bool) -> Self {
        let mut daemon = Daemon::home_only();
        let stand_ins = StandIns::new(&daemon.work());
        let calls = daemon.work().join("calls");
        for word in ["lock", "unlock"] {
            stand_ins.put(&format!("termux-wake-{word}"), &format!("echo {word} >> {}", calls.display()));
        }
        daemon.set("PATH", &stand_ins.path());
        if wake_lock {
            daemon.set("BATCH_EXECUTOR_WAKE_LOCK", "true");
        }
        Self { daemon, stand_ins, calls }
    }

    /// What was called so far.
    fn calls(&self) -> String {
        std::fs::read_to_string(&self.calls).unwrap_or_default().replace('\n', " ")
    }

    fn until_calls(&self, calls: &str) {
        until(calls, || self.calls() == calls);
    }

    /// A task that runs until [`Self::end`].
    fn begin(&self) {
        let gate = self.daemon.work().join("gate");
        if !gate.exists() {
            assert!(Command::new("mkfifo").arg(&gate).status().expect("mkfifo").success());
        }
        self.daemon.ok(json!({"action": "add_batch", "tasks": [shell(&format!("cat {}", gate.display()))]}));
        self.daemon.ok(json!({"action": "start"}));
        self.daemon.running(1);
    }

    fn end(&self) {
        std::fs::write(self.daemon.work().join("gate"), "").expect("the task reads");
    }

    fn log_says(&self, text: &str) {
        until(text, || self.daemon.log().contains(text));
    }
}

#[test]
fn it_is_taken_once_while_there_is_work_and_released_after_it() {
    let mut phone = Phone::new(true);
    phone.daemon.serve();
    // Queued tasks that nobody has started are no work.
    phone.daemon.ok(json!({"action": "add_batch", "tasks": [shell("true"), shell("true"), shell("true")]}));
    phone.begin();
    phone.until_calls("lock ");
    phone.end();
    phone.daemon.wait();
    // One after the other, each added when the one before has ended.
    for _ in 0..3 {
        phone.daemon.run(&[shell("true")]);
    }
    // A retry that is due soon is work, too.
    let flaky = json!({"name": "flaky", "function": "simulate", "params": {"fail": 1, "duration": 0},
                       "retry_delay": 0.2});
    phone.daemon.run(&[flaky]);
    assert_eq!(phone.calls(), "lock ");
    phone.until_calls("lock unlock ");
    let note = phone.daemon.home().join("wake_lock");
    until("nothing is noted any more", || !note.exists());
    phone.begin();
    phone.until_calls("lock unlock lock ");
    // Nothing runs after the daemon's end.
    assert_eq!(phone.daemon.cli(&["daemon", "stop", "--grace", "0"]).status.code(), Some(0));
    assert_eq!(phone.calls(), "lock unlock lock unlock ");
}

#[test]
fn what_is_due_much_later_keeps_no_phone_awake() {
    let mut phone = Phone::new(true);
    phone.daemon.serve();
    let later = |delay: u32| json!({"name": "later", "function": "simulate", "params": {}, "delay": delay});
    phone.daemon.ok(json!({"action": "add_batch", "tasks": [later(3600)]}));
    phone.daemon.ok(json!({"action": "start"}));
    phone.daemon.ok(json!({"action": "add_batch", "tasks": [shell("true")]}));
    phone.until_calls("lock unlock ");
    phone.daemon.ok(json!({"action": "add_batch", "tasks": [later(60)]}));
    phone.until_calls("lock unlock lock ");
}

#[test]
fn without_the_setting_it_is_left_alone() {
    let mut phone = Phone::new(false);
    phone.daemon.serve();
    phone.daemon.run(&[shell("true")]);
    assert_eq!(phone.daemon.stop(), Some(0));
    assert_eq!(phone.calls(), "");
}

#[test]
fn a_daemon_without_work_releases_nothing_that_it_did_not_take() {
    let mut phone = Phone::new(true);
    // Of a boot before: that lock is gone, and one that is held now is somebody else's.
    phone.daemon.serve();
    assert_eq!(phone.daemon.stop(), Some(0));
    std::fs::write(phone.daemon.home().join("wake_lock"), "another boot").expect("a note");
    phone.daemon.serve();
    assert_eq!(phone.daemon.stop(), Some(0));
    assert_eq!(phone.calls(), "");
}

#[test]
fn it_is_kept_over_a_killed_daemon_and_released_by_the_next() {
    let mut phone = Phone::new(true);
    phone.daemon.serve();
    phone.begin();
    phone.until_calls("lock ");
    phone.daemon.kill();
    // The task goes on, and so does the lock; the next daemon finds it ended.
    phone.end();
    // Also one that would not take it.
    phone.daemon.set("BATCH_EXECUTOR_WAKE_LOCK", "false");
    phone.daemon.serve();
    phone.daemon.wait();
    phone.until_calls("lock unlock ");
}

#[test]
fn it_is_kept_while_another_program_takes_the_daemon_over() {
    let mut phone = Phone::new(true);
    phone.daemon.serve();
    phone.begin();
    phone.until_calls("lock ");
    signal(phone.daemon.pid(), "USR2");
    // The new one cannot know whether the app has lived on, and takes it again, which changes nothing.
    phone.until_calls("lock lock ");
    phone.end();
    phone.daemon.wait();
    phone.until_calls("lock lock unlock ");
}

#[test]
fn a_command_that_is_missing_or_fails_is_said_and_tasks_run_all_the_same() {
    let mut phone = Phone::new(true);
    phone.stand_ins.put("termux-wake-lock", "exit 3");
    phone.daemon.serve();
    phone.daemon.run(&[shell("true")]);
    phone.log_says("`termux-wake-lock` failed: exit status: 3");
    assert!(!phone.daemon.home().join("wake_lock").exists());
    assert_eq!(phone.daemon.stop(), Some(0));
    assert_eq!(phone.calls(), "");
    phone.daemon.unset("PATH");
    phone.daemon.serve();
    phone.daemon.run(&[shell("true")]);
    phone
        .log_says("`termux-wake-lock` cannot be run: No such file or directory (os error 2); pkg install termux-tools");
}

#[test]
fn a_command_that_hangs_holds_up_neither_tasks_nor_the_end() {
    let mut phone = Phone::new(true);
    phone.stand_ins.put("termux-wake-lock", &format!("echo $$ > {}; exec sleep 1000", phone.calls.display()));
    phone.daemon.serve();
    phone.daemon.run(&[shell("true")]);
    until("the command runs", || phone.calls().ends_with(' '));
    let hangs = phone.calls().trim().parse().expect("a pid");
    assert_eq!(phone.daemon.stop(), Some(0));
    until("the command has ended", || !lives(hangs));
    // It may have taken the lock before it hung.
    assert_eq!(phone.calls(), format!("{hangs} unlock "));
}
