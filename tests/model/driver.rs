//! Carries a sequence out on the real program and compares it with the model after each step.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde_json::{Value, json};

use super::contract::{Kind, MAX_INTERRUPTIONS, Model, PRIORITIES, State, Status};
use super::steps::{Act, Op, Play, Step};
use crate::support::{Daemon, signal};

/// A mark that says that what had begun ended without a mark of its own.
const ALL_GONE: &str = "gone";

/// Carries `ops` out. An error says what differs and after which steps; so does what has not changed for `still`.
pub fn run(ops: &[Op], still: Duration) -> Result<(), String> {
    let mut driver = Driver::new(still);
    let mut play = Play::new();
    let mut done = Vec::new();
    for (place, op) in ops.iter().enumerate() {
        let first = play.model.next_task;
        let Some(step) = play.step(op) else { continue };
        done.push(step.act.to_string());
        driver.make_gates(first..play.model.next_task);
        let held = driver.carry_out(&step, &play.model).and_then(|()| {
            if matches!(ops.get(place + 1), Some(Op::CrashAtOnce)) { Ok(()) } else { driver.at_rest(&mut play.model) }
        });
        held.map_err(|why| format!("{why}\nafter\n{}\n{}", done.join("\n"), driver.daemon.log()))?;
    }
    driver.attempts(&play.model).map_err(|why| format!("{why}\nafter\n{}", done.join("\n")))
}

struct Driver {
    daemon: Daemon,
    still: Duration,
    /// The cap that the marks were told of.
    cap: usize,
    /// How often each gate has begun.
    begun: BTreeMap<i64, usize>,
}

impl Driver {
    fn new(still: Duration) -> Self {
        let limit = MAX_INTERRUPTIONS.to_string();
        let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_MAX_INTERRUPTIONS", &limit)]);
        std::fs::create_dir(daemon.work().join("gates")).expect("a folder");
        Self { daemon, still, cap: 0, begun: BTreeMap::new() }
    }

    fn make_gates(&self, tasks: std::ops::Range<i64>) {
        for task in tasks {
            nix::unistd::mkfifo(&self.gate(task), Mode::S_IRWXU).expect("a gate");
        }
    }

    fn gate(&self, task: i64) -> std::path::PathBuf {
        self.daemon.work().join("gates").join(task.to_string())
    }

    fn open(&self, task: i64, code: u8) -> Result<(), String> {
        File::options()
            .write(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(self.gate(task))
            .and_then(|mut gate| writeln!(gate, "{code}"))
            .map_err(|error| format!("nobody waits at the gate of task {task}: {error}"))
    }

    fn mark(&self, mark: &str) {
        let path = self.daemon.work().join("marks");
        let marks = File::options().append(true).create(true).open(path);
        // In one write: a task may write its own at the same moment.
        marks.and_then(|mut marks| marks.write_all(format!("{mark}\n").as_bytes())).expect("a mark");
    }

    fn marks(&self) -> String {
        std::fs::read_to_string(self.daemon.work().join("marks")).unwrap_or_default()
    }

    fn carry_out(&mut self, step: &Step, model: &Model) -> Result<(), String> {
        match &step.act {
            Act::Request(request) => {
                if model.cap > self.cap {
                    self.mark(&format!("cap {}", model.cap));
                }
                let answer = self.daemon.call(request);
                if model.cap < self.cap {
                    self.mark(&format!("cap {}", model.cap));
                }
                self.cap = model.cap;
                let part = if step.answer.get("error").is_some() { &answer } else { &answer["data"] };
                if !is_part(&step.answer, part) {
                    return Err(format!("expected {}\nanswered {answer}", step.answer));
                }
                Ok(())
            }
            Act::Open(task, code) => self.open(*task, *code),
            Act::Crash(open) => {
                self.daemon.kill();
                if let Some((task, code)) = open {
                    self.mark("down");
                    self.open(*task, *code)?;
                    let ended = format!("- {task}\n");
                    self.until(|driver| driver.marks().rsplit("down\n").next().is_some_and(|m| m.contains(&ended)))?;
                    self.mark("up");
                }
                self.daemon.serve();
                Ok(())
            }
            Act::Terminate => {
                let code = self.daemon.stop();
                self.daemon.serve();
                if code == Some(0) { Ok(()) } else { Err(format!("the daemon ended with {code:?}")) }
            }
            Act::KillKeeper => {
                let keeper = self.keeper();
                self.mark(ALL_GONE);
                signal(i32::try_from(keeper.as_i64().expect("a keeper")).expect("a pid"), "KILL");
                self.until(|driver| ![&keeper, &Value::Null].contains(&&driver.keeper()))
            }
        }
    }

    fn keeper(&self) -> Value {
        self.daemon.ok(json!({"action": "health"}))["keeper_pid"].take()
    }

    fn until(&self, holds: impl Fn(&Self) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !holds(self) {
            if begun.elapsed() > self.still {
                return Err("never happened".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits until the daemon is where the model is, and compares what must agree there.
    fn at_rest(&mut self, model: &mut Model) -> Result<(), String> {
        let started = std::mem::take(&mut model.started);
        // Only a gate leaves marks.
        for id in started.iter().filter(|id| model.tasks[id].kind == Kind::Gate) {
            *self.begun.entry(*id).or_default() += 1;
        }
        let expected = expected(model, &self.begun);
        let mut seen = self.seen();
        let mut changed = Instant::now();
        while seen.lines != expected {
            if changed.elapsed() > self.still {
                return Err(format!("{}{}", difference(&expected, &seen.lines), self.processes()));
            }
            std::thread::sleep(Duration::from_millis(1));
            let now = self.seen();
            if now.lines != seen.lines {
                changed = Instant::now();
            }
            seen = now;
        }
        let times: Vec<&String> = started.iter().filter_map(|id| seen.running_since.get(id)).collect();
        if !times.is_sorted() {
            return Err(format!("{started:?} should have started in this order, but did at {times:?}"));
        }
        self.batches(model)?;
        self.cap_held()?;
        let difference = self.daemon.ok(json!({"action": "health"}))["tally_difference"].take();
        if difference.is_null() { Ok(()) } else { Err(format!("the tallies differ from the rows: {difference}")) }
    }

    /// What the processes of the home do just now, for who looks for why something did not happen.
    fn processes(&self) -> String {
        let home = format!("BATCH_EXECUTOR_HOME={}", self.daemon.home().display());
        let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        let read = |path: &std::path::Path, file: &str| {
            String::from_utf8_lossy(&std::fs::read(path.join(file)).unwrap_or_default()).replace('\0', " ")
        };
        let ours = pids.filter(|path| read(path, "environ").split(' ').any(|variable| variable == home));
        let told = ours.map(|path| {
            let command: String = read(&path, "cmdline").chars().take(60).collect();
            let names = ["State", "SigPnd", "ShdPnd", "SigBlk"];
            let status = read(&path, "status");
            let lines: Vec<&str> =
                status.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).collect();
            format!(
                "{} {command:?} {lines:?} {} {}\n",
                path.display(),
                read(&path, "wchan"),
                read(&path, "syscall").trim()
            )
        });
        let said = self.daemon.tasks().into_iter().filter(|task| task["status"] == "running").map(|task| {
            let log = self.daemon.ok(json!({"action": "logs", "task_id": task["task_id"]}));
            format!("task {} said {}\n", task["task_id"], log["text"])
        });
        told.chain(said).chain([format!("marks: {:?}\n", self.marks())]).collect()
    }

    fn seen(&self) -> Seen {
        let status = self.daemon.ok(json!({"action": "status"}));
        let tasks = self.daemon.tasks();
        let mut lines = vec![
            // A due time may be known that is none any more: whether nothing but a `resume` helps is not always said.
            format!("state {} {}", status["state"], said(&status["reason"])),
            format!("deadline {}", !status["deadline"].is_null()),
        ];
        lines.extend(Status::ALL.map(|status_of| count_line(status_of.name(), &status["counts"][status_of.name()])));
        for task in &tasks {
            lines.push(format!(
                "task {} of batch {}: {} {}, retries {}, interruptions {}",
                task["task_id"],
                task["batch_id"],
                task["status"],
                task["priority"],
                task["retry_count"],
                task["interruptions"]
            ));
        }
        let mut begun: BTreeMap<i64, usize> = BTreeMap::new();
        for task in self.marks().lines().filter_map(|mark| mark.strip_prefix("+ ")) {
            *begun.entry(task.parse().expect("an id")).or_default() += 1;
        }
        lines.extend(begun.iter().map(begun_line));
        let running = tasks.iter().filter(|task| task["status"] == "running");
        let since = |task: &Value| Some((task["task_id"].as_i64()?, task["started_at"].as_str()?.to_owned()));
        Seen { lines, running_since: running.filter_map(since).collect() }
    }

    /// Each batch counts its own tasks.
    fn batches(&self, model: &Model) -> Result<(), String> {
        let batches: BTreeSet<i64> = model.tasks.values().map(|task| task.batch).collect();
        for batch in batches {
            let counts = self.daemon.ok(json!({"action": "status", "batch_id": batch}))["counts"].take();
            for status in Status::ALL {
                let count = model.of(status).filter(|id| model.tasks[id].batch == batch).count();
                if counts[status.name()] != count {
                    return Err(format!("batch {batch}: {count} {} expected, counted {counts}", status.name()));
                }
            }
        }
        Ok(())
    }

    /// By the marks that the processes themselves wrote.
    fn cap_held(&self) -> Result<(), String> {
        let (mut cap, mut running, mut is_down) = (0, 0_usize, false);
        let marks = self.marks();
        for mark in marks.lines() {
            match mark.split_once(' ') {
                Some(("cap", now)) => cap = now.parse().expect("a number"),
                Some(("+", _)) => running += 1,
                Some(("-", _)) => running -= 1,
                _ if mark == ALL_GONE => running = 0,
                _ => is_down = mark == "down",
            }
            if mark.starts_with('+') && (running > cap || is_down) {
                return Err(format!("{running} ran at once with a cap of {cap}, daemon down: {is_down}\n{marks}"));
            }
        }
        Ok(())
    }

    /// What became of every attempt.
    fn attempts(&self, model: &Model) -> Result<(), String> {
        for (id, task) in &model.tasks {
            let shown = self.daemon.ok(json!({"action": "show", "task_id": id}));
            let attempts = shown["attempts"].as_array().expect("a list");
            let ended: Vec<&str> = attempts
                .iter()
                .filter(|attempt| !attempt["finished_at"].is_null())
                .filter_map(|attempt| attempt["outcome"].as_str())
                .collect();
            if ended != task.outcomes {
                return Err(format!("task {id}: attempts {:?} expected\nshown {shown}", task.outcomes));
            }
        }
        Ok(())
    }
}

fn said(reason: &Value) -> Value {
    if reason == "all that is left is paused" { Value::Null } else { reason.clone() }
}

/// What the daemon shows and the marks say.
struct Seen {
    lines: Vec<String>,
    running_since: BTreeMap<i64, String>,
}

fn expected(model: &Model, begun: &BTreeMap<i64, usize>) -> Vec<String> {
    let state = match model.state {
        State::Stopped => "stopped",
        State::Running => "running",
        State::Stopping => "stopping",
    };
    let mut lines =
        vec![format!("state {} {}", json!(state), json!(model.shown_reason())), format!("deadline {}", model.deadline)];
    lines.extend(Status::ALL.map(|status| count_line(status.name(), &model.count(status))));
    for (id, task) in &model.tasks {
        lines.push(format!(
            "task {id} of batch {}: {} {}, retries {}, interruptions {}",
            task.batch,
            json!(task.status.name()),
            json!(PRIORITIES[task.priority]),
            task.retry_count,
            task.interruptions
        ));
    }
    lines.extend(begun.iter().map(begun_line));
    lines
}

fn count_line(status: &str, count: &dyn std::fmt::Display) -> String {
    format!("{status}: {count}")
}

fn begun_line((task, times): (&i64, &usize)) -> String {
    format!("task {task} has begun {times} times")
}

fn difference(expected: &[String], seen: &[String]) -> String {
    let only = |mark: char, these: &[String], those: &[String]| -> String {
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("{mark} {line}\n")).collect()
    };
    format!("expected -, seen +:\n{}{}", only('-', expected, seen), only('+', seen, expected))
}

/// Whether `actual` has all that `expected` has.
fn is_part(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            expected.iter().all(|(key, value)| actual.get(key).is_some_and(|actual| is_part(value, actual)))
        }
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len() && expected.iter().zip(actual).all(|(e, a)| is_part(e, a))
        }
        _ => expected == actual,
    }
}
