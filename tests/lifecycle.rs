//! The daemon's life: where it lives, who starts it, how it ends, how it is replaced.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Daemon, lives, shell, signal};

/// Exit code and standard error.
fn refused(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn json_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

/// Polls until `found` gives something.
fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn wrong_modes(folder: &Path, wrong: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        let allowed = if meta.is_dir() { 0o700 } else { 0o600 };
        if meta.permissions().mode() & 0o777 != allowed {
            wrong.push(format!("{}: {:o}", path.display(), meta.permissions().mode()));
        }
        if meta.is_dir() {
            wrong_modes(&path, wrong);
        }
    }
}

#[test]
fn everything_in_the_home_is_the_user_s_alone_whatever_the_umask() {
    let daemon = Daemon::home_only();
    let program = env!("CARGO_BIN_EXE_batch-executor");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("umask 0; exec '{program}' status")]);
    command.env("BATCH_EXECUTOR_HOME", daemon.home()).env("XDG_CONFIG_HOME", daemon.work());
    let status = command.stdin(Stdio::null()).output().expect("sh");
    assert!(status.status.success(), "{status:?}");
    let loud = "head -c 200000 /dev/zero; while [ ! -e gate ]; do sleep 0.01; done";
    daemon
        .ok(json!({"action": "add_batch", "tasks": [shell(loud), shell(&format!("{loud} #{}", "x".repeat(200_000)))]}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(2);
    let home = daemon.home();
    let mut wrong = Vec::new();
    wrong_modes(&home, &mut wrong);
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(std::fs::metadata(&home).expect("a home").permissions().mode() & 0o777, 0o700);
    for name in ["queue.db", "queue.db-wal", "queue.db-shm", "daemon.sock", "daemon.lock", "daemon.log", "keeper.sock"]
    {
        assert!(home.join(name).exists(), "{name}");
    }
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
}

#[test]
fn the_home_is_the_first_that_is_named() {
    let daemon = Daemon::home_only();
    let at = |name: &str| daemon.work().join(name);
    let all: &[(&str, &str)] = &[("BATCH_EXECUTOR_HOME", "b"), ("XDG_DATA_HOME", "x"), ("HOME", "h")];
    let empty: &[(&str, &str)] = &[("XDG_DATA_HOME", ""), ("HOME", "h")];
    let flag: &[&str] = &["--home", "flag"];
    for (flags, environment, expected) in [
        (flag, all, "flag"),
        (&[], all, "b"),
        (&[], &all[1..], "x/batch-executor"),
        (&[], empty, "h/.local/share/batch-executor"),
    ] {
        let mut arguments = vec!["daemon", "status", "--json"];
        arguments.extend(flags);
        let mut command = daemon.command(&arguments);
        command.env_remove("BATCH_EXECUTOR_HOME").env_remove("XDG_DATA_HOME").env_remove("HOME");
        for (name, value) in environment {
            let value = if value.is_empty() { value.into() } else { at(value).into_os_string() };
            command.env(name, value);
        }
        let answer = json_of(&command.output().expect("the program runs"));
        let message = answer["message"].as_str().expect("a message");
        let socket = at(expected).join("daemon.sock").display().to_string();
        assert!(message.contains(&format!("`{socket}`")), "{message} for {expected}");
    }
}

#[test]
fn commands_about_a_daemon_start_none() {
    let daemon = Daemon::home_only();
    let silent: [&[&str]; 5] = [
        &["daemon", "status"],
        &["daemon", "stop"],
        &["daemon", "restart"],
        &["status", "--no-autostart"],
        &["add", "--no-autostart", "--", "true"],
    ];
    for arguments in silent {
        assert_eq!(daemon.cli(arguments).status.code(), Some(69), "{arguments:?}");
        assert!(!daemon.home().exists(), "{arguments:?} made a home");
    }
    let unset = daemon.command(&["status"]).env("BATCH_EXECUTOR_AUTOSTART", "false").output().expect("it runs");
    assert_eq!(unset.status.code(), Some(69));
}

#[test]
fn twenty_clients_at_once_start_one_daemon() {
    let daemon = Daemon::home_only();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut command = daemon.command(&["add", "--quiet", "--", "true"]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a client")
        })
        .collect();
    let mut ids: Vec<i64> = clients
        .into_iter()
        .map(|client| {
            let output = client.wait_with_output().expect("its end");
            assert!(output.status.success(), "{output:?}");
            String::from_utf8_lossy(&output.stdout).trim().parse().expect("an id")
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=20).collect::<Vec<_>>());
    let log = std::fs::read_to_string(daemon.home().join("daemon.log")).expect("a log");
    assert_eq!(log.matches("serving").count(), 1, "{log}");
}

#[test]
fn a_daemon_in_the_background_has_its_own_session_and_no_secrets() {
    let daemon = Daemon::home_only();
    let mut command = daemon.command(&["status"]);
    command.env("SECRET", "s").env("LC_TIME", "C").env("XDG_DATA_DIRS", "/d").env("BATCH_EXECUTOR_TASK_ID", "7");
    command.env("BATCH_EXECUTOR_GRACE", "3").env("BATCH_EXECUTOR_SECRET", "s");
    assert!(command.stdin(Stdio::null()).output().expect("it runs").status.success());
    let pid = daemon.answers()["data"]["pid"].as_i64().expect("a pid");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
    assert_eq!((fields[3], fields[4]), (pid.to_string().as_str(), "0"), "its own session, without a terminal");
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).expect("an environment");
    let has = |name: &str| environment.split('\0').any(|entry| entry.split('=').next() == Some(name));
    for name in ["PATH", "LC_TIME", "XDG_DATA_DIRS", "BATCH_EXECUTOR_GRACE"] {
        assert!(has(name), "{name} is missing");
    }
    for name in ["SECRET", "BATCH_EXECUTOR_TASK_ID", "BATCH_EXECUTOR_SECRET", "NO_COLOR"] {
        assert!(!has(name), "{name} was passed on");
    }
}

#[test]
fn a_start_that_fails_is_told_in_the_daemon_s_words() {
    let daemon = Daemon::home_only();
    let home = daemon.home();
    std::fs::create_dir(&home).expect("a home");
    std::fs::write(home.join("queue.db"), "this is no database ".repeat(1000)).expect("a file");
    let (code, said) = refused(&daemon.cli(&["status"]));
    assert_eq!(code, Some(74), "{said}");
    assert!(said.starts_with("batch-executor: the queue `") && said.matches("batch-executor: ").count() == 1, "{said}");
    let file = daemon.work().join("file");
    std::fs::write(&file, "").expect("a file");
    assert_eq!(daemon.cli(&["status", "--home", &file.display().to_string()]).status.code(), Some(78));
}

#[test]
fn a_queue_of_a_newer_program_is_refused_and_left_as_it_is() {
    let mut daemon = Daemon::start();
    daemon.stop();
    let database = daemon.home().join("queue.db");
    let change = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); \
        c.execute('INSERT INTO _sqlx_migrations SELECT 9999, description, installed_on, success, checksum, \
        execution_time FROM _sqlx_migrations LIMIT 1'); c.execute('PRAGMA wal_checkpoint(TRUNCATE)'); c.close()";
    let changed = std::process::Command::new("python3").args(["-c", change]).arg(&database).status().expect("python3");
    assert!(changed.success());
    let before = std::fs::read(&database).expect("a queue");
    for arguments in [&["daemon"][..], &["status"]] {
        let (code, said) = refused(&daemon.cli(arguments));
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("newer"), "{said}");
    }
    assert!(std::fs::read(&database).expect("a queue") == before, "the queue was touched");
}

#[test]
fn a_bad_configuration_names_line_key_and_value() {
    let daemon = Daemon::home_only();
    let file = daemon.work().join("c.toml");
    let name = file.display().to_string();
    for (text, expected) in [
        ("grace = \"soon\"", ":1: `grace` is \"soon\", but must be seconds from 0 to 86400"),
        ("\n\ngrace = [1]", ":3: `grace` is [1], but must be seconds from 0 to 86400"),
        ("autostart = 1", ":1: `autostart` is 1, but must be true or false"),
        ("env_pass = [\"A\", 2]", ":1: `env_pass` is [\"A\", 2], but must be names"),
        ("env_pass = 5", ":1: `env_pass` is 5, but must be names"),
        ("grace = 1\ngrase = 2", ":2: unknown setting `grase`; the nearest is `grace`"),
        ("grace 1", ":1: "),
        ("[functions.a]\ncommand = [\"x\"]\n[functions.b]\ncomand = [\"x\"]", ":4: unknown field `comand`"),
        ("[functions.a]\ncommand = [\"x\"]\n[functions.b]\ncommand = []", ":3: `functions.b` needs a `command`"),
        ("grace = 1\n[functions.command]\ncommand = [\"x\"]", ":2: `functions.command` has the name of a built-in"),
    ] {
        std::fs::write(&file, text).expect("a file");
        for arguments in [&["daemon", "--config", &name][..], &["status", "--config", &name]] {
            let (code, said) = refused(&daemon.cli(arguments));
            assert_eq!(code, Some(78), "{text}: {said}");
            assert!(said.starts_with(&format!("batch-executor: {name}{expected}")), "{text}: {said}");
        }
    }
    let absent = daemon.cli(&["status", "--config", "absent.toml"]);
    assert_eq!(refused(&absent).0, Some(78));
    let variable = daemon.command(&["status"]).env("BATCH_EXECUTOR_MAX_CONNECTIONS", "0").output().expect("it runs");
    let (code, said) = refused(&variable);
    assert_eq!(code, Some(78));
    assert!(said.contains("BATCH_EXECUTOR_MAX_CONNECTIONS is \"0\", but must be a whole number from 1"), "{said}");
    let (code, said) = refused(&daemon.cli(&["daemon", "--grace", "x"]));
    assert_eq!(code, Some(78));
    assert!(said.contains("--grace is \"x\""), "{said}");
}

#[test]
fn a_flag_beats_the_environment_beats_the_file() {
    let daemon = Daemon::home_only();
    let file = daemon.work().join("c.toml");
    std::fs::write(&file, "grace = 1\nmax_connections = 2\nenv_pass = [\"A\", \"B_*\"]\n").expect("a file");
    let mut command = daemon.command(&["config", "--json"]);
    let output = command.env("BATCH_EXECUTOR_CONFIG", &file).env("BATCH_EXECUTOR_GRACE", "2.5").output();
    let data = json_of(&output.expect("it runs"))["data"].take();
    assert_eq!(data["grace"], json!({"value": 2.5, "origin": "environment (BATCH_EXECUTOR_GRACE)"}));
    assert_eq!(data["max_connections"], json!({"value": 2, "origin": format!("file ({}:2)", file.display())}));
    assert_eq!(data["env_pass"]["value"], json!(["A", "B_*"]));
    assert_eq!(data["autostart"], json!({"value": true, "origin": "default"}));
    let help = daemon.cli(&["daemon", "--help"]);
    let help = String::from_utf8_lossy(&help.stdout);
    for name in data.as_object().expect("settings").keys() {
        assert!(help.contains(&format!("--{}", name.replace('_', "-"))), "no flag for {name}");
    }
}

#[test]
fn a_home_too_long_for_a_socket_is_refused_with_the_limit() {
    let daemon = Daemon::home_only();
    let home = format!("/tmp/{}", "x".repeat(120));
    for arguments in [&["daemon", "--home", &home][..], &["status", "--home", &home]] {
        let (code, said) = refused(&daemon.cli(arguments));
        assert_eq!(code, Some(78));
        assert!(said.contains("125 bytes, at most 95"), "{said}");
    }
}

#[test]
fn daemon_stop_says_what_comes_next_and_returns_when_it_has_ended() {
    let mut daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("trap '' TERM; while :; do sleep 0.01; done")]}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    let pid = daemon.pid();
    let stopped = daemon.cli(&["daemon", "stop", "--grace", "0"]);
    assert!(!lives(pid), "it has ended when the command returns");
    assert_eq!(
        String::from_utf8_lossy(&stopped.stdout),
        "the daemon ends; 1 running task goes back to the queue, no retry used. The next command starts the daemon \
         again, and the executor goes on; to prevent that, `stop` first.\n"
    );
    daemon.serve();
    daemon.running(1);
    let task = daemon.ok(json!({"action": "show", "task_id": 1}));
    let first = &task["attempts"][0];
    assert_eq!((&first["outcome"], &first["cause"]), (&json!("stopped"), &json!("stopped")));
    assert_eq!((&task["retry_count"], &task["interruptions"]), (&json!(0), &json!(0)));
}

#[test]
fn a_second_signal_makes_the_grace_nothing() {
    let daemon = Daemon::start_with(&[("BATCH_EXECUTOR_GRACE", "86400")]);
    let code = "trap 'touch told' TERM; touch ready; while :; do sleep 0.01; done";
    daemon.ok(json!({"action": "add_batch", "tasks": [shell(code)]}));
    daemon.ok(json!({"action": "start"}));
    let made = |name: &str| daemon.work().join(name).exists().then_some(());
    eventually("the task is ready", || made("ready"));
    signal(daemon.pid(), "TERM");
    eventually("the task is told", || made("told"));
    assert!(lives(daemon.pid()), "it waits for the task");
    signal(daemon.pid(), "TERM");
    let pid = daemon.pid();
    eventually("the second signal ends it", || (!lives(pid)).then_some(()));
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up() {
    let mut daemon = Daemon::start();
    let mut deaf = std::os::unix::net::UnixStream::connect(daemon.home().join("daemon.sock")).expect("a connection");
    deaf.set_nonblocking(true).expect("a mode");
    let line = b"{\"action\":\"functions\"}\n".repeat(1000);
    while std::io::Write::write(&mut deaf, &line).is_ok() {}
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 0);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_restart_leaves_no_moment_without_a_daemon() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("while [ ! -e gate ]; do sleep 0.01; done")]}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..30 {
                    let output = daemon.cli(&["status", "--no-autostart"]);
                    assert!(output.status.success(), "{output:?}");
                }
            });
        }
        for _ in 0..4 {
            let output = daemon.cli(&["daemon", "restart", "--json"]);
            assert!(output.status.success(), "{output:?}");
            assert_eq!(json_of(&output)["data"]["pid"], daemon.pid());
        }
        // Signals of the same kind that come while one program becomes the next end nothing.
        for name in ["USR2", "HUP", "USR2", "HUP"] {
            signal(daemon.pid(), name);
        }
    });
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    eventually("the task's end", || (daemon.answers()["data"]["counts"]["completed"] == 1).then_some(()));
    assert_eq!(daemon.answers()["data"]["pid"], daemon.pid());
}

#[test]
fn a_reload_takes_a_good_configuration_and_leaves_a_bad_one() {
    let mut daemon = Daemon::home_only();
    let file = daemon.home().parent().expect("a root").join("config/batch-executor/config.toml");
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("folders");
    std::fs::write(&file, "max_request_bytes = 4096\n").expect("a file");
    daemon.serve();
    let long = json!({"action": "functions", "id": "x".repeat(5000)});
    assert_eq!(daemon.call(&long)["error"]["code"], "too_large");

    std::fs::write(&file, "max_request_bytes = \"a few\"\n").expect("a file");
    let answer = daemon.call(&json!({"action": "restart"}));
    assert_eq!((&answer["ok"], &answer["error"]["code"]), (&json!(false), &json!("conflict")));
    assert!(daemon.log().contains("`max_request_bytes` is \"a few\""), "{}", daemon.log());
    assert_eq!(daemon.call(&long)["error"]["code"], "too_large", "it is as it was");

    std::fs::write(&file, "max_request_bytes = 8192\n").expect("a file");
    signal(daemon.pid(), "HUP");
    let long = long.to_string();
    eventually("the new limit", || daemon.cli(&["call", &long]).status.success().then_some(()));
    assert_eq!(daemon.answers()["data"]["pid"], daemon.pid());
}

#[test]
fn the_background_daemon_s_log_is_bounded() {
    let daemon = Daemon::home_only();
    let command = |arguments: &[&str]| {
        let output = daemon.command(arguments).env("BATCH_EXECUTOR_DAEMON_LOG_BYTES", "4096").output();
        assert!(output.expect("it runs").status.success(), "{arguments:?}");
    };
    command(&["status"]);
    let (log, before) = (daemon.home().join("daemon.log"), daemon.home().join("daemon.log.1"));
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    eventually("a second file", || {
        command(&["daemon", "restart"]);
        assert!(length(&log) <= 4096 && length(&before) <= 4096);
        before.exists().then_some(())
    });
}
