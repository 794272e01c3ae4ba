//! A disk that is full, and has room again: what is refused says so, no end is lost, and it goes on by itself.
//!
//! The disk is a small tmpfs, which only root may mount; elsewhere the tests say that they did not run.

mod support;

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use support::{Daemon, shell};

/// A daemon whose home is a disk of its own.
struct Small {
    daemon: Daemon,
    disk: PathBuf,
}

impl Small {
    /// Without a floor: what is tried here is what comes after it.
    fn start() -> Option<Self> {
        Self::start_with(&[("BATCH_EXECUTOR_MIN_FREE_BYTES", "0")])
    }

    fn start_with(environment: &[(&str, &str)]) -> Option<Self> {
        let mut daemon = Daemon::home_with(environment);
        let disk = daemon.home();
        std::fs::create_dir(&disk).expect("a folder");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs"]).arg(&disk).status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("not run: no tmpfs can be mounted here");
            return None;
        }
        daemon.serve();
        Some(Self { daemon, disk })
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.disk.join("filler")).expect("a file");
        for size in [65_536, 512, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.disk.join("filler")).expect("removed");
    }

    /// Two tasks that run until the gate opens, and one behind them.
    fn run_three(&self) {
        let held = shell("while [ ! -e gate ]; do sleep 0.01; done; echo x >> marks");
        self.daemon.ok(json!({"action": "add_batch", "tasks": [held, held, shell("echo third >> marks")]}));
        self.daemon.ok(json!({"action": "start", "max_concurrent": 2}));
        self.daemon.running(2);
    }

    fn open_gate(&self) {
        std::fs::write(self.daemon.work().join("gate"), "").expect("the gate opens");
    }

    fn storage_error_stands(&self) {
        self.daemon.until(&json!({"action": "status"}), |data| {
            data["reason"].as_str().is_some_and(|reason| reason.starts_with("storage: "))
        });
    }

    fn all_ran_once(&self) {
        assert_eq!(self.daemon.wait()["counts"]["completed"], 3);
        let marks = std::fs::read_to_string(self.daemon.work().join("marks")).expect("marks");
        let mut marks: Vec<&str> = marks.lines().collect();
        marks.sort_unstable();
        assert_eq!(marks, ["third", "x", "x"]);
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(self.daemon.command(&["daemon", "stop", "--grace", "0"]).output());
        // Lazily: the keeper leaves a moment after the daemon.
        drop(Command::new("umount").arg("-l").arg(&self.disk).status());
    }
}

#[test]
fn ends_wait_for_room_and_what_is_refused_says_so() {
    let Some(small) = Small::start() else { return };
    small.run_three();
    small.fill();
    let refused = small.daemon.call(&json!({"action": "add", "name": "n", "function": "simulate"}));
    assert_eq!(refused["error"]["code"], "storage", "{refused}");
    small.open_gate();
    small.storage_error_stands();
    assert_eq!(small.daemon.ok(json!({"action": "status"}))["counts"]["completed"], 0);
    small.make_room();
    small.all_ran_once();
    assert_eq!(small.daemon.ok(json!({"action": "status"}))["reason"], "done");
}

#[test]
fn a_daemon_that_ends_on_a_full_disk_leaves_the_ends_to_the_next() {
    let Some(mut small) = Small::start() else { return };
    small.run_three();
    small.fill();
    small.open_gate();
    small.storage_error_stands();
    assert_eq!(small.daemon.stop(), Some(0));
    small.make_room();
    small.daemon.serve();
    assert_eq!(small.daemon.wait()["counts"]["completed"], 3);
    // The third may have been stopped with the daemon, and then ran again.
    let marks = std::fs::read_to_string(small.daemon.work().join("marks")).expect("marks");
    assert_eq!(marks.matches('x').count(), 2, "{marks}");
}

#[test]
fn at_the_floor_nothing_is_added_or_started_until_there_is_room() {
    let Some(small) = Small::start_with(&[]) else { return };
    small.run_three();
    let keyed = json!({"action": "add", "name": "keyed", "function": "simulate", "delay": 3600, "request_key": "k"});
    let first = small.daemon.ok(keyed.clone());
    // Of 16 MiB an eighth stays free.
    std::fs::write(small.disk.join("filler"), vec![1; 15 << 20]).expect("not full");
    let refused = small.daemon.call(&json!({"action": "add", "name": "n", "function": "simulate"}));
    assert_eq!(refused["error"]["code"], "storage", "{refused}");
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("min_free_bytes")), "{refused}");
    // What was added before is told again: nothing is added for it.
    let again = small.daemon.ok(keyed);
    assert_eq!(again["task_id"], first["task_id"]);
    small.daemon.ok(json!({"action": "cancel", "task_id": first["task_id"]}));
    // Answered when the keeper knows that nothing is to start.
    small.daemon.ok(json!({"action": "start", "max_concurrent": 2}));
    small.open_gate();
    // There is room for the ends, and the third does not start.
    small.daemon.until(&json!({"action": "status"}), |data| data["counts"]["completed"] == 2);
    let status = small.daemon.ok(json!({"action": "status"}));
    assert_eq!((&status["counts"]["queued"], &status["counts"]["running"]), (&json!(1), &json!(0)), "{status}");
    assert!(status["reason"].as_str().is_some_and(|reason| reason.starts_with("storage: ")), "{status}");
    small.make_room();
    small.all_ran_once();
    assert_eq!(small.daemon.ok(json!({"action": "status"}))["reason"], "done");
}

#[test]
fn a_task_that_writes_the_disk_full_is_cut_short_at_the_floor() {
    let Some(small) = Small::start_with(&[]) else { return };
    let task = shell("echo first; head -c 40000000 /dev/zero | tr '\\0' 'x'; echo last");
    small.daemon.ok(json!({"action": "add_batch", "tasks": [task]}));
    small.daemon.ok(json!({"action": "start"}));
    assert_eq!(small.daemon.wait()["counts"]["completed"], 1);
    let logs = small.daemon.ok(json!({"action": "logs", "task_id": 1}));
    let text = logs["text"].as_str().expect("text");
    assert!(text.starts_with("first\n") && text.ends_with("last\n"), "{} bytes", text.len());
    assert!(logs["dropped"].as_i64().is_some_and(|dropped| dropped > 39_000_000), "{}", logs["dropped"]);
    // Its file is gone, and the queue goes on.
    small.daemon.ok(json!({"action": "add", "name": "n", "function": "simulate", "params": {"duration": 0}}));
}
