//! Hooks: what happens is told to a real server or a real program, at least once, whatever dies; and no more than that.

#[path = "support/stand_ins.rs"]
mod stand_ins;
mod support;
#[path = "support/web.rs"]
mod web;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use stand_ins::StandIns;
use support::{Daemon, lives, shell, until};
use web::{Answer, Stream, Web};

const OK: Answer = Answer::Status(200, "", "ok\n");
const BUSY: Answer = Answer::Status(503, "", "later\n");

/// A home whose configuration is this; `WORK` in it is the work folder.
fn with(configuration: &str) -> Daemon {
    let daemon = Daemon::home_only();
    configure(&daemon, configuration);
    daemon
}

fn configure(daemon: &Daemon, configuration: &str) {
    let folder = daemon.home().parent().expect("a root").join("config/batch-executor");
    std::fs::create_dir_all(&folder).expect("a folder");
    let work = daemon.work().display().to_string();
    std::fs::write(folder.join("config.toml"), configuration.replace("WORK", &work)).expect("written");
}

fn serving(configuration: &str) -> Daemon {
    let mut daemon = with(configuration);
    daemon.serve();
    daemon
}

/// A hook that appends what it gets to the file `told`, a line each.
fn to_file(name: &str, on: &str) -> String {
    format!("[hooks.{name}]\non = [{on}]\ncommand = [\"sh\", \"-c\", \"cat >> WORK/told\"]\nattempts = 1\n")
}

/// What was told to the file, once there are so many.
fn told(daemon: &Daemon, count: usize) -> Vec<Value> {
    let file = daemon.work().join("told");
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    until(&format!("{count} are told"), || lines().lines().count() >= count);
    lines().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn hook(daemon: &Daemon, name: &str) -> Value {
    let mut hooks = daemon.ok(json!({"action": "hooks"}));
    let hooks = hooks["hooks"].as_array_mut().expect("a list");
    hooks.iter().find(|hook| hook["hook"] == name).cloned().unwrap_or_else(|| panic!("no hook {name}"))
}

/// Waits until the latest delivery of a hook is so.
fn until_last(daemon: &Daemon, name: &str, mut is_so: impl FnMut(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    until(&format!("{name} is so"), || {
        last = hook(daemon, name);
        is_so(&last["last"])
    });
    last
}

fn test(daemon: &Daemon, name: &str) -> (Option<i32>, String) {
    let output = daemon.cli(&["hooks", "test", name]);
    (output.status.code(), String::from_utf8(output.stdout).expect("text").trim().to_owned())
}

#[test]
fn each_event_is_told_once_with_what_there_is_to_know() {
    let events = "\"batch_ended\", \"task_failed\", \"idle\", \"gate_closed\"";
    let gate = "[gates]\ndoor = { command = [\"sh\", \"-c\", \"test -e WORK/open || { echo shut; exit 1; }\"], every = 0.05 }\n";
    let daemon = serving(&format!("{}at_most_every = 0\n{gate}", to_file("h", events)));
    let failing = shell("echo one; echo two >&2; exit 3");
    daemon.ok(json!({"action": "add_batch", "name": "night", "tasks": [failing, shell("true")]}));
    daemon.ok(json!({"action": "start"}));
    let gate = &told(&daemon, 1)[0];
    assert_eq!(
        (&gate["event"], &gate["gate"], &gate["found"]),
        (&json!("gate_closed"), &json!("door"), &json!("shut"))
    );
    std::fs::write(daemon.work().join("open"), "").expect("written");
    daemon.wait();
    let told = told(&daemon, 4);
    let of = |event: &str| told.iter().find(|told| told["event"] == event).unwrap_or_else(|| panic!("{told:?}"));
    let batch = of("batch_ended");
    assert_eq!((&batch["name"], &batch["counts"]["failed"]), (&json!("night"), &json!(1)));
    let text = batch["text"].as_str().expect("a sentence");
    assert!(text.starts_with("batch 1 `night` ended: 1 completed, 1 failed in "), "{text}");
    let task = of("task_failed");
    assert_eq!((&task["task_id"], &task["exit_code"], &task["count"]), (&json!(1), &json!(3), &json!(1)));
    assert_eq!((&task["output"], &task["hook"]), (&json!("one\ntwo"), &json!("h")));
    assert_eq!(
        (&task["home"], &of("idle")["text"]),
        (&json!(daemon.home()), &json!("nothing is queued or running any more"))
    );
    let ids: BTreeSet<i64> = told.iter().filter_map(|told| told["delivery"].as_i64()).collect();
    assert_eq!((ids.len(), told.len()), (4, 4));
}

#[test]
fn what_is_refused_is_told_again_until_it_is_taken() {
    let web = Web::answering(&[BUSY, BUSY, OK]);
    let daemon = serving(&format!(
        "[hooks.h]\non = [\"idle\"]\nurl = \"{}\"\nheaders = {{ X-From = \"here\" }}\n",
        web.url("/x")
    ));
    daemon.run(&[shell("true")]);
    let sent = [web.next(), web.next(), web.next()];
    let ids: BTreeSet<i64> = sent.iter().map(|sent| sent.json()["delivery"].as_i64().expect("a number")).collect();
    assert_eq!((ids.len(), &sent[0].line), (1, &"POST /x HTTP/1.1".to_owned()));
    assert_eq!((sent[0].header("x-from"), sent[0].header("content-type")), (Some("here"), Some("application/json")));
    let hook = until_last(&daemon, "h", |last| last["state"] == "delivered");
    let last = &hook["last"];
    assert_eq!(
        (&last["attempts"], &last["said"], &hook["pending"]),
        (&json!(3), &json!("answered 200: ok"), &json!(0))
    );
}

#[test]
fn what_cannot_be_told_is_given_up_and_says_why() {
    let web = Web::answering(&[OK]);
    let daemon = serving(&format!("[hooks.h]\non = [\"idle\"]\nurl = \"{}\"\ntimeout = 0.5\n", web.url("/x")));
    for (answer, code, said) in [
        (Answer::Status(404, "", "no such room\n"), 1, "could not be told: answered 404: no such room"),
        (
            Answer::Status(302, "Location: http://127.0.0.2/\r\n", ""),
            1,
            "could not be told: answered 302, to go to another host",
        ),
        (Answer::Status(307, "Location: /x\r\n", ""), 1, "could not be told: was sent on more than 3 times"),
        (Answer::Status(200, "", "\u{1b}[2J"), 0, "was told: answered 200: \\x1b[2J"),
        (Answer::Never, 1, "could not be told: no answer within 0.5 s"),
        (Answer::Endless, 0, "was told: answered 200: xxxxx"),
        (Answer::EndlessHeaders, 1, "could not be told: "),
    ] {
        web.answer(std::slice::from_ref(&answer));
        let (found, text) = test(&daemon, "h");
        assert!(found == Some(code) && text.contains(said), "{answer:?}: {found:?} {text}");
        assert!(text.len() < 400, "{text}");
    }
    // Sent on within the host it arrives whole.
    web.rest();
    web.answer(&[Answer::Status(308, "Location: /y\r\n", ""), OK]);
    assert_eq!(test(&daemon, "h").0, Some(0));
    let sent = [web.next(), web.next()];
    assert_eq!((sent[1].line.as_str(), &sent[0].body), ("POST /y HTTP/1.1", &sent[1].body));
    let last = hook(&daemon, "h")["last"].take();
    assert_eq!((&last["test"], &last["attempts"]), (&json!(true), &json!(1)));

    // What does not change is not tried again.
    web.answer(&[Answer::Status(410, "", "")]);
    daemon.run(&[shell("true")]);
    let last = until_last(&daemon, "h", |last| last["test"] == false && last["state"] == "failed");
    assert_eq!((&last["last"]["attempts"], web.rest().len()), (&json!(1), 1));
    assert!(daemon.log().contains("a hook could not be told; it is given up"), "{}", daemon.log());
}

#[test]
fn a_daemon_that_is_killed_in_between_tells_it_in_its_next_life() {
    let web = Web::answering(&[BUSY, Answer::Never, OK]);
    let mut daemon = serving(&format!("[hooks.h]\non = [\"task_failed\"]\nurl = \"{}\"\n", web.url("/x")));
    daemon.run(&[shell("exit 1")]);
    let id = web.next().json()["delivery"].clone();
    until_last(&daemon, "h", |last| last["attempts"] == 1);
    daemon.kill();
    daemon.serve();
    // It is on its way when the daemon is killed, and nobody knows whether it came.
    assert_eq!(web.next().json()["delivery"], id);
    daemon.kill();
    daemon.serve();
    assert_eq!(web.next().json()["delivery"], id);
    until_last(&daemon, "h", |last| last["state"] == "delivered");
    daemon.kill();
    daemon.serve();
    assert_eq!((hook(&daemon, "h")["pending"].clone(), web.rest().len()), (json!(0), 0));
}

#[test]
fn however_often_the_daemon_dies_each_failure_is_told_and_has_one_delivery() {
    let web = Web::answering(&[OK]);
    let hook = format!("[hooks.h]\non = [\"task_failed\"]\nurl = \"{}\"\nat_most_every = 0\n", web.url("/x"));
    let mut daemon = serving(&hook);
    let task = json!({"name": "n", "function": "simulate", "params": {"duration": 0.01, "fail": 9}, "max_retries": 0});
    daemon.ok(json!({"action": "add_batch", "tasks": vec![task; 80]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 2}));
    let mut deliveries = BTreeMap::new();
    let mut take = |count: usize| {
        for _ in 0..count {
            let sent = web.next().json();
            let (id, task) =
                (sent["delivery"].as_i64().expect("a number"), sent["task_id"].as_i64().expect("a number"));
            assert_eq!(*deliveries.entry(id).or_insert(task), task, "one delivery is of one task");
        }
        deliveries.values().copied().collect::<BTreeSet<i64>>()
    };
    for _ in 0..8 {
        take(5);
        daemon.kill();
        daemon.serve();
    }
    while take(1).len() < 80 {}
    until("nothing waits", || self::hook(&daemon, "h")["pending"] == 0);
    assert_eq!(take(0), (1..=80).collect());
    assert_eq!(deliveries.len(), 80, "no task has two");
}

#[test]
fn a_crash_is_told_and_an_end_in_order_is_not() {
    let mut daemon = serving(&to_file("h", "\"crashed\", \"idle\""));
    daemon.stop();
    daemon.serve();
    daemon.cli(&["daemon", "restart"]);
    daemon.answers();
    daemon.kill();
    daemon.serve();
    let crash = &told(&daemon, 1)[0];
    assert_eq!(
        (&crash["event"], &crash["after"], &crash["text"]),
        (&json!("crashed"), &json!("crash"), &json!("the daemon is back after a crash"))
    );
    daemon.stop();
    daemon.serve();
    daemon.run(&[shell("true")]);
    let told = told(&daemon, 2);
    assert_eq!((told.len(), &told[1]["event"]), (2, &json!("idle")));
}

#[test]
fn five_hundred_failures_are_a_few_deliveries() {
    let daemon = serving(&format!("{}at_most_every = 1\n", to_file("h", "\"task_failed\"")));
    let tasks: Vec<Value> = (0..500).map(|n| json!({"name": format!("n{n}"), "function": "simulate", "params": {"duration": 0, "fail": 9}, "max_retries": 0})).collect();
    daemon.run(&tasks);
    let count = |told: &[Value]| told.iter().filter_map(|told| told["count"].as_i64()).sum::<i64>();
    let mut found = Vec::new();
    until("all are told", || {
        found = told(&daemon, 1);
        count(&found) >= 500
    });
    assert_eq!(count(&found), 500);
    assert!(found.len() <= 10, "{} deliveries", found.len());
    let many = found.iter().find(|told| told["count"].as_i64() > Some(5)).expect("one that gathered");
    let first = many["first"].as_array().expect("a list");
    assert_eq!((first.len(), &first[0]["name"]), (5, &many["name"]));
    let text = many["text"].as_str().expect("a sentence");
    assert!(text.contains(" tasks failed: task ") && text.contains(" more"), "{text}");
}

#[test]
fn no_more_than_a_hundred_wait_and_what_is_dropped_is_counted() {
    let web = Web::answering(&[BUSY]);
    let daemon = serving(&format!(
        "[hooks.h]\non = [\"task_failed\"]\nurl = \"{}\"\nat_most_every = 0\nattempts = 1000\n",
        web.url("/x")
    ));
    let task = json!({"name": "n", "function": "simulate", "params": {"duration": 0, "fail": 9}, "max_retries": 0});
    daemon.run(&vec![task; 150]);
    until("fifty are dropped", || hook(&daemon, "h")["dropped"] == 50);
    assert_eq!(hook(&daemon, "h")["pending"], 100);
    let said = String::from_utf8(daemon.cli(&["hooks"]).stdout).expect("text");
    assert!(said.contains("  waiting 100, 50 dropped\n"), "{said}");
}

#[test]
fn a_command_is_bounded_and_nothing_of_it_is_left() {
    let daemon = serving(
        "[hooks.hangs]\non = [\"idle\"]\ncommand = [\"sh\", \"-c\", \"sleep 1000 & echo $! > WORK/pid; wait\"]\ntimeout = 0.5\n\
         [hooks.floods]\non = [\"idle\"]\ncommand = [\"sh\", \"-c\", \"head -c 100000000 /dev/zero | tr '\\\\0' x; echo; echo no room >&2; exit 7\"]\n\
         [hooks.missing]\non = [\"idle\"]\ncommand = [\"no-such-program\"]\n\
         [hooks.deaf]\non = [\"idle\"]\ncommand = [\"true\"]\n\
         [hooks.here]\non = [\"crashed\"]\ncommand = [\"../work/here\"]\n",
    );
    std::fs::write(daemon.work().join("here"), "").expect("written");
    let pid = || std::fs::read_to_string(daemon.work().join("pid")).ok()?.trim().parse().ok();
    assert_eq!(
        test(&daemon, "hangs"),
        (Some(1), "the hook `hangs` could not be told: it took more than 0.5 s".to_owned())
    );
    let pid = pid().expect("a pid");
    until("what it started is gone", || !lives(pid));
    assert_eq!(
        test(&daemon, "floods"),
        (Some(1), "the hook `floods` could not be told: exit code 7: no room".to_owned())
    );
    assert!(test(&daemon, "missing").1.contains("`no-such-program` cannot be run: No such file"));
    assert_eq!(test(&daemon, "deaf"), (Some(0), "the hook `deaf` was told: exit code 0".to_owned()));
    let unknown = daemon.cli(&["hooks", "test", "nobody"]);
    let said = String::from_utf8(unknown.stderr).expect("text");
    assert_eq!(unknown.status.code(), Some(3));
    assert!(said.contains("no hook `nobody`; they are deaf, floods, hangs, here, missing"), "{said}");
    let doctor = String::from_utf8(daemon.cli(&["doctor"]).stdout).expect("text");
    assert!(doctor.contains("missing: there is no program `no-such-program`"), "{doctor}");
    assert!(doctor.contains("ok       hook           here: "), "{doctor}");
}

#[test]
fn an_end_waits_for_a_delivery_no_longer_than_the_grace() {
    let code = "echo began >> WORK/begun; test -e WORK/go || exec sleep 1000; cat >> WORK/told";
    let mut daemon = serving(&format!(
        "grace = 0.3\n[hooks.h]\non = [\"idle\"]\ncommand = [\"sh\", \"-c\", \"{code}\"]\ntimeout = 3600\n"
    ));
    daemon.run(&[shell("true")]);
    until("it began", || daemon.work().join("begun").exists());
    assert_eq!(daemon.stop(), Some(0));
    std::fs::write(daemon.work().join("go"), "").expect("written");
    daemon.serve();
    assert_eq!(told(&daemon, 1)[0]["event"], "idle");
}

#[test]
fn a_hostile_task_breaks_no_message() {
    let web = Web::answering(&[OK]);
    let body = "{\"a\": [\"{{name}}\", \"{{error}} | {{output}}\"], \"text\": \"{{text}}\"}";
    let command = "command = [\"sh\", \"-c\", \"printf '%s' \\\"$1\\\" > WORK/argument; cat > WORK/input\", \"sh\", \"{{name}}\"]\ntext = \"{{name}}\"";
    let daemon = serving(&format!(
        "[hooks.web]\non = [\"task_failed\"]\nurl = \"{}\"\nbody = '{body}'\n[hooks.run]\non = [\"task_failed\"]\n{command}\n",
        web.url("/x")
    ));
    let name = "\"}]; $(touch WORK/hacked) `x` {{text}} {{\u{7f}\u{1b}[2J\u{202e}\n\\ é \u{1}";
    let mut task = shell("printf '\"\\001\\033{{name}}\\377\\n'; printf '\\\\\"' >&2; exit 1");
    task["name"] = json!(name);
    daemon.run(&[task]);
    let sent = web.next().json();
    assert_eq!(sent["a"][0], json!(name), "what is filled in is not looked at again");
    let second = sent["a"][1].as_str().expect("text");
    assert!(second.contains("\"\u{1}\u{1b}{{name}}\u{fffd}\n\\\""), "{second:?}");
    assert!(!sent["text"].as_str().expect("text").chars().any(char::is_control), "{sent}");
    until_last(&daemon, "run", |last| last["state"] == "delivered");
    let read = |file: &str| std::fs::read_to_string(daemon.work().join(file)).expect("written");
    assert_eq!((read("argument"), read("input")), (name.to_owned(), format!("{name}\n")));
    let listed = daemon.cli(&["hooks"]);
    assert!(!listed.stdout.contains(&0x1b) && listed.status.success());
}

#[test]
fn a_secret_address_is_shown_nowhere() {
    let web = Web::answering(&[Answer::Status(404, "", "no hook SECRET-ADDRESS\n")]);
    let configuration = "[secrets.a]\nfile = \"WORK/a\"\n[secrets.t]\ncommand = [\"cat\", \"WORK/t\"]\n\
        [hooks.h]\non = [\"idle\", \"task_failed\"]\nurl = { secret = \"a\" }\nheaders = { Authorization = { secret = \"t\" } }\n";
    let mut daemon = with(configuration);
    let file = daemon.work().join("a");
    let write = |text: &str, mode: &str| {
        std::fs::write(&file, text).expect("written");
        let chmod = Command::new("chmod").arg(mode).arg(&file).status();
        assert!(chmod.expect("chmod").success());
    };
    write(&format!("{}\n", web.url("/SECRET-ADDRESS")), "600");
    std::fs::write(daemon.work().join("t"), "Bearer SECRET-TOKEN\n").expect("written");
    daemon.set("BATCH_EXECUTOR_LOG_LEVEL", "trace");
    daemon.serve();
    daemon.run(&[shell("exit 1")]);
    let sent = web.next();
    assert_eq!(
        (sent.line.as_str(), sent.header("authorization")),
        ("POST /SECRET-ADDRESS HTTP/1.1", Some("Bearer SECRET-TOKEN"))
    );
    let last = until_last(&daemon, "h", |last| last["state"] == "failed");
    assert_eq!((&last["last"]["said"], &last["to"]), (&json!("answered 404"), &json!("the secret `a`")));
    let mut shown = daemon.log();
    for (text, mode, said) in [
        ("http://SECRET-ADDRESS.invalid/", "600", "the host's name is not known"),
        ("http://127.0.0.1:1/SECRET-ADDRESS", "600", "no connection: connection refused"),
        ("not an address SECRET-ADDRESS", "600", "the address or a header is not valid"),
        ("SECRET-ADDRESS", "644", "must be 0600 or stricter"),
    ] {
        write(text, mode);
        let (code, found) = test(&daemon, "h");
        assert!(code == Some(1) && found.contains(said), "{text}: {found}");
        shown += &found;
    }
    for command in [
        &["hooks"][..],
        &["config"],
        &["hooks", "--json"],
        &["config", "--json"],
        &["doctor"],
        &["call", "{\"action\":\"watch\",\"from\":1}"],
    ] {
        let output = daemon.cli(command);
        shown += &String::from_utf8_lossy(&output.stdout);
        shown += &String::from_utf8_lossy(&output.stderr);
    }
    assert!(!shown.contains("SECRET-"), "{shown}");
    daemon.stop();
    for file in std::fs::read_dir(daemon.home()).expect("a home").flatten().filter(|file| file.path().is_file()) {
        let bytes = std::fs::read(file.path()).expect("bytes");
        assert!(!bytes.windows(7).any(|part| part == b"SECRET-"), "{}", file.path().display());
    }
}

#[test]
fn a_hook_that_is_new_is_told_of_nothing_old() {
    let mut daemon = serving("");
    daemon.run(&[shell("exit 1")]);
    daemon.stop();
    let hook = to_file("h", "\"task_failed\"") + "at_most_every = 0\n";
    configure(&daemon, &hook);
    daemon.serve();
    daemon.run(&[shell("exit 2")]);
    assert_eq!(told(&daemon, 1)[0]["exit_code"], 2);
    // One that was not there for a while, too.
    daemon.stop();
    configure(&daemon, "");
    daemon.serve();
    daemon.run(&[shell("exit 3")]);
    daemon.stop();
    configure(&daemon, &hook);
    daemon.serve();
    daemon.run(&[shell("exit 4")]);
    let codes: Vec<Value> = told(&daemon, 2).iter().map(|told| told["exit_code"].clone()).collect();
    assert_eq!(codes, [2, 4]);
}

#[tokio::test]
async fn what_other_hooks_are_told_makes_none_forget_when_it_was_told() {
    let other = "[hooks.other]\non = [\"crashed\"]\ncommand = [\"true\"]\n";
    let mut daemon = serving(&(to_file("h", "\"task_failed\"") + "at_most_every = 86400\n" + other));
    daemon.run(&[shell("exit 1")]);
    until_last(&daemon, "h", |last| last["state"] == "delivered");
    daemon.stop();
    change(
        &daemon,
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1500)
         INSERT INTO hook_delivery (hook, event, first, count, state, created_at, first_due, due)
         SELECT 'other', 'crashed', '[]', 1, 1, n, n, n FROM n",
    )
    .await;
    daemon.serve();
    assert_eq!(test(&daemon, "other").0, Some(0));
    assert_eq!(hook(&daemon, "h")["last"]["state"], "delivered");
    daemon.run(&[shell("exit 2")]);
    until("it waits", || hook(&daemon, "h")["pending"] == 1);
    let waiting = &hook(&daemon, "h");
    assert_eq!((&waiting["last"]["state"], told(&daemon, 1).len()), (&json!("delivered"), 1));
}

/// Changes the queue of a daemon that does not run.
async fn change(daemon: &Daemon, statements: &'static str) {
    let options = SqliteConnectOptions::new().filename(daemon.home().join("queue.db"));
    let mut connection = options.connect().await.expect("the queue");
    sqlx::raw_sql(statements).execute(&mut connection).await.expect("changed");
    connection.close().await.expect("closed");
}

#[tokio::test]
async fn events_that_are_not_kept_any_more_are_told_as_a_gap() {
    let mut daemon = serving(&(to_file("h", "\"task_failed\"") + "at_most_every = 0\n"));
    daemon.run(&[shell("true")]);
    daemon.stop();
    let long_ago = "DELETE FROM event WHERE first < (SELECT max(first) FROM event); UPDATE hook SET next = 1;";
    change(&daemon, long_ago).await;
    daemon.serve();
    let last = until_last(&daemon, "h", |last| last["event"] == "gap");
    let said = last["last"]["said"].as_str().expect("a sentence");
    assert!(
        said.starts_with("the events 1 to ") && said.ends_with("are not kept any more: nothing of them is told"),
        "{said}"
    );
    assert!(daemon.log().contains("hooks are not told of events that are not kept any more"), "{}", daemon.log());
    daemon.run(&[shell("exit 2")]);
    assert_eq!(told(&daemon, 1)[0]["exit_code"], 2);
    // As a repair may leave it, which could not read the latest events.
    daemon.stop();
    change(&daemon, "UPDATE hook SET next = 1000000").await;
    daemon.serve();
    daemon.run(&[shell("exit 3")]);
    assert_eq!(told(&daemon, 2)[1]["exit_code"], 3);
}

/// A certificate of one's own for `localhost`, in a folder.
fn certified(folder: &Path) -> (PathBuf, Arc<rustls::ServerConfig>) {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{made:?}");
    let chain = vec![CertificateDer::from_pem_file(&certificate).expect("a certificate")];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&key).expect("a key"));
    (certificate, Arc::new(config.expect("a configuration")))
}

static TLS: OnceLock<Arc<rustls::ServerConfig>> = OnceLock::new();

fn secured(stream: TcpStream) -> Option<Box<dyn Stream>> {
    let connection = rustls::ServerConnection::new(TLS.get()?.clone()).expect("a connection");
    Some(Box::new(rustls::StreamOwned::new(connection, stream)))
}

#[test]
fn https_trusts_what_the_system_trusts() {
    let web = Web::served(&[OK], secured);
    let mut daemon = with(&format!("[hooks.h]\non = [\"idle\"]\nurl = \"https://localhost:{}/x\"\n", web.port));
    let (certificate, config) = certified(&daemon.work());
    TLS.get_or_init(|| config);
    daemon.serve();
    let (code, said) = test(&daemon, "h");
    assert!(code == Some(1) && said.contains("certificate"), "{said}");
    assert_eq!(web.rest().len(), 0);
    daemon.stop();
    daemon.set("SSL_CERT_FILE", &certificate.display().to_string());
    daemon.serve();
    assert_eq!(test(&daemon, "h"), (Some(0), "the hook `h` was told: answered 200: ok".to_owned()));
    assert_eq!(web.next().line, "POST /x HTTP/1.1");
}

#[test]
fn a_header_says_what_kind_of_text_it_is() {
    let web = Web::answering(&[OK]);
    let headers = "headers = { content-type = \"text/markdown\" }\ntext = \"**{{event}}**\"\n";
    let daemon = serving(&format!("[hooks.h]\non = [\"idle\"]\nurl = \"{}\"\n{headers}", web.url("/x")));
    assert_eq!(test(&daemon, "h").0, Some(0));
    let sent = web.next();
    let kinds: Vec<&str> =
        sent.headers.iter().filter(|(name, _)| name == "content-type").map(|(_, kind)| kind.as_str()).collect();
    assert_eq!((kinds, sent.body.as_str()), (vec!["text/markdown"], "**idle**"));
}

#[test]
fn a_server_that_sends_on_to_https_in_capitals_ends_no_daemon() {
    let secure = Web::served(&[OK], |_| None);
    let (first, web) = (Web::answering(&[OK]), format!("HTTPS://127.0.0.1:{}/x", secure.port));
    let header: &'static str = format!("Location: {web}\r\n").leak();
    let mut daemon = with(&format!("[hooks.h]\non = [\"idle\"]\nurl = \"{}\"\n", first.url("/x")));
    let (certificate, _) = certified(&daemon.work());
    daemon.set("SSL_CERT_FILE", &certificate.display().to_string());
    daemon.serve();
    first.answer(&[Answer::Status(307, header, "")]);
    let (code, said) = test(&daemon, "h");
    assert!(code == Some(1) && said.contains("could not be told: "), "{code:?} {said}");
    assert!(!daemon.log().contains("a defect"), "{}", daemon.log());
}

/// The blocks of TOML in the guide's chapter, together.
fn examples() -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    let chapter =
        guide.split("\n## Being told\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the chapter");
    chapter.split("```toml\n").skip(1).map(|rest| rest.split("```").next().expect("its end")).collect()
}

#[test]
fn the_examples_of_the_guide_work() {
    let web = Web::answering(&[OK]);
    let examples =
        examples().replace("/home/me/.config/batch-executor", "WORK").replace("https://ntfy.example.org", &web.url(""));
    let mut daemon = with(&examples);
    let stand_ins = StandIns::new(&daemon.work());
    for program in ["notify-send", "termux-notification", "mail", "sendmail"] {
        let script =
            format!("for a; do echo \"<$a>\"; done > {0}/{program}; cat >> {0}/{program}", daemon.work().display());
        stand_ins.put(program, &script);
    }
    daemon.set("PATH", &stand_ins.path());
    for (secret, text) in [
        ("slack", web.url("/slack")),
        ("discord", web.url("/discord")),
        ("matrix", web.url("/matrix")),
        ("ntfy", "Bearer tk_1".to_owned()),
    ] {
        std::fs::write(daemon.work().join(secret), text).expect("written");
        let chmod = Command::new("chmod").arg("600").arg(daemon.work().join(secret)).status();
        assert!(chmod.expect("chmod").success());
    }
    daemon.serve();
    let mut failing = shell("echo the disk is full; exit 1");
    failing["name"] = json!("-x \"é\" <!channel>");
    daemon.run(&[failing]);
    daemon.kill();
    daemon.serve();
    let names = ["desktop", "phone", "mail", "sendmail", "slack", "discord", "matrix", "ntfy"];
    assert_eq!(examples.matches("\n[hooks.").count() + usize::from(examples.starts_with("[hooks.")), names.len());
    for name in names {
        until_last(&daemon, name, |last| last["state"] == "delivered");
        until("nothing waits", || hook(&daemon, name)["pending"] == 0);
    }
    let host = nix::unistd::gethostname().expect("a name").into_string().expect("text");
    let read = |program: &str| std::fs::read_to_string(daemon.work().join(program)).expect("it was run");
    assert!(
        read("notify-send").starts_with("<--app-name=batch-executor>\n<-->\n<batch-executor: "),
        "{}",
        read("notify-send")
    );
    assert!(
        read("termux-notification").contains("<--content>\n<the daemon is back after a crash>\n"),
        "{}",
        read("termux-notification")
    );
    let mail = read("mail");
    assert!(mail.starts_with(&format!("<-s>\n<batch-executor on {host}: task_failed>\n<me@example.org>\ntask 1 `-x \"é\" <!channel>` failed: exit code 1")), "{mail}");
    assert!(mail.contains("\n\nthe disk is full\n"), "{mail}");
    assert!(
        read("sendmail")
            .contains(&format!("To: me@example.org\nSubject: batch-executor on {host}: crashed\n\nthe daemon is back")),
        "{}",
        read("sendmail")
    );
    let sent = web.rest();
    let to =
        |path: &str| sent.iter().find(|sent| sent.line.contains(path)).unwrap_or_else(|| panic!("{path}: {sent:?}"));
    assert_eq!(to("/slack").json()["blocks"][0]["text"]["type"], "plain_text");
    let idle =
        json!({"content": format!("{host}: nothing is queued or running any more"), "allowed_mentions": {"parse": []}});
    assert_eq!(to("/discord").json(), idle);
    assert!(to("/matrix").json()["text"].as_str().is_some_and(|text| text.contains("batch 1 ended: 1 failed")));
    let ntfy = to("/my-topic");
    assert_eq!((ntfy.header("authorization"), ntfy.header("title")), (Some("Bearer tk_1"), Some("batch-executor")));
    assert!(ntfy.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{ntfy:?}");
}
