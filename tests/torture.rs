//! Everything dies at any instant, a thousand times, while clients add, cancel, retry, clear, export and change the
//! cap; what was acknowledged is there, and nothing that completed ran again.
//!
//! A short form by default; `TORTURE=full` is the whole. `TORTURE_SEED` repeats the choices of a run, which are
//! printed with it; the instants are the machine's.

#[path = "torture/check.rs"]
mod check;
#[path = "torture/client.rs"]
mod client;
#[path = "support/shim.rs"]
mod shim;
mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use batch_executor::failpoint::{POINTS, VARIABLE};
use client::{CAP, Client, Ledger};
use serde_json::json;
use support::{Daemon, lives, signal};

/// Clients at once.
const CLIENTS: u64 = 3;
/// The longest that a point may take to be reached.
const PATIENCE: Duration = Duration::from_secs(60);

fn is_full() -> bool {
    std::env::var("TORTURE").is_ok_and(|form| form == "full")
}

fn seed() -> u64 {
    let seed =
        std::env::var("TORTURE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("TORTURE_SEED={seed}");
    seed
}

/// A home under load, and who loads it.
fn under_load(seed: u64, tormented: impl FnOnce(&mut Daemon, &mut fastrand::Rng)) {
    // Tasks are interrupted more often than any would be at home.
    let more = [("BATCH_EXECUTOR_MAX_INTERRUPTIONS", "1000"), ("BATCH_EXECUTOR_KEEP_EVENTS", "10000000")];
    let mut daemon = Daemon::start_with(&more);
    daemon.ok(json!({"action": "start", "max_concurrent": CAP, "keep": true}));
    let (ledger, over) = (Mutex::new(Ledger::default()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let client = Client::new(number, seed ^ number, daemon.home(), daemon.work());
            let (ledger, over) = (&ledger, &over);
            scope.spawn(move || client.run(ledger, over));
        }
        let mut random = fastrand::Rng::with_seed(seed);
        // A panic here must still let the clients go, or the scope waits for ever.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tormented(&mut daemon, &mut random)));
        if daemon.has_died() {
            daemon.serve();
        }
        over.store(true, Ordering::Release);
        if let Err(panic) = ended {
            let log = daemon.log();
            let from = log.len().saturating_sub(20_000);
            eprintln!("{}", &log[log.ceil_char_boundary(from)..]);
            std::panic::resume_unwind(panic);
        }
    });
    check::all(&daemon, &ledger.into_inner().expect("the clients' ledger"));
}

/// The keeper, if the daemon has one just now.
fn keeper(daemon: &Daemon) -> Option<i32> {
    let pid = daemon.ok(json!({"action": "health"}))["keeper_pid"].as_i64()?;
    Some(i32::try_from(pid).expect("a pid"))
}

/// Kills the keeper, if there is one.
fn kill_keeper(daemon: &Daemon) -> bool {
    let Some(pid) = keeper(daemon).filter(|pid| lives(*pid)) else { return false };
    signal(pid, "KILL");
    true
}

#[test]
fn killed_at_any_instant() {
    let (daemons, keepers) = if is_full() { (1_000, 200) } else { (60, 12) };
    let begun = Instant::now();
    let (mut killed, mut keepers_killed, mut replaced) = (0, 0, 0);
    under_load(seed(), |daemon, random| {
        while killed < daemons || keepers_killed < keepers {
            std::thread::sleep(Duration::from_micros(random.u64(0..120_000)));
            let choice = random.u8(0..100);
            if choice < 17 && keepers_killed < keepers {
                keepers_killed += u32::from(kill_keeper(daemon));
            }
            if choice < 10 {
                // In the middle of the keeper's replacement at times, and of its own at others.
                signal(daemon.pid(), "USR2");
                replaced += 1;
                std::thread::sleep(Duration::from_micros(random.u64(0..30_000)));
            }
            if !(14..17).contains(&choice) {
                daemon.kill();
                daemon.serve();
                killed += 1;
            }
        }
    });
    println!(
        "{killed} daemons and {keepers_killed} keepers killed, {replaced} replacements begun, in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
}

/// Waits for what a point brings about.
fn comes(what: &str, done: impl FnMut() -> bool) {
    assert!(comes_in_time(done), "{what} was not reached");
}

fn comes_in_time(mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if done() {
            return true;
        }
        if begun.elapsed() >= PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One life that ends at `point`.
fn life_until(daemon: &mut Daemon, point: &str, chosen: &str) {
    let environment = [(VARIABLE, chosen)];
    daemon.kill();
    if point.starts_with("keeper") {
        // After the daemon, which would start another at once, one without the point.
        daemon.kill_keepers();
    }
    let lost = daemon.log().matches("the keeper is gone").count();
    daemon.spawn(&environment);
    match point {
        "keeper-storing-ends" => {
            // Where a client has just paused what runs, nothing of it ends while there is no daemon to tell of a resume.
            let reached = (0..3).any(|_| {
                daemon.answers();
                daemon.until(&json!({"action": "status"}), |data| data["counts"]["running"].as_i64() > Some(0));
                let pid = self::keeper(daemon).expect("a keeper");
                daemon.kill();
                comes_in_time(|| !lives(pid)) || {
                    daemon.spawn(&environment);
                    false
                }
            });
            assert!(reached, "{point} was not reached");
        }
        _ if point.starts_with("keeper") => {
            comes(point, || daemon.log().matches("the keeper is gone").count() > lost || daemon.has_died());
            daemon.kill();
        }
        "before-exec" => {
            daemon.answers();
            signal(daemon.pid(), "USR2");
            comes(point, || daemon.has_died());
        }
        _ => comes(point, || daemon.has_died()),
    }
    daemon.serve();
}

/// One life that ends in a checkpoint, at its `nth` write.
fn life_until_checkpoint(daemon: &mut Daemon, library: &str, nth: u32) {
    daemon.kill();
    let (home, arm) = (daemon.home().display().to_string(), daemon.work().display().to_string());
    // Only checkpoints write to the file itself.
    let fault = format!("write queue.db {nth} 0 once");
    daemon.spawn(&[("LD_PRELOAD", library), ("SHIM_HOME", &home), ("SHIM_ARM", &arm), ("SHIM_FAULT", &fault)]);
    comes("a checkpoint", || daemon.has_died());
    daemon.serve();
}

#[test]
fn killed_in_checkpoints() {
    let times = if is_full() { 12 } else { 2 };
    let folder = tempfile::tempdir().expect("a folder");
    let library = shim::compile(folder.path()).display().to_string();
    under_load(seed(), |daemon, random| {
        for _ in 0..times {
            life_until_checkpoint(daemon, &library, random.u32(1..60));
        }
    });
}

#[test]
fn killed_at_every_named_point() {
    let times = if is_full() { 3 } else { 1 };
    under_load(seed(), |daemon, random| {
        for time in 0..times {
            for point in POINTS {
                // It takes the keeper's patience of half a minute.
                if *point == "keeper-storing-ends" && !is_full() {
                    continue;
                }
                let often = ["before-commit", "after-commit", "before-apply", "before-taken", "before-launch"];
                let nth = if time > 0 && often.contains(point) { random.u32(1..40) } else { 1 };
                life_until(daemon, point, &format!("{point}:{nth}"));
                // A request, where a defect ends nothing.
                if !["before-pause", "before-publish"].contains(point) {
                    life_until(daemon, point, &format!("{point}:{nth}:panic"));
                }
            }
        }
    });
}
