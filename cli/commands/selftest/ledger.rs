//! The ledger of what was acknowledged, kept apart from the queue, and its comparison with what is there in the end.

use std::collections::{BTreeMap, BTreeSet};

use batch_executor::protocol::Response;
use serde_json::{Value, json};

use super::report::Seen;
use super::rules::shell;

/// A request that was sent and not answered; it is sent again, and does nothing the second time.
#[derive(Debug, Clone)]
pub(super) enum Request {
    /// Names of tasks, under a key.
    Add {
        key: String,
        names: Vec<String>,
    },
    Cancel {
        id: i64,
    },
    Cap {
        at_most: u32,
    },
}

/// What is known of a task.
#[derive(Debug)]
struct Entry {
    /// By its acknowledgement.
    id: Option<i64>,
    /// The highest id that was known when it was first sent.
    above: i64,
    cancel: Cancel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancel {
    Never,
    Asked,
    Acknowledged,
}

/// What cannot be, by the promise that it breaks.
#[derive(Debug, Default)]
pub(super) struct Findings(pub BTreeMap<&'static str, Vec<String>>);

impl Findings {
    pub(super) fn note(&mut self, promise: &'static str, seen: String) {
        self.0.entry(promise).or_default().push(seen);
    }
}

/// The promises that the comparison looks at.
pub(super) const KEPT: &str = "nothing lost";
pub(super) const ONCE: &str = "nothing twice";
pub(super) const CALM: &str = "undisturbed";
pub(super) const CANCELS: &str = "cancels hold";
pub(super) const IDS: &str = "ids";

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub acknowledged: u64,
    pub tasks: u64,
    pub runs: usize,
    pub lost_attempts: usize,
    pub cancelled: u64,
}

/// The ledger of one block of kills.
pub(super) struct Ledger {
    random: fastrand::Rng,
    tasks: BTreeMap<String, Entry>,
    next_name: u64,
    highest: i64,
    pub sums: Sums,
}

impl Ledger {
    pub(super) fn new(random: fastrand::Rng) -> Self {
        Self { random, tasks: BTreeMap::new(), next_name: 1, highest: 0, sums: Sums::default() }
    }

    /// What a client might ask next; with `adds`, tasks too.
    pub(super) fn next(&mut self, adds: bool) -> Request {
        match self.random.u32(0..10) {
            0 => Request::Cap { at_most: self.random.u32(2..8) },
            1 | 2 if self.highest > 0 => {
                let known: Vec<i64> = self.tasks.values().rev().filter_map(|entry| entry.id).take(16).collect();
                match self.random.choice(known) {
                    Some(id) => Request::Cancel { id },
                    None => Request::Cap { at_most: 4 },
                }
            }
            n if adds => {
                let count = if n < 7 { 1 } else { self.random.u64(2..7) };
                let names: Vec<String> = (0..count).map(|i| format!("{:08}", self.next_name + i)).collect();
                self.next_name += count;
                let key = format!("selftest {}", names[0]);
                Request::Add { key, names }
            }
            _ => Request::Cap { at_most: self.random.u32(2..8) },
        }
    }

    /// The request on the wire, noted as sent.
    pub(super) fn sent(&mut self, request: &Request) -> Value {
        match request {
            Request::Add { key, names } => {
                for name in names {
                    let above = self.highest;
                    self.tasks.entry(name.clone()).or_insert(Entry { id: None, above, cancel: Cancel::Never });
                }
                let tasks: Vec<Value> = names.iter().map(|name| task(name)).collect();
                match tasks.as_slice() {
                    [one] => {
                        let mut add = one.clone();
                        add["action"] = json!("add");
                        add["request_key"] = json!(key);
                        add
                    }
                    several => json!({"action": "add_batch", "tasks": several, "request_key": key}),
                }
            }
            Request::Cancel { id } => {
                for entry in self.tasks.values_mut().filter(|entry| entry.id == Some(*id)) {
                    if entry.cancel == Cancel::Never {
                        entry.cancel = Cancel::Asked;
                    }
                }
                json!({"action": "cancel", "task_ids": [id]})
            }
            Request::Cap { at_most } => json!({"action": "start", "max_concurrent": at_most, "keep": true}),
        }
    }

    /// Notes what was acknowledged.
    ///
    /// # Errors
    /// A refusal.
    pub(super) fn answered(
        &mut self,
        request: &Request,
        answer: &Response,
        findings: &mut Findings,
    ) -> Result<(), Seen> {
        if let (false, Request::Cancel { id }) = (answer.ok, request) {
            findings.note(KEPT, format!("task {id} was acknowledged, and its cancel refused: {}", answer.message));
            return Ok(());
        }
        if !answer.ok {
            return Err(Seen::Broken(format!("{request:?} was refused: {}", answer.message)));
        }
        self.sums.acknowledged += 1;
        let data = answer.data.as_ref().unwrap_or(&Value::Null);
        match request {
            Request::Add { names, .. } => {
                let ids: Vec<i64> = match data["task_ids"].as_array() {
                    Some(ids) => ids.iter().filter_map(Value::as_i64).collect(),
                    None => data["task_id"].as_i64().into_iter().collect(),
                };
                if ids.len() != names.len() {
                    return Err(Seen::Broken(format!("{} tasks were sent, and the answer is {data}", names.len())));
                }
                for (name, id) in names.iter().zip(ids) {
                    let Some(entry) = self.tasks.get_mut(name) else { continue };
                    if id <= entry.above {
                        findings.note(IDS, format!("task {name} has id {id}, but {} was given before it", entry.above));
                    }
                    entry.id = Some(id);
                    self.highest = self.highest.max(id);
                }
            }
            Request::Cancel { id } => {
                if data["cancelled"].as_array().is_some_and(|ids| ids.contains(&json!(id))) {
                    for entry in self.tasks.values_mut().filter(|entry| entry.id == Some(*id)) {
                        entry.cancel = Cancel::Acknowledged;
                    }
                }
            }
            Request::Cap { .. } => {}
        }
        Ok(())
    }

    /// Compares the ledger with the tasks and with what they wrote themselves (a line for each run: id and attempt), and
    /// begins a new one. `calm`: only the daemon was killed, so no running task may have been disturbed.
    pub(super) fn compare(&mut self, tasks: &[Value], written: &str, calm: bool, findings: &mut Findings) {
        let mut runs: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for line in written.lines() {
            let mut numbers = line.split(' ').map(|number| number.parse().unwrap_or(0));
            let (id, attempt) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            runs.entry(id).or_default().push(attempt);
        }
        let mut names = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for task in tasks {
            let (name, id) = (task["name"].as_str().unwrap_or_default(), task["task_id"].as_i64().unwrap_or(0));
            if !names.insert(name) {
                findings.note(ONCE, format!("task {name} was added twice, though its request had a key"));
            }
            if !ids.insert(id) {
                findings.note(IDS, format!("two tasks have the id {id}"));
            }
            match self.tasks.get(name) {
                None => findings.note(KEPT, format!("task {id} `{name}` was never sent")),
                Some(entry) if entry.id != Some(id) => {
                    findings.note(IDS, format!("task `{name}` was acknowledged as {:?} and is {id}", entry.id));
                }
                Some(entry) => {
                    let runs = runs.get(&id).map(Vec::as_slice).unwrap_or_default();
                    compare_one(task, entry.cancel, runs, calm, findings, &mut self.sums);
                }
            }
        }
        for (name, entry) in self.tasks.iter().filter(|(name, _)| !names.contains(name.as_str())) {
            let id = entry.id.unwrap_or(0);
            findings.note(KEPT, format!("task {id} `{name}` was acknowledged and is not there"));
        }
        self.sums.tasks += self.tasks.len() as u64;
        self.tasks.clear();
    }
}

/// A task that says in a file of its own that it runs; some fail the first time.
fn task(name: &str) -> Value {
    const MARK: &str = "echo $BATCH_EXECUTOR_TASK_ID $BATCH_EXECUTOR_ATTEMPT >> runs";
    let number: u64 = name.parse().unwrap_or(0);
    let code = match number % 8 {
        0 => format!("{MARK}; [ $BATCH_EXECUTOR_ATTEMPT -gt 1 ]"),
        1 => format!("{MARK}; sleep 0.3"),
        2 | 3 => format!("{MARK}; sleep 0.05"),
        _ => MARK.to_owned(),
    };
    let mut task = shell(name, &code);
    task["max_retries"] = json!(3);
    task["retry_delay"] = json!(0.05);
    task
}

fn compare_one(task: &Value, cancel: Cancel, runs: &[i64], calm: bool, findings: &mut Findings, sums: &mut Sums) {
    let (id, status) = (&task["task_id"], task["status"].as_str().unwrap_or_default());
    let attempts = task["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let with = |outcome: &str| attempts.iter().filter(|attempt| attempt["outcome"] == outcome).count();
    sums.runs += runs.len();
    match (status, cancel) {
        ("completed", Cancel::Acknowledged) => {
            findings.note(CANCELS, format!("task {id} was cancelled, and that was acknowledged, but it completed"));
        }
        ("completed", _) => {}
        ("cancelled", Cancel::Asked | Cancel::Acknowledged) => sums.cancelled += 1,
        (other, _) => {
            let error = task["error"].as_str().unwrap_or("no error");
            findings.note(KEPT, format!("task {id} should have completed, but is {other} ({error})"));
        }
    }
    if with("completed") > 1 {
        findings.note(ONCE, format!("task {id} completed {} times", with("completed")));
    }
    if runs.len() > attempts.len() {
        findings
            .note(ONCE, format!("task {id} ran {} times, but has {} recorded attempts", runs.len(), attempts.len()));
    }
    let completed = attempts.iter().find(|attempt| attempt["outcome"] == "completed");
    if let Some(number) = completed.and_then(|attempt| attempt["attempt"].as_i64())
        && !runs.contains(&number)
    {
        findings.note(KEPT, format!("task {id} is completed by attempt {number}, but that did not run"));
    }
    let lost = with("interrupted");
    sums.lost_attempts += lost;
    if calm && lost > 0 {
        findings.note(CALM, format!("task {id} was interrupted, though only the daemon was killed"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(cancel: Cancel) -> Ledger {
        let mut ledger = Ledger::new(fastrand::Rng::with_seed(1));
        ledger.tasks.insert("00000001".to_owned(), Entry { id: Some(1), above: 0, cancel });
        ledger
    }

    fn done(attempts: &[&str]) -> Value {
        let attempts: Vec<Value> =
            attempts.iter().zip(1..).map(|(outcome, n)| json!({"attempt": n, "outcome": outcome})).collect();
        json!({"task_id": 1, "name": "00000001", "status": "completed", "attempts": attempts})
    }

    fn broken(cancel: Cancel, tasks: &[Value], written: &str) -> Vec<&'static str> {
        let mut findings = Findings::default();
        ledger(cancel).compare(tasks, written, true, &mut findings);
        findings.0.into_keys().collect()
    }

    #[test]
    fn what_agrees_is_no_finding() {
        assert!(broken(Cancel::Never, &[done(&["failed", "completed"])], "1 1\n1 2\n").is_empty());
    }

    #[test]
    fn each_promise_can_be_seen_broken() {
        assert_eq!(broken(Cancel::Never, &[], ""), [KEPT]);
        assert_eq!(broken(Cancel::Never, &[done(&["completed"])], ""), [KEPT]);
        assert_eq!(broken(Cancel::Never, &[done(&["completed"])], "1 1\n1 1\n"), [ONCE]);
        assert_eq!(broken(Cancel::Never, &[done(&["completed", "completed"])], "1 1\n1 2\n"), [ONCE]);
        assert_eq!(broken(Cancel::Never, &[done(&["interrupted", "completed"])], "1 1\n1 2\n"), [CALM]);
        assert_eq!(broken(Cancel::Acknowledged, &[done(&["completed"])], "1 1\n"), [CANCELS]);
        assert_eq!(broken(Cancel::Never, &[done(&["completed"]), done(&["completed"])], "1 1\n"), [IDS, ONCE]);
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        let asked = |seed| {
            let mut ledger = Ledger::new(fastrand::Rng::with_seed(seed));
            (0..50).map(|_| format!("{:?}", ledger.next(true))).collect::<Vec<_>>()
        };
        assert_eq!(asked(7), asked(7));
        assert_ne!(asked(7), asked(8));
    }
}
