//! A phone's night in short form: under Android's filter of system calls, supervised by a real runit, everything is killed
//! again and again, tasks from outside, too, and the phone sleeps and boots. NIGHT_SEED=N repeats the choices of a night.

#[path = "support/phone.rs"]
mod phone;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use phone::{Filter, HOME, PREFIX, Phone};
use serde_json::{Value, json};
use support::until;

/// Tasks that are there in the evening; as many as there are blows come later.
const EVENING: usize = 272;
/// How often each blow is dealt.
const ROUNDS: usize = 4;
const HOUR_S: i64 = 3600;
/// The exit code of tasks that are to fail.
const FAILS: i64 = 3;

/// What a night deals out.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Daemon,
    Keeper,
    DaemonAndKeeper,
    /// All of the app, runit included; it is started again.
    App,
    /// Several running tasks at once, as Android trims what runs in the background.
    Tasks,
    /// An hour, in which the app is killed.
    Sleep,
    /// Ten minutes without power.
    Boot,
}

const BLOWS: [Blow; 7] =
    [Blow::Daemon, Blow::Keeper, Blow::DaemonAndKeeper, Blow::App, Blow::Tasks, Blow::Sleep, Blow::Boot];

/// A task whose attempts note in the ledger that they begin, and that they come to their end.
fn task(number: usize, random: &mut fastrand::Rng) -> Value {
    let seconds = f64::from(random.u32(2..40)) / 100.0;
    let note = |word: &str| format!("echo {word} $BATCH_EXECUTOR_TASK_ID $BATCH_EXECUTOR_ATTEMPT >> ~/ledger");
    let shell = |then: &str| format!("{}; sleep {seconds}; {then}; {}", note("begin"), note("end"));
    let terminal = |then: &str| ("code_execution", json!({"runtime": "terminal", "code": shell(then)}));
    let (function, params) = match number % 8 {
        0 => ("simulate", json!({"duration": seconds})),
        1 => ("simulate", json!({"duration": seconds, "fail": 1})),
        2 => ("command", json!({"argv": ["sh", "-c", shell(":")]})),
        3 => {
            let code = format!(
                "import os, time\n\
                 def note(word):\n    task, attempt = (os.environ['BATCH_EXECUTOR_' + n] for n in ('TASK_ID', 'ATTEMPT'))\n    \
                 with open(os.path.expanduser('~/ledger'), 'a') as ledger:\n        ledger.write(f'{{word}} {{task}} {{attempt}}\\n')\n\
                 note('begin'); time.sleep({seconds}); note('end')"
            );
            ("code_execution", json!({"runtime": "python", "code": code}))
        }
        4 => terminal("tried=~/tried.$BATCH_EXECUTOR_TASK_ID; [ -e $tried ] || { touch $tried; exit 1; }"),
        5 => terminal(&format!("exit {FAILS}")),
        _ => terminal(":"),
    };
    json!({"name": format!("task {number}"), "function": function, "params": params, "max_retries": 100,
           "retry_delay": 0.05, "timeout": 600, "permanent_exit_codes": [FAILS],
           // Some are due in the middle of the night.
           "delay": if number % 24 == 7 { 2 * HOUR_S } else { 0 }})
}

/// The night: the phone, and what a person who sleeps beside it would know.
struct Night {
    phone: Phone,
    random: fastrand::Rng,
    /// By how much the phone's wall clock is ahead of this machine's.
    ahead_s: i64,
    /// The ids of what was acknowledged.
    acknowledged: BTreeSet<i64>,
    /// When what has completed did so, as it was first told.
    completed: BTreeMap<i64, String>,
}

impl Night {
    /// Termux with its services, this program among them.
    fn begins(seed: u64) -> Self {
        let mut phone = Phone::new();
        // A service is supervised; who kills it does not want another one.
        phone.set("BATCH_EXECUTOR_AUTOSTART", "false");
        phone.set("BATCH_EXECUTOR_MAX_INTERRUPTIONS", "1000");
        phone.set_clock(0);
        phone.boots(Filter::Missing);
        phone.app_starts();
        let said = phone.says(&["batch-executor", "service", "install"]);
        assert!(said.contains(&format!("wrote {PREFIX}/var/service/batch-executor/run")), "{said}");
        let random = fastrand::Rng::with_seed(seed);
        Self { phone, random, ahead_s: 0, acknowledged: BTreeSet::new(), completed: BTreeMap::new() }
    }

    fn fills(&mut self) {
        let tasks: Vec<Value> = (0..EVENING).map(|number| task(number, &mut self.random)).collect();
        let added = self.phone.ok(&json!({"action": "add_batch", "tasks": tasks}));
        assert_eq!(added["errors"], json!([]));
        self.acknowledged.extend(added["task_ids"].as_array().expect("ids").iter().filter_map(Value::as_i64));
        self.starts();
    }

    fn starts(&self) {
        self.phone.ok(&json!({"action": "start", "max_concurrent": 6, "keep": true}));
    }

    /// Waits until so many have ended, or nothing can end any more before it sleeps.
    fn goes_on(&mut self, ended: usize) {
        let phone = &self.phone;
        until("more have ended", || {
            let status = phone.ok(&json!({"action": "status"}));
            let count = |name: &str| status["counts"][name].as_u64().expect("a count");
            count("completed") + count("failed") >= ended as u64
        });
        for task in self.tasks("completed") {
            let (id, at) = (task["task_id"].as_i64().expect("an id"), task["finished_at"].as_str().expect("a time"));
            let first = self.completed.entry(id).or_insert_with(|| at.to_owned());
            assert_eq!(first, at, "what has completed does not complete again: {task}");
        }
    }

    fn tasks(&self, status: &str) -> Vec<Value> {
        let mut data = self.phone.ok(&json!({"action": "results", "filter_status": status}));
        data["tasks"].as_array_mut().map(std::mem::take).expect("a list")
    }

    /// A client that adds a task while the blow falls; sent again until it is answered.
    fn suffers(&mut self, blow: Blow, number: usize) {
        let file = format!("{HOME}/late.json");
        let late = json!([task(number * 8 + 2, &mut self.random)]).to_string();
        std::fs::write(self.phone.path(&file), late).expect("written");
        let key = format!("late {number}");
        let add = ["batch-executor", "--json", "add-batch", &file, "--request-key", &key];
        let client = self.phone.spawn(&add);
        self.deal(blow);
        let mut answered = client.wait_with_output().expect("its end");
        until("the late one is acknowledged", || {
            if !answered.status.success() {
                answered = self.phone.run(&add);
            }
            answered.status.success()
        });
        let answer: Value = serde_json::from_slice(&answered.stdout).expect("JSON");
        self.acknowledged.insert(answer["data"]["first_task_id"].as_i64().expect("an id"));
    }

    fn deal(&mut self, blow: Blow) {
        let phone = &mut self.phone;
        match blow {
            Blow::Daemon => _ = phone.kill(|one| one.is("daemon")),
            Blow::Keeper => _ = phone.kill(|one| one.is("keeper")),
            Blow::DaemonAndKeeper => _ = phone.kill(|one| one.is("daemon") || one.is("keeper")),
            Blow::Tasks => {
                until("three run", || phone.processes().iter().filter(|one| one.leads_task).count() >= 3);
                phone.kill(|one| one.leads_task);
                // Fewer would run at once for minutes; whoever sets the number gets it.
                self.starts();
            }
            Blow::App => {
                phone.app_is_killed();
                phone.app_starts();
            }
            Blow::Sleep => {
                phone.app_is_killed();
                phone.sleeps(HOUR_S);
                self.ahead_s += HOUR_S;
                phone.set_clock(self.ahead_s);
                phone.app_starts();
            }
            Blow::Boot => {
                phone.power_fails();
                self.ahead_s += 600;
                phone.set_clock(self.ahead_s);
                phone.boots(Filter::Missing);
                phone.app_starts();
            }
        }
    }

    /// Each acknowledged task has the end that it was to have, once.
    fn is_as_planned(&self) {
        let ledger = std::fs::read_to_string(self.phone.path(HOME).join("ledger")).expect("a ledger");
        let mut begun: BTreeMap<i64, i64> = BTreeMap::new();
        let mut came_to_end = BTreeSet::new();
        for line in ledger.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [word, id, attempt] = words[..] else { panic!("half a line: {line}") };
            let (id, attempt): (i64, i64) = (id.parse().expect("an id"), attempt.parse().expect("a number"));
            let latest = begun.entry(id).or_default();
            *latest = attempt.max(*latest);
            if word == "end" {
                came_to_end.insert((id, attempt));
            }
        }
        for id in &self.acknowledged {
            let task = self.phone.ok(&json!({"action": "show", "task_id": id}));
            let attempts = task["attempts"].as_array().expect("attempts");
            let last = attempts.last().expect("an attempt");
            let number = last["attempt"].as_i64().expect("a number");
            let fails = task["params"]["code"].as_str().is_some_and(|code| code.contains(&format!("exit {FAILS};")));
            let (status, outcome) = if fails { ("failed", "failed") } else { ("completed", "completed") };
            assert_eq!((&task["status"], &last["outcome"]), (&json!(status), &json!(outcome)), "{task}");
            if fails {
                assert_eq!(task["exit_code"], FAILS, "{task}");
            }
            let completed = attempts.iter().filter(|attempt| attempt["outcome"] == "completed").count();
            assert_eq!(completed, usize::from(!fails), "{task}");
            if task["function"] == "simulate" {
                continue;
            }
            assert_eq!(begun.get(id), Some(&number), "nothing of it began after its end: {task}");
            assert_eq!(came_to_end.contains(&(*id, number)), !fails, "{task}");
        }
    }

    fn ends(&self) {
        let said = self.phone.says(&["batch-executor", "service", "uninstall"]);
        assert!(said.contains(&format!("removed {PREFIX}/var/service/batch-executor")), "{said}");
        let left = || -> Vec<String> {
            let words = self.phone.processes().into_iter().map(|one| one.words.join(" "));
            words.filter(|words| !words.starts_with("runsvdir ")).collect()
        };
        until("nothing is left", || left().is_empty());
        let log = self.phone.path(PREFIX).join("var/log/sv/batch-executor/current");
        let log = std::fs::read_to_string(log).expect("svlogd's log");
        assert!(log.contains(" serving pid=") && !log.contains("panicked"), "{log}");
    }
}

#[test]
fn a_night_on_a_phone_loses_nothing_and_runs_nothing_twice() {
    let seed = std::env::var("NIGHT_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("NIGHT_SEED={seed}");
    let mut night = Night::begins(seed);
    night.fills();
    let mut blows = BLOWS.repeat(ROUNDS);
    night.random.shuffle(&mut blows);
    let all = EVENING + blows.len();
    // Those that are due in the middle of the night must not hold it up.
    let pace = EVENING * 7 / 8 / blows.len();
    for (number, blow) in blows.into_iter().enumerate() {
        night.goes_on(number * pace);
        println!("{number}: {blow:?}");
        night.suffers(blow, number);
    }
    night.goes_on(all);
    assert_eq!(night.acknowledged.len(), all);
    assert_eq!(night.phone.count("total"), i64::try_from(all).expect("few"));
    night.is_as_planned();
    night.ends();
}
