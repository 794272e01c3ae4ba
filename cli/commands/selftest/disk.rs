//! The disk: how long a sync takes, what happens when there is no room, and when a write fails.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::report::{Outcome, Seen};
use super::rules::shell;
use super::stage::{PATIENCE, Stage};
use crate::context::in_path;

/// Of so many syncs the median is told.
const SYNCS: usize = 48;
/// The size of the disk that is filled: a daemon keeps some room free for itself.
const DISK: &str = "96m";
/// The longest file that the daemon may write where writes are made to fail, in blocks of `ulimit -f`.
const BLOCKS: &str = "4096";
/// Tasks that would fill far more than that, and the length of each.
const TOO_MANY: usize = 600;
const LONG: usize = 64 * 1024;

/// What an acknowledgement costs here.
pub(super) fn sync(stage: &Stage) -> Outcome {
    let failed = |error: std::io::Error| Seen::Broken(format!("a file beside the home cannot be written: {error}"));
    if statfs(stage.folder()).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC) {
        return Err(Seen::NotTestable("the home is in memory (tmpfs): nothing of it survives a power loss".to_owned()));
    }
    let mut file = File::create(stage.folder().join("sync")).map_err(failed)?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        stage.not_interrupted()?;
        file.write_all(&[1; 4096]).map_err(failed)?;
        let begun = Instant::now();
        file.sync_data().map_err(failed)?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    let median = took.get(SYNCS / 2).copied().unwrap_or_default();
    let adds = 1.0 / median.max(Duration::from_micros(1)).as_secs_f64();
    let doubt = if median < Duration::from_micros(30) {
        "; that is quicker than a disk can be: something between may keep it in memory, which a power cut takes"
    } else {
        ""
    };
    Ok(format!(
        "one takes {:.2} ms (median of {SYNCS}), so who waits for each answer adds at most {adds:.0} tasks/s; several share one{doubt}",
        median.as_secs_f64() * 1000.0
    ))
}

/// No room, and room again: what cannot be kept is refused, no end is lost, it goes on by itself.
pub(super) fn full(stage: &Stage) -> Outcome {
    let mut daemon = Daemon::without(stage, "full")?;
    let home = daemon.home().display().to_string();
    let mount = format!("mount -t tmpfs -o size={DISK},mode=0700 tmpfs \"$0\" && exec \"$@\"");
    let words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &mount, &home];
    let can = in_path("unshare").is_some()
        && std::process::Command::new(words[0])
            .args(&words[1..])
            .args(["true"])
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    if !can {
        let why = "a small disk of its own needs user namespaces (`unshare`), which are not allowed";
        return Err(Seen::NotTestable(why.to_owned()));
    }
    daemon.wrapped(&words, true);
    daemon.serve()?;
    let held = |name| shell(name, "while [ ! -e go ]; do sleep 0.02; done; echo x >> full");
    let tasks = [held("held 1"), held("held 2"), shell("behind", "echo x >> full")];
    daemon.ask(json!({"action": "add_batch", "tasks": tasks}))?;
    daemon.ask(json!({"action": "start", "max_concurrent": 2, "keep": true}))?;
    while daemon.ask(json!({"action": "status"}))?["counts"]["running"] != 2 {
        stage.pause(Duration::from_millis(5))?;
    }
    let inside = format!("/proc/{}/root{home}/filler", daemon.pid().unwrap_or(0));
    fill(Path::new(&inside)).map_err(|error| Seen::NotTestable(format!("the small disk cannot be filled: {error}")))?;
    let add = json!({"action": "add", "name": "too late", "function": "simulate", "params": {"duration": 0}});
    let refused = daemon.answer(&add)?;
    let code = refused.error.as_ref().map(|refusal| json!(refusal.code)).unwrap_or_default();
    if code != "storage" {
        return Err(Seen::Broken(format!("an add on a full disk was answered: {}", refused.message)));
    }
    std::fs::write(daemon.work().join("go"), "").map_err(|error| Seen::Broken(format!("cannot write: {error}")))?;
    stage.until("the running tasks did not end", || (daemon.written("full").lines().count() >= 2).then_some(()))?;
    std::fs::remove_file(&inside).map_err(|error| Seen::Broken(format!("cannot make room: {error}")))?;
    let counts = daemon.wait()?;
    daemon.ask(add)?;
    let runs = daemon.written("full").lines().count();
    if counts["completed"] != 3 || runs != 3 {
        return Err(Seen::Broken(format!("of 3 tasks {} completed, in {runs} runs", counts["completed"])));
    }
    Ok("what did not fit was refused, ends waited for room, and all went on by itself".to_owned())
}

fn fill(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    for size in [65_536, 512, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    Ok(())
}

/// A write that fails, by a limit on the size of files: what was acknowledged is there afterwards.
pub(super) fn writes_fail(stage: &Stage) -> Outcome {
    let mut daemon = Daemon::without(stage, "limit")?;
    // SIGXFSZ would end the daemon before the write could fail.
    let limited = format!("trap '' XFSZ && ulimit -f {BLOCKS} && exec \"$@\"");
    daemon.wrapped(&["sh", "-c", &limited, "sh"], false);
    daemon.serve()?;
    let mut acknowledged = Vec::new();
    let mut refused = false;
    for number in 0..TOO_MANY {
        let mut add = shell(&format!("long {number}"), "true");
        add["action"] = json!("add");
        add["params"]["padding"] = json!("x".repeat(LONG));
        if !daemon.send(add) {
            break;
        }
        match daemon.receive(Instant::now() + PATIENCE)? {
            Some(answer) if answer.ok => acknowledged.extend(answer.data.and_then(|data| data["task_id"].as_i64())),
            Some(_) => {
                refused = true;
                break;
            }
            None => break,
        }
    }
    if acknowledged.len() == TOO_MANY {
        return Err(Seen::NotTestable("`ulimit -f` limits nothing here".to_owned()));
    }
    let goes_on = daemon.send(json!({"action": "status"}))
        && daemon.receive(Instant::now() + PATIENCE)?.is_some_and(|answer| answer.ok);
    if goes_on {
        daemon.kill()?;
    } else {
        let ended = daemon.ended()?;
        if ended != Some(74) {
            return Err(Seen::Broken(format!(
                "after a failed write the daemon did not end with 74, but with {ended:?}"
            )));
        }
    }
    daemon.wrapped(&[], false);
    daemon.serve()?;
    let there: Vec<Value> = daemon.tasks()?.iter().map(|task| task["task_id"].clone()).collect();
    let lost: Vec<&i64> = acknowledged.iter().filter(|id| !there.contains(&json!(id))).collect();
    if !lost.is_empty() {
        return Err(Seen::Broken(format!("tasks {lost:?} were acknowledged and are not there after a failed write")));
    }
    let how = match (refused, goes_on) {
        (true, true) => "refused the task and went on",
        (true, false) => "refused the task and ended with exit code 74",
        (false, _) => "ended with exit code 74",
    };
    Ok(format!("the daemon {how}; all {} tasks acknowledged before are there", acknowledged.len()))
}
