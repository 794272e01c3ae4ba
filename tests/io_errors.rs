//! A disk that fails under the queue: what was acknowledged is there, what was not is refused in plain words, the daemon
//! ends rather than go on after a failed sync, and the next one finds everything.

#[path = "support/shim.rs"]
mod shim;
mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::Daemon;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A daemon whose disk fails when it is told to.
struct Failing {
    daemon: Daemon,
    arm: PathBuf,
    acknowledged: BTreeSet<i64>,
    _folder: tempfile::TempDir,
}

impl Failing {
    /// `fault` as the shim takes it: what, which file, the how manieth, the error, `once` or `on`.
    fn with(what: &str, file: &str, nth: usize, error: i32, how: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut daemon = Daemon::home_only();
        let arm = daemon.work().join("arm");
        daemon.set("LD_PRELOAD", &shim::compile(folder.path()).display().to_string());
        daemon.set("SHIM_HOME", &daemon.home().display().to_string());
        daemon.set("SHIM_ARM", &arm.display().to_string());
        daemon.set("SHIM_FAULT", &format!("{what} {file} {nth} {error} {how}"));
        daemon.serve();
        Self { daemon, arm, acknowledged: BTreeSet::new(), _folder: folder }
    }

    fn arm(&self) {
        std::fs::write(&self.arm, "").expect("armed");
    }

    fn disarm(&self) {
        std::fs::remove_file(&self.arm).expect("disarmed");
    }

    /// One task; gives the answer. The connection may break: the daemon ends when its disk fails.
    fn add(&mut self, note: &str) -> Option<Value> {
        let task = json!({"action": "add", "name": "n", "function": "simulate", "params": {"note": note}});
        let answer = self.daemon.ask(&task)?;
        self.acknowledged.extend(answer["data"]["task_id"].as_i64());
        Some(answer)
    }

    /// Adds until it is refused; gives the refusal.
    fn add_until_refused(&mut self, note: &str) -> Value {
        for _ in 0..2000 {
            match self.add(note) {
                Some(answer) if answer["ok"] == true => {}
                refused => return refused.expect("an answer"),
            }
        }
        panic!("never refused\n{}", self.daemon.log());
    }

    /// The daemon has ended by itself and said why.
    fn ended(&mut self) {
        assert_eq!(self.daemon.ended(), Some(74), "{}", self.daemon.log());
        let log = self.daemon.log();
        assert!(log.contains("the queue is damaged or its disk fails"), "{log}");
    }

    /// On a good disk again, everything acknowledged is there.
    fn all_is_there(&mut self) {
        for name in ["LD_PRELOAD", "SHIM_FAULT"] {
            self.daemon.unset(name);
        }
        self.daemon.serve();
        let health = self.daemon.ok(json!({"action": "health"}));
        assert_eq!((&health["database"], &health["tally_difference"]), (&json!("ok"), &Value::Null));
        let found: BTreeSet<i64> = self.daemon.tasks().iter().filter_map(|task| task["task_id"].as_i64()).collect();
        let lost: Vec<_> = self.acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "{lost:?} of {} lost", self.acknowledged.len());
        let next = self.add("").expect("an answer")["data"]["task_id"].as_i64();
        assert!(next > found.last().copied(), "{next:?}");
    }
}

/// What a client is told when nobody knows what is on the disk.
fn is_in_doubt(answer: &Value) {
    assert_eq!(answer["error"]["code"], "storage", "{answer}");
    assert_eq!(answer["error"]["details"]["reason"], "damaged", "{answer}");
    assert!(answer["message"].as_str().is_some_and(|said| said.contains("may or may not be in the queue")), "{answer}");
}

#[test]
fn a_failed_write_or_sync_of_the_log_is_refused_and_ends_the_daemon() {
    for what in ["write", "sync"] {
        // `once`: a second try would succeed, and must not be made.
        for (nth, how) in [(1, "once"), (1, "on"), (2, "once"), (7, "once"), (16, "on")] {
            let mut failing = Failing::with(what, "queue.db-wal", nth, EIO, how);
            failing.add("before");
            failing.arm();
            is_in_doubt(&failing.add_until_refused("during"));
            // Whoever asks in its last moments is refused too, or finds nobody.
            let after = failing.add("after");
            assert!(after.as_ref().is_none_or(|answer| answer["ok"] == false), "{what} {nth} {how}: {after:?}");
            failing.ended();
            failing.all_is_there();
        }
    }
}

#[test]
fn an_end_that_met_a_failed_sync_is_there_with_the_next_daemon() {
    let mut failing = Failing::with("sync", "queue.db-wal", 2, EIO, "once");
    let gate = "while [ ! -e gate ]; do sleep 0.01; done; echo x >> marks";
    failing.daemon.ok(json!({"action": "add_batch", "tasks": [support::shell(gate), support::shell(gate)]}));
    failing.daemon.ok(json!({"action": "start", "max_concurrent": 2, "keep": true}));
    failing.daemon.running(2);
    failing.acknowledged.extend([1, 2]);
    failing.arm();
    failing.add("takes the first sync");
    std::fs::write(failing.daemon.work().join("gate"), "").expect("the gate opens");
    failing.ended();
    failing.all_is_there();
    failing.daemon.until(&json!({"action": "status"}), |data| data["counts"]["completed"].as_i64() >= Some(2));
    let marks = std::fs::read_to_string(failing.daemon.work().join("marks")).expect("marks");
    assert_eq!(marks, "x\nx\n", "each ran once");
}

#[test]
fn a_checkpoint_that_fails_ends_the_daemon_and_loses_nothing() {
    for what in ["write", "sync"] {
        for how in ["once", "on"] {
            let mut failing = Failing::with(what, "queue.db", 1, EIO, how);
            failing.arm();
            // The answer comes before the checkpoint: the last one was acknowledged, and then nobody is there.
            while failing.add(&"x".repeat(100_000)).is_some_and(|answer| answer["ok"] == true) {
                assert!(failing.acknowledged.len() < 2000, "no checkpoint\n{}", failing.daemon.log());
            }
            failing.ended();
            failing.all_is_there();
        }
    }
}

#[test]
fn a_failed_read_is_refused_and_ends_the_daemon() {
    for (file, nth) in [("queue.db", 1), ("queue.db", 5), ("queue.db-wal", 1)] {
        let mut failing = Failing::with("read", file, nth, EIO, "on");
        for _ in 0..30 {
            failing.add(&"x".repeat(5000));
        }
        if file == "queue.db" {
            // Into the file, and out of the caches.
            assert_eq!(failing.daemon.stop(), Some(0));
            failing.daemon.serve();
        }
        failing.arm();
        let refused = failing.daemon.ask(&json!({"action": "results"})).expect("an answer");
        is_in_doubt(&refused);
        failing.ended();
        failing.disarm();
        failing.all_is_there();
    }
}

#[test]
fn a_write_for_which_there_is_no_room_is_refused_and_it_goes_on() {
    for (nth, how) in [(1, "once"), (3, "on")] {
        let mut failing = Failing::with("write", "queue.db-wal", nth, ENOSPC, how);
        failing.add("before");
        failing.arm();
        let refused = failing.add_until_refused("during");
        assert_eq!(refused["error"]["code"], "storage", "{refused}");
        assert!(refused["message"].as_str().is_some_and(|said| said.contains("nothing was changed")), "{refused}");
        failing.disarm();
        assert_eq!(failing.add("after").expect("an answer")["ok"], true);
        let acknowledged = failing.acknowledged.len();
        assert_eq!(failing.daemon.tasks().len(), acknowledged, "what was refused is not there");
        failing.daemon.kill();
        failing.all_is_there();
    }
}
