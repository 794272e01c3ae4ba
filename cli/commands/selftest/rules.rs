//! What the tasks themselves can see: their order, how many run at once, that they end when they are told to and leave
//! nothing behind, that what they write is kept.

use batch_executor::client::process::Identity;
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::report::{Outcome, Seen};
use super::stage::Stage;
use crate::context::in_path;

/// How many tasks are put in order.
const ORDERED: usize = 24;
/// How many share the slots, and the slots.
const CROWD: usize = 30;
const CAP: i64 = 3;
/// Lines of the long output: more than travels with an end.
const LINES: usize = 20_000;

/// A task of the shell's.
pub(super) fn shell(name: &str, code: &str) -> Value {
    json!({"name": name, "function": "command", "params": {"argv": ["sh", "-c", code]}, "max_retries": 0})
}

/// Higher priority first, then the lower id.
pub(super) fn order(stage: &Stage) -> Outcome {
    let mut daemon = Daemon::start(stage, "order")?;
    let mut random = stage.random(1);
    let priorities: Vec<usize> = (0..ORDERED).map(|_| random.usize(0..4)).collect();
    let tasks = priorities.iter().enumerate().map(|(i, priority)| {
        let mut task = shell(&format!("ordered {i}"), "echo $BATCH_EXECUTOR_TASK_ID >> order");
        task["priority"] = json!(["low", "medium", "high", "critical"][*priority]);
        task
    });
    let added = daemon.ask(json!({"action": "add_batch", "tasks": tasks.collect::<Vec<_>>()}))?;
    let ids = added["task_ids"].as_array().cloned().unwrap_or_default();
    let mut right: Vec<_> = priorities.iter().map(|p| std::cmp::Reverse(*p)).zip(ids.iter().map(number)).collect();
    right.sort_unstable();
    let right: Vec<String> = right.iter().map(|(_, id)| id.to_string()).collect();
    daemon.ask(json!({"action": "start", "max_concurrent": 1}))?;
    daemon.wait()?;
    let ran = daemon.written("order");
    if ran.lines().eq(right.iter().map(String::as_str)) {
        return Ok(format!("{ORDERED} tasks of mixed priorities ran by priority, then by id"));
    }
    let ran: Vec<&str> = ran.lines().collect();
    Err(Seen::Broken(format!("they ran as {}, but should as {}", ran.join(" "), right.join(" "))))
}

/// Never more at once than was said, as the tasks see it, and a kill of the daemon changes nothing.
pub(super) fn cap(stage: &Stage) -> Outcome {
    let mut daemon = Daemon::start(stage, "cap")?;
    let tasks: Vec<Value> =
        (0..CROWD).map(|i| shell(&format!("one of many {i}"), "echo + >> cap; sleep 0.05; echo - >> cap")).collect();
    daemon.ask(json!({"action": "add_batch", "tasks": tasks}))?;
    daemon.ask(json!({"action": "start", "max_concurrent": CAP}))?;
    stage.until("no task began", || (!daemon.written("cap").is_empty()).then_some(()))?;
    daemon.kill()?;
    daemon.serve()?;
    daemon.wait()?;
    let (mut now, mut most) = (0_i64, 0_i64);
    for sign in daemon.written("cap").lines() {
        now += if sign == "+" { 1 } else { -1 };
        most = most.max(now);
    }
    if most > CAP {
        return Err(Seen::Broken(format!("{most} tasks ran at once, but at most {CAP} may")));
    }
    Ok(format!("of {CROWD} tasks never more than {CAP} ran at once, as they saw it, across a kill of the daemon"))
}

/// A timeout and a cancel end a task, whatever it does about SIGTERM, and it does not count as completed.
pub(super) fn ending(stage: &Stage) -> Outcome {
    let mut daemon = Daemon::start(stage, "ending")?;
    let code = |name: &str, trap: &str| format!("{trap}; echo $$ > {name}; while :; do sleep 0.05; done");
    let mut timed = shell("timed", &code("timed", "trap 'exit 0' TERM"));
    timed["timeout"] = json!(0.5);
    let cancelled = shell("cancelled", &code("cancelled", "trap 'exit 0' TERM"));
    let deaf = shell("deaf", &code("deaf", "trap '' TERM"));
    let added = daemon.ask(json!({"action": "add_batch", "tasks": [timed, cancelled, deaf]}))?;
    daemon.ask(json!({"action": "start", "max_concurrent": 3}))?;
    let processes = [process(stage, &daemon, "cancelled")?, process(stage, &daemon, "deaf")?];
    let ids = &added["task_ids"].as_array().cloned().unwrap_or_default();
    daemon.ask(json!({"action": "cancel", "task_ids": ids.get(1..).unwrap_or_default()}))?;
    daemon.wait()?;
    let tasks = daemon.tasks()?;
    for (task, wanted) in tasks.iter().zip(["failed", "cancelled", "cancelled"]) {
        if task["status"] != wanted {
            let why = task["error"].as_str().unwrap_or("without an error");
            return Err(Seen::Broken(format!(
                "the task `{}` is {} ({why}), but should be {wanted}",
                text(&task["name"]),
                text(&task["status"])
            )));
        }
    }
    let error = tasks.first().map(|task| text(&task["error"])).unwrap_or_default();
    if error != "timed out after 0.5 s" {
        return Err(Seen::Broken(format!("the timeout is reported as `{error}`")));
    }
    for process in processes.into_iter().flatten() {
        gone(stage, process, "a cancelled task's process")?;
    }
    Ok("a timeout and a cancel end a task, one that ignores SIGTERM too; neither counts as completed".to_owned())
}

/// What left its task's process group and session ends with it all the same.
pub(super) fn left_behind(stage: &Stage) -> Outcome {
    if in_path("setsid").is_none() {
        return Err(Seen::NotTestable("no program `setsid` in PATH, by which a task could leave its group".to_owned()));
    }
    let mut daemon = Daemon::start(stage, "group")?;
    let code = |name: &str, then: &str| {
        format!("setsid sh -c 'echo $$ > {name}; exec sleep 600' & while [ ! -s {name} ]; do sleep 0.01; done; {then}")
    };
    let mut timed = shell("timed", &code("timed", "sleep 600"));
    timed["timeout"] = json!(1);
    let cancelled = shell("cancelled", &code("cancelled", "sleep 600"));
    let finished = shell("finished", &code("finished", "while [ ! -e go ]; do sleep 0.01; done"));
    let added = daemon.ask(json!({"action": "add_batch", "tasks": [timed, cancelled, finished]}))?;
    daemon.ask(json!({"action": "start", "max_concurrent": 3}))?;
    let mut left = Vec::new();
    for name in ["timed", "cancelled", "finished"] {
        left.extend(process(stage, &daemon, name)?.map(|process| (name, process)));
    }
    daemon.ask(json!({"action": "cancel", "task_id": added["task_ids"][1]}))?;
    std::fs::write(daemon.work().join("go"), "").map_err(|error| Seen::Broken(format!("cannot write: {error}")))?;
    daemon.wait()?;
    for (how, process) in left {
        gone(stage, process, &format!("what a {how} task had started in a session of its own"))?;
    }
    Ok("what had left its task's process group ended with it: finished, cancelled and timed out".to_owned())
}

/// Short output and long, both streams, whole and exact, under the next daemon too.
pub(super) fn output(stage: &Stage) -> Outcome {
    let mut daemon = Daemon::start(stage, "output")?;
    let short = shell("short", "echo out; echo err >&2; exit 3");
    let long = format!("i=0; while [ $i -lt {LINES} ]; do echo \"line $i\"; i=$((i+1)); done");
    let added = daemon.ask(json!({"action": "add_batch", "tasks": [short, shell("long", &long)]}))?;
    daemon.ask(json!({"action": "start"}))?;
    daemon.wait()?;
    let kept = &daemon.tasks()?[0]["result"];
    if kept["stdout"] != "out\n" || kept["stderr"] != "err\n" || kept["exit_code"] != 3 {
        return Err(Seen::Broken(format!("a task wrote `out` and `err` and exited 3, but its result is {kept}")));
    }
    daemon.kill()?;
    daemon.serve()?;
    let (mut read, mut offset) = (String::new(), json!(0));
    loop {
        let page = daemon.ask(json!({"action": "logs", "task_id": added["task_ids"][1], "offset": offset}))?;
        read += page["text"].as_str().unwrap_or_default();
        offset = page["next_offset"].clone();
        if page["text"].as_str().is_none_or(str::is_empty) {
            break;
        }
    }
    let written = (0..LINES).map(|i| format!("line {i}"));
    if read.lines().count() == LINES && read.lines().eq(written) {
        return Ok(format!(
            "exit code, both streams and {LINES} lines of a log are kept exactly, over a kill of the daemon"
        ));
    }
    let good = read.lines().enumerate().take_while(|(i, line)| *line == format!("line {i}")).count();
    Err(Seen::Broken(format!(
        "of a log of {LINES} lines {} came back, and only {good} as written",
        read.lines().count()
    )))
}

/// The process whose pid a task wrote; none if it has ended already.
fn process(stage: &Stage, daemon: &Daemon<'_>, name: &str) -> Result<Option<Identity>, Seen> {
    let never = format!("the task `{name}` did not begin");
    let pid = stage.until(&never, || daemon.written(name).strip_suffix('\n').and_then(|pid| pid.parse().ok()))?;
    Ok(Identity::of(pid))
}

fn gone(stage: &Stage, process: Identity, what: &str) -> Result<(), Seen> {
    stage.until(&format!("{what} (pid {}) did not end", process.pid()), || (!process.lives()).then_some(()))
}

fn number(id: &Value) -> i64 {
    id.as_i64().unwrap_or(0)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
