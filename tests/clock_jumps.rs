//! The wall clock is set by an hour or a year, both ways, and the machine sleeps: nothing that waits is lost or comes at
//! once, durations stay true, a key is not forgotten. Needs the feature `failpoints`, by which a test sets the clock.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use support::{Daemon, shell};

const HOUR: i64 = 3_600_000;
const YEAR: i64 = 365 * 24 * HOUR;
/// To where the clock is set from where it was at first, one after the other.
const JUMPS: [i64; 4] = [HOUR, -HOUR, YEAR, -YEAR];

/// A home whose daemons look at this clock.
fn clocked() -> Daemon {
    let mut daemon = Daemon::home_only();
    let file = daemon.work().join("clock");
    daemon.set("BATCH_EXECUTOR_FAILPOINT_CLOCK", &file.display().to_string());
    set_clock(&daemon, 0);
    daemon.serve();
    daemon
}

/// At once for whoever looks: a file that is being written is no clock.
fn set_clock(daemon: &Daemon, ms: i64) {
    let file = daemon.work().join("clock");
    std::fs::write(file.with_extension("new"), ms.to_string()).expect("written");
    std::fs::rename(file.with_extension("new"), file).expect("renamed");
}

fn counts(daemon: &Daemon) -> Value {
    daemon.ok(json!({"action": "status"}))["counts"].clone()
}

fn show(daemon: &Daemon, id: i64) -> Value {
    daemon.ok(json!({"action": "show", "task_id": id}))
}

/// The seconds that a queued task still waits, by its reason.
fn waits(daemon: &Daemon, id: i64) -> f64 {
    let task = show(daemon, id);
    let reason = task["reason"].as_str().unwrap_or_else(|| panic!("no reason: {task}"));
    let number = reason.split(' ').find_map(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("no number: {reason}"))
}

/// What waits when the clock is set.
struct Waiting {
    delayed: i64,
    retried: i64,
    running: i64,
}

impl Waiting {
    /// A delay of an hour, a retry after some minutes, a task that runs until the gate opens, under a deadline.
    fn begin(daemon: &Daemon) -> Self {
        let mut delayed = shell("echo x >> delayed");
        delayed["delay"] = json!(3600);
        let mut retried = shell("echo x >> retried; exit 1");
        (retried["max_retries"], retried["retry_delay"]) = (json!(3), json!(300));
        let running = shell("while [ ! -e gate ]; do sleep 0.01; done");
        let first = daemon.ok(json!({"action": "add_batch", "tasks": [delayed, retried, running]}));
        let first = first["first_task_id"].as_i64().expect("an id");
        daemon.ok(json!({"action": "start", "max_concurrent": 2, "keep": true, "timeout": 1800}));
        daemon.until(&json!({"action": "show", "task_id": first + 1}), |task| task["retry_count"] == 1);
        daemon.running(1);
        Self { delayed: first, retried: first + 1, running: first + 2 }
    }

    /// Nothing came early, nothing is parked, the deadline did not pass, the running one was left alone.
    fn holds(&self, daemon: &Daemon, when: &str) {
        let status = daemon.ok(json!({"action": "status"}));
        assert_eq!((&status["state"], &status["counts"]["running"]), (&json!("running"), &json!(1)), "{when}");
        assert_eq!(status["counts"]["queued"], 2, "{when}");
        let (delayed, retried) = (waits(daemon, self.delayed), waits(daemon, self.retried));
        assert!((1.0..=3600.0).contains(&delayed), "{when}: the delayed one waits {delayed} s");
        assert!((1.0..=360.0).contains(&retried), "{when}: the retry waits {retried} s");
        let written = |name: &str| std::fs::read_to_string(daemon.work().join(name)).unwrap_or_default();
        assert_eq!((written("delayed").as_str(), written("retried").as_str()), ("", "x\n"), "{when}");
    }
}

#[test]
fn nothing_comes_early_and_nothing_is_parked_when_the_clock_is_set() {
    let mut daemon = clocked();
    let waiting = Waiting::begin(&daemon);
    for jump in JUMPS {
        set_clock(&daemon, jump);
        // A commit after the jump, as any moment may bring.
        daemon.ok(json!({"action": "start", "max_concurrent": 2}));
        waiting.holds(&daemon, &format!("set by {jump} ms"));
        daemon.kill();
        daemon.serve();
        waiting.holds(&daemon, &format!("set by {jump} ms, next daemon"));
    }
    // Back where it was when the task began.
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    let ended =
        daemon.until(&json!({"action": "show", "task_id": waiting.running}), |task| task["status"] == "completed");
    let took = ended["execution_time"].as_f64().expect("a duration");
    assert!((0.0..600.0).contains(&took), "it ran {took} s, whatever the clock said");
    assert_eq!(ended["interruptions"], 0);
}

#[test]
fn timeouts_and_waits_take_their_time_when_the_clock_is_set() {
    let daemon = clocked();
    daemon.ok(json!({"action": "start", "max_concurrent": 8, "keep": true}));
    let mut tasks = Vec::new();
    for jump in JUMPS {
        let gate = format!("gate {jump}");
        let mut timed = shell("sleep 600");
        timed["timeout"] = json!(1);
        let mut patient = shell(&format!("while [ ! -e '{gate}' ]; do sleep 0.01; done"));
        patient["timeout"] = json!(600);
        let added = daemon.ok(json!({"action": "add_batch", "tasks": [timed, patient]}));
        daemon.running(2);
        let mut waiter = daemon.connect();
        waiter.send(&json!({"action": "wait", "batch_id": added["batch_id"], "timeout": 600}));
        set_clock(&daemon, jump);
        let id = added["first_task_id"].as_i64().expect("an id");
        let ended = daemon.until(&json!({"action": "show", "task_id": id}), |task| task["status"] == "failed");
        assert_eq!(ended["error"], "timed out after 1 s");
        assert_eq!(show(&daemon, id + 1)["status"], "running", "its time is not over, and the wait goes on");
        std::fs::write(daemon.work().join(gate), "").expect("the gate opens");
        let answer = waiter.receive();
        assert_eq!(answer["data"]["counts"]["completed"], 1, "{answer}");
        tasks.extend([id, id + 1]);
    }
    for id in tasks {
        let took = show(&daemon, id)["execution_time"].as_f64().expect("a duration");
        assert!((0.0..600.0).contains(&took), "task {id} ran {took} s");
    }
}

#[test]
fn a_key_is_remembered_and_what_completed_is_kept_when_the_clock_is_set() {
    let mut daemon = clocked();
    daemon.set("BATCH_EXECUTOR_KEEP_COMPLETED_DAYS", "30");
    daemon.kill();
    daemon.serve();
    let add =
        json!({"action": "add", "name": "once", "function": "simulate", "params": {"duration": 0}, "request_key": "k"});
    let first = daemon.ok(add.clone());
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    for jump in JUMPS {
        set_clock(&daemon, jump);
        let other = json!({"action": "add", "name": "other", "function": "simulate", "delay": 7200, "request_key": jump.to_string()});
        daemon.ok(other);
        assert_eq!(daemon.ok(add.clone())["task_id"], first["task_id"], "set by {jump} ms");
        daemon.kill();
        daemon.serve();
        assert_eq!(daemon.ok(add.clone())["task_id"], first["task_id"], "set by {jump} ms, next daemon");
        assert_eq!(counts(&daemon)["completed"], 1, "set by {jump} ms");
    }
}

/// Another boot, as the queue's row of the clock tells it.
fn reboot(daemon: &Daemon) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(daemon.home().join("queue.db"));
        let mut connection = options.connect().await.expect("the queue");
        sqlx::query("UPDATE clock SET boot = 'an earlier one'").execute(&mut connection).await.expect("another boot");
        connection.close().await.expect("closed");
    });
}

#[test]
fn a_boot_with_a_clock_in_the_past_waits_on_and_one_later_finds_it_due() {
    let mut daemon = clocked();
    let mut delayed = shell("echo x >> delayed");
    delayed["delay"] = json!(3600);
    let id = daemon.ok(json!({"action": "add_batch", "tasks": [delayed]}))["first_task_id"].as_i64().expect("an id");
    daemon.ok(json!({"action": "start", "keep": true}));
    for past in [-HOUR, -YEAR] {
        daemon.stop();
        reboot(&daemon);
        set_clock(&daemon, past);
        daemon.serve();
        let left = waits(&daemon, id);
        assert!((1.0..=3600.0).contains(&left), "{left}");
    }
    daemon.stop();
    reboot(&daemon);
    set_clock(&daemon, HOUR - YEAR);
    daemon.serve();
    daemon.until(&json!({"action": "show", "task_id": id}), |task| task["status"] == "completed");
}

/// A daemon in a time namespace (time_namespaces(7)) with other clocks. With `CLOCK_BOOTTIME` alone ahead the machine has slept.
struct Slept<'d> {
    daemon: &'d Daemon,
    child: std::process::Child,
}

impl<'d> Slept<'d> {
    /// With these clocks, each so many seconds ahead.
    fn serve(daemon: &'d Daemon, clocks: &[(&str, i64)]) -> Self {
        let plain = daemon.command(&["daemon"]);
        let mut command = Command::new("unshare");
        command.args(["--time", "--fork"]).args(clocks.iter().map(|(clock, ahead)| format!("--{clock}={ahead}")));
        command.arg(plain.get_program()).arg("daemon");
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let log = std::fs::File::create(Path::new(&daemon.work()).join("slept.err")).expect("a log");
        let child = command.current_dir(daemon.work()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.expect("unshare of util-linux");
        daemon.answers();
        Self { daemon, child }
    }
}

impl Drop for Slept<'_> {
    fn drop(&mut self) {
        drop(self.daemon.command(&["daemon", "stop", "--grace", "0"]).output());
        drop(self.child.wait());
    }
}

#[test]
fn sleep_counts_for_what_is_due_and_not_for_what_runs() {
    let mut daemon = clocked();
    let delayed = |delay| {
        let mut task = shell("true");
        task["delay"] = json!(delay);
        task
    };
    let mut retried = shell("[ -e tried ] || { touch tried; exit 1; }");
    (retried["max_retries"], retried["retry_delay"]) = (json!(1), json!(300));
    let mut running = shell("while [ ! -e gate ]; do sleep 0.01; done");
    running["timeout"] = json!(1800);
    let tasks = [delayed(3600), delayed(7200), retried, running];
    daemon.ok(json!({"action": "add_batch", "tasks": tasks}));
    daemon.ok(json!({"action": "start", "max_concurrent": 2, "keep": true, "timeout": 18_000}));
    daemon.until(&json!({"action": "show", "task_id": 3}), |task| task["retry_count"] == 1);
    daemon.running(1);
    daemon.kill();
    // Run time alone has passed, which is no other machine's either.
    let stood = Slept::serve(&daemon, &[("monotonic", 86_400)]);
    let left = [1, 2, 3].map(|id| waits(&daemon, id));
    assert!(left[0] > 3000.0 && left[1] > 6600.0 && left[2] > 200.0, "nothing is nearer: {left:?}");
    daemon.running(1);
    drop(stood);
    daemon.serve();
    daemon.running(1);
    daemon.kill();

    let slept = Slept::serve(&daemon, &[("boottime", 3600)]);
    for due in [1, 3] {
        daemon.until(&json!({"action": "show", "task_id": due}), |task| task["status"] == "completed");
    }
    let left = waits(&daemon, 2);
    assert!((1.0..=3600.0).contains(&left), "an hour of the two has gone: {left}");
    let status = daemon.ok(json!({"action": "status"}));
    assert_eq!((&status["state"], &status["counts"]["running"]), (&json!("running"), &json!(1)), "{status}");
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    let ended = daemon.until(&json!({"action": "show", "task_id": 4}), |task| task["status"] == "completed");
    assert!(ended["execution_time"].as_f64().is_some_and(|took| took < 1800.0), "sleep is no run time: {ended}");
    drop(slept);
    // Past the deadline of five hours: what runs goes back, and the state says why.
    let slept = Slept::serve(&daemon, &[("boottime", 20_000)]);
    let status = daemon.until(&json!({"action": "status"}), |status| status["state"] == "stopped");
    assert_eq!(status["reason"], "deadline");
    drop(slept);
}

#[test]
fn a_clock_that_goes_wild_does_no_harm() {
    let daemon = clocked();
    daemon.ok(json!({"action": "start", "max_concurrent": 2, "keep": true}));
    for jump in [i64::MAX / 4, i64::MIN / 4, 0] {
        set_clock(&daemon, jump);
        daemon.ok(json!({"action": "add", "name": "n", "function": "simulate", "params": {"duration": 0}}));
        daemon.wait();
        daemon.ok(json!({"action": "status", "detailed": true}));
    }
    assert_eq!(counts(&daemon)["completed"], 3);
}
