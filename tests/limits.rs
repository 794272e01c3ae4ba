//! Limits per task: they hold for the task alone, and a task that dies of one says so.

mod support;

use serde_json::{Value, json};
use support::{Daemon, python, shell};

fn limited(mut task: Value, limits: Value) -> Value {
    task["limits"] = limits;
    task
}

fn stdout(task: &Value) -> &str {
    task["result"]["stdout"].as_str().unwrap_or_else(|| panic!("{task}"))
}

/// Says what its process is limited by.
const TELL: &str = "import os, resource as r
print(r.getrlimit(r.RLIMIT_DATA), r.getrlimit(r.RLIMIT_CPU), r.getrlimit(r.RLIMIT_NOFILE), os.nice(0), '%03o' % os.umask(0))";

#[test]
fn every_limit_holds_for_the_task_and_for_nobody_else() {
    let daemon = Daemon::start();
    let all = json!({"memory": "512MiB", "cpu": 100, "open_files": 99, "nice": 7, "ionice": "idle", "umask": "027"});
    let plain = daemon.run(&[python(TELL), shell("ionice"), shell("touch before; stat -c %a before")]);
    let shown = daemon.run(&[
        limited(python(TELL), all.clone()),
        limited(shell("ionice"), all.clone()),
        limited(shell("ionice"), json!({"ionice": 3})),
        limited(shell("touch within; stat -c %a within"), all),
        python(TELL),
        shell("ionice"),
    ]);
    assert_eq!(stdout(&shown[0]), "(536870912, 536870912) (100, 102) (99, 99) 7 027\n");
    assert_eq!(stdout(&shown[1]), "idle\n");
    assert_eq!(stdout(&shown[2]), "best-effort: prio 3\n");
    assert_eq!(stdout(&shown[3]), "640\n");
    assert_ne!(stdout(&plain[2]), "640\n");
    assert_eq!(
        (stdout(&shown[4]), stdout(&shown[5])),
        (stdout(&plain[0]), stdout(&plain[1])),
        "the keeper has its own"
    );
    let written =
        json!({"memory": 536_870_912, "cpu": 100, "open_files": 99, "nice": 7, "ionice": "idle", "umask": "027"});
    assert_eq!(shown[0]["limits"], written);
    assert_eq!(plain[0].get("limits"), None);
}

#[test]
fn a_task_that_dies_of_a_limit_says_which() {
    let daemon = Daemon::start();
    let shown = daemon.run(&[
        limited(python("while True: pass"), json!({"cpu": 1})),
        // One that handles the first signal gets the second.
        limited(
            python("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"),
            json!({"cpu": 1}),
        ),
        limited(shell("python3 -c 'while True: pass'; exit $?"), json!({"cpu": 1})),
        limited(python("b = bytearray(1 << 30)"), json!({"memory": "256MiB"})),
        limited(python("import sys; sys.exit('something else')"), json!({"memory": "256MiB", "cpu": 1})),
        limited(python("import os\nfor _ in range(30): os.dup(1)"), json!({"open_files": 20})),
    ]);
    let error = |task: &Value| task["error"].as_str().expect("an error").to_owned();
    assert_eq!(error(&shown[0]), "exceeded its limit of 1 s CPU time; killed by SIGXCPU (signal 24)");
    assert_eq!(error(&shown[1]), "exceeded its limit of 1 s CPU time; killed by SIGKILL (signal 9)");
    assert!(error(&shown[2]).starts_with("exceeded its limit of 1 s CPU time; exit code 152"), "{}", shown[2]);
    assert!(error(&shown[3]).starts_with("exceeded its limit of 256 MiB memory; exit code 1: "), "{}", shown[3]);
    assert_eq!(error(&shown[4]), "exit code 1: something else");
    assert!(error(&shown[5]).contains("Too many open files"), "{}", shown[5]);
}

#[test]
fn wrong_limits_are_refused_in_a_sentence_and_unknown_ones_warned_of() {
    let daemon = Daemon::start();
    for (limits, said) in [
        (json!([]), "`limits` is [], but must be an object of limits"),
        (json!({"memory": "lots"}), "`limits.memory` is \"lots\", but must be a number of bytes from 1 MiB"),
        (json!({"cpu": -1}), "`limits.cpu` is -1, but must be a whole number of seconds from 1 to 1e9"),
        (json!({"open_files": 0}), "`limits.open_files` is 0, but must be a whole number from 8"),
        (json!({"nice": 99}), "`limits.nice` is 99, but must be a whole number from -20 to 19"),
        (json!({"ionice": "best"}), "`limits.ionice` is \"best\", but must be \"idle\", or a level from 0 to 7"),
        (json!({"umask": "9"}), "`limits.umask` is \"9\", but must be an octal text"),
    ] {
        let answer = daemon.call(&limited(
            json!({"action": "add", "name": "n", "function": "command", "params": {"argv": ["true"]}}),
            limits,
        ));
        assert_eq!(answer["error"]["code"], "invalid_request", "{answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.starts_with(said)), "{answer}");
    }
    assert_eq!(daemon.tasks(), [] as [Value; 0]);
    let warned = daemon.call(&json!({"action": "add_batch", "defaults": {"limits": {"memroy": 1, "nice": 1}},
        "tasks": [{"function": "simulate"}, {"function": "simulate"}]}));
    let warning = "unknown field `limits.memroy` was ignored; did you mean `memory`? (2 times)";
    assert_eq!((&warned["ok"], &warned["warnings"]), (&json!(true), &json!([warning])), "{warned}");
    assert_eq!(daemon.tasks()[1]["limits"], json!({"nice": 1}));
}

#[test]
fn what_the_user_may_not_have_fails_at_the_start_without_retries() {
    let mut daemon = Daemon::home_only();
    let bounded = ["prlimit", "--nofile=256:256"];
    // Root may have everything, until its capabilities are gone.
    let powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let powerless = powerless.iter().copied().filter(|_| nix::unistd::geteuid().is_root());
    daemon.serve_by(&powerless.chain(bounded).collect::<Vec<_>>());
    let task = |limits: Value| {
        let mut task = limited(shell("echo ran"), limits);
        (task["max_retries"], task["retry_delay"]) = (json!(2), json!(0));
        task
    };
    let shown = daemon.run(&[
        task(json!({"open_files": 100_000})),
        task(json!({"nice": -5})),
        task(json!({"open_files": 200, "nice": 5})),
    ]);
    for (task, said) in shown.iter().zip([
        "`limits.open_files` of 100000 is more than this user may have here: ",
        "`limits.nice` of -5 is more than this user may have here: ",
    ]) {
        assert!(task["error"].as_str().is_some_and(|error| error.starts_with(said)), "{task}");
        assert_eq!((task["attempts"].as_array().map(Vec::len), &task["status"]), (Some(1), &json!("failed")), "{task}");
    }
    assert_eq!(stdout(&shown[2]), "ran\n");
}

#[test]
fn a_declared_function_has_limits_and_a_task_its_own_over_them() {
    let mut daemon = Daemon::home_only();
    let folder = daemon.home().parent().expect("a root").join("config/batch-executor");
    std::fs::create_dir_all(&folder).expect("a folder");
    let configuration = |limits: &str| {
        let text =
            format!("[functions.tell]\ncommand = [\"python3\", \"-c\", \"\"\"{TELL}\"\"\"]\nlimits = {limits}\n");
        std::fs::write(folder.join("config.toml"), text).expect("a configuration");
    };
    configuration("{ nice = 5, open_files = 77, memory = \"1GiB\", cpu = 50, umask = \"077\" }");
    daemon.serve();
    let tell = json!({"function": "tell", "max_retries": 0});
    let shown = daemon.run(&[tell.clone(), limited(tell, json!({"nice": 9, "cpu": 5}))]);
    assert_eq!(stdout(&shown[0]), "(1073741824, 1073741824) (50, 52) (77, 77) 5 077\n");
    assert_eq!(stdout(&shown[1]), "(1073741824, 1073741824) (5, 7) (77, 77) 9 077\n");
    for (limits, said) in [
        ("{ mem = 5 }", "has the unknown limit `mem`; they are memory, cpu, open_files, nice, ionice, umask"),
        ("{ nice = 50 }", "is not understood: `limits.nice` is 50, but must be a whole number from -20 to 19"),
    ] {
        configuration(limits);
        let output = daemon.cli(&["config"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(text.contains(&format!("`functions.tell` {said}")), "{text}");
    }
}

#[test]
fn the_command_line_sets_limits_and_shows_them() {
    let daemon = Daemon::start();
    let limits = ["memory=512MiB", "cpu=60", "open_files=64", "nice=1", "ionice=idle", "umask=022"];
    let flags = limits.iter().flat_map(|limit| ["--limit", limit]);
    let arguments: Vec<&str> = ["add"].into_iter().chain(flags).chain(["--", "sh", "-c", "umask"]).collect();
    let added = daemon.cli(&arguments);
    assert!(added.status.success(), "{added:?}");
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    let text = String::from_utf8(daemon.cli(&["show", "1"]).stdout).expect("text");
    let line = "limits      cpu 60 s a process, ionice idle, memory 512.0 MiB a process (RLIMIT_DATA), nice 1, \
                open files 64 a process, umask 022\n";
    assert!(text.contains(line) && text.contains("  0022\n"), "{text}");
    let exported = daemon.cli(&["export", "--output-file", "-", "--format", "jsonl"]);
    let exported: Value = serde_json::from_slice(&exported.stdout).expect("JSON");
    assert_eq!((&exported["limits"]["umask"], &exported["limits"]["cpu"]), (&json!("022"), &json!(60)));
    let wrong = daemon.cli(&["add", "--limit", "cpu", "--", "true"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let refused = daemon.cli(&["add", "--limit", "umask=8", "--", "true"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
}
