//! Secrets by reference: the task has the value, and nothing that is kept or shown does.

mod support;

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Daemon, python, shell, until};

/// With what JSON escapes, and long enough to be cut often.
const VALUE: &str = "p4ss/wörd \"quoted\" & 'more' 0123456789abcdef";

fn write(path: &Path, text: &str, mode: u32) {
    let file = std::fs::File::options().create_new(true).write(true).mode(mode).open(path);
    file.expect("a file").write_all(text.as_bytes()).expect("written");
}

/// A daemon whose configuration has these secrets.
fn daemon(secrets: &str) -> Daemon {
    let mut daemon = Daemon::home_only();
    configure(&daemon, secrets);
    write(&daemon.work().join("token"), &format!("{VALUE}\n"), 0o600);
    daemon.serve();
    daemon
}

fn configure(daemon: &Daemon, secrets: &str) {
    let folder = daemon.home().parent().expect("a root").join("config/batch-executor");
    std::fs::create_dir_all(&folder).expect("a folder");
    let work = daemon.work().display().to_string();
    std::fs::write(folder.join("config.toml"), secrets.replace("WORK", &work)).expect("a configuration");
}

const TOKEN: &str = "[secrets.token]\nfile = \"WORK/token\"\n";

/// The command lines of what has this home in its environment.
fn processes_of(daemon: &Daemon) -> Vec<String> {
    let home = daemon.home();
    let of = |name: &str| std::fs::read(Path::new("/proc").join(name)).unwrap_or_default();
    std::fs::read_dir("/proc")
        .expect("proc")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|pid| holds(&of(&format!("{pid}/environ")), home.as_os_str().as_encoded_bytes()))
        .map(|pid| String::from_utf8_lossy(&of(&format!("{pid}/cmdline"))).replace('\0', " "))
        .collect()
}

/// A task with the value in `TOKEN`.
fn with_token(mut task: Value) -> Value {
    task["params"]["env"] = json!({"TOKEN": {"secret": "token"}});
    task
}

fn all_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => all_files(&entry.path(), found),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

/// The value as it is, and as JSON may have it.
fn forms() -> Vec<Vec<u8>> {
    let plain = json!(VALUE).to_string();
    let ascii = plain.replace('ö', "\\u00f6");
    [VALUE.to_owned(), plain.trim_matches('"').to_owned(), ascii.trim_matches('"').to_owned()]
        .map(String::into_bytes)
        .to_vec()
}

fn holds(bytes: &[u8], value: &[u8]) -> bool {
    bytes.windows(value.len()).any(|part| part == value)
}

/// Every byte of the home, of the daemon's and the keeper's log and of what the program prints: the value is nowhere.
fn nowhere(daemon: &Daemon) {
    let mut files = vec![daemon.home().parent().expect("a root").join("daemon.err")];
    all_files(&daemon.home(), &mut files);
    let mut texts: Vec<(String, Vec<u8>)> =
        files.into_iter().map(|file| (file.display().to_string(), std::fs::read(file).unwrap_or_default())).collect();
    let ids: Vec<String> = daemon.tasks().iter().map(|task| task["task_id"].to_string()).collect();
    let mut commands = vec![vec!["results", "--json"], vec!["results"], vec!["status", "--detailed"]];
    for format in ["json", "csv", "jsonl"] {
        commands.push(vec!["export", "--output-file", "-", "--format", format]);
    }
    for id in &ids {
        commands.extend([vec!["show", id], vec!["show", id, "--json"], vec!["logs", id], vec!["logs", id, "--stderr"]]);
    }
    for command in commands {
        let output = daemon.cli(&command);
        assert!(output.status.success(), "{command:?}: {output:?}");
        texts.push((command.join(" "), [output.stdout, output.stderr].concat()));
    }
    for (name, bytes) in texts {
        for form in forms() {
            assert!(!holds(&bytes, &form), "{name} has the value");
        }
    }
}

#[test]
fn a_task_has_the_value_and_what_it_writes_of_it_is_masked() {
    let daemon = daemon(TOKEN);
    // That it is the value is told by its length alone.
    let shown = daemon.run(&[
        with_token(shell("printf %s \"$TOKEN\" | wc -c; echo \"<$TOKEN>\"; echo \"<$TOKEN>\" >&2")),
        with_token(shell("echo \"why: $TOKEN\" >&2; exit 3")),
        with_token(python("import json, os; print(json.dumps({'token': os.environ['TOKEN']}))")),
        with_token(json!({"name": "f", "function": "custom_function", "params": {
                "code": "import os\ndef process():\n print(os.environ['TOKEN'])\n return [os.environ['TOKEN'], 1]"}})),
        with_token(json!({"name": "c", "function": "command", "params": {"argv": ["printenv", "TOKEN"]}})),
        with_token(shell("printf '%s' \"${TOKEN%????????????????}\"")),
    ]);
    assert_eq!(shown[0]["result"]["stdout"], format!("{}\n<***>\n", VALUE.len()));
    assert_eq!(shown[0]["result"]["stderr"], "<***>\n");
    assert_eq!(shown[0]["params"]["env"], json!({"TOKEN": {"secret": "token"}}));
    assert_eq!((&shown[1]["error"], &shown[1]["exit_code"]), (&json!("exit code 3: why: ***"), &json!(3)));
    assert_eq!(shown[2]["result"]["value"], json!({"token": "***"}));
    assert_eq!(shown[3]["result"], json!(["***", 1]));
    assert_eq!(shown[4]["result"]["stdout"], "***\n");
    assert_eq!(shown[5]["result"]["stdout"], VALUE[..VALUE.len() - 16], "a beginning alone is not the value");
    nowhere(&daemon);
}

#[test]
fn the_error_of_a_task_that_does_not_start_is_masked() {
    let daemon = daemon("[secrets.token]\ncommand = [\"echo\", \"sup3rs3cret\"]\n");
    // Of no format that a kernel runs.
    write(&daemon.work().join("sup3rs3cret"), "\u{1}\u{2}", 0o700);
    let task = json!({"name": "n", "function": "command", "params": {"argv": ["./sup3rs3cret"]}, "max_retries": 0});
    let shown = daemon.run(&[with_token(task)]);
    let error = shown[0]["error"].as_str().expect("an error");
    assert!(error.contains("***` cannot be started") && !error.contains("sup3r"), "{error}");
}

#[test]
fn a_value_in_pieces_and_across_the_borders_of_reads_is_masked() {
    let daemon = daemon(TOKEN);
    let byte_by_byte = "import os, sys, time
for stream in (1, 2):
    for byte in os.environb[b'TOKEN'] + b'.':
        os.write(stream, bytes([byte]))
        time.sleep(0.001)";
    // Some 3 MiB, in which the value is at every offset from a read's border.
    let large = "import os
value = os.environb[b'TOKEN']
for n in range(1, 1500):
    os.write(1, b'x' * n + value)
    os.write(2, value + b'y' * n)
os._exit(5)";
    let shown = daemon.run(&[with_token(python(byte_by_byte)), with_token(python(large))]);
    assert_eq!((&shown[0]["result"]["stdout"], &shown[0]["result"]["stderr"]), (&json!("***."), &json!("***.")));
    assert!(daemon.home().join("output/2-1.log").exists(), "it was spilled");
    let whole = |stream| {
        let read = json!({"action": "logs", "task_id": 2, "stream": stream, "limit": 16_000_000});
        daemon.ok(read)["text"].as_str().map(str::to_owned).expect("text")
    };
    let lines = |first: fn(usize) -> String| (1..1500).map(first).collect::<String>();
    assert_eq!(whole("stdout"), lines(|n| "x".repeat(n) + "***"));
    assert_eq!(whole("stderr"), lines(|n| format!("***{}", "y".repeat(n))));
    nowhere(&daemon);
}

#[test]
fn followed_output_is_masked_and_a_line_does_not_wait() {
    let daemon = daemon(TOKEN);
    // One for each wait: a second reader of the first could meet its writer before that has closed.
    let [first, second] = ["first", "second"].map(|name| daemon.work().join(name));
    assert!(std::process::Command::new("mkfifo").args([&first, &second]).status().expect("mkfifo").success());
    let code = format!(
        "read _ < {0}; printf '%s' \"${{TOKEN%??????}}\"; echo start >&2; read _ < {1}; printf '%s\\n' \"${{TOKEN#${{TOKEN%??????}}}}\"; echo \"$TOKEN\"",
        first.display(),
        second.display()
    );
    daemon.ok(json!({"action": "add", "name": "f", "function": "code_execution",
        "params": {"runtime": "terminal", "code": code, "env": {"TOKEN": {"secret": "token"}}}}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    let mut following =
        daemon.command(&["logs", "1", "-f"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("logs");
    let mut seen = std::io::BufReader::new(following.stdout.take().expect("its output"));
    let line = |seen: &mut std::io::BufReader<_>| {
        let mut line = String::new();
        std::io::BufRead::read_line(seen, &mut line).expect("a line");
        line
    };
    std::fs::write(&first, "go\n").expect("told");
    assert_eq!(line(&mut seen), "start\n", "what may be the value's beginning is held back");
    nowhere(&daemon);
    std::fs::write(&second, "go\n").expect("told");
    assert_eq!((line(&mut seen), line(&mut seen)), ("***\n".to_owned(), "***\n".to_owned()));
    assert!(following.wait().expect("its end").success());
    nowhere(&daemon);
}

#[test]
fn a_value_is_masked_over_a_lost_daemon() {
    let mut daemon = daemon(TOKEN);
    let gate = daemon.work().join("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().expect("mkfifo").success());
    let code =
        format!("printf %s \"${{TOKEN%?????}}\"; read _ < {}; echo \"${{TOKEN#${{TOKEN%?????}}}}\"", gate.display());
    daemon.ok(json!({"action": "add", "name": "f", "function": "code_execution",
        "params": {"runtime": "terminal", "code": code, "env": {"TOKEN": {"secret": "token"}}}}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    daemon.kill();
    std::fs::write(&gate, "go\n").expect("told");
    daemon.serve();
    daemon.wait();
    assert_eq!(daemon.ok(json!({"action": "show", "task_id": 1}))["result"]["stdout"], "***\n");
    nowhere(&daemon);
}

#[test]
fn a_secret_that_cannot_be_had_fails_the_attempt_and_is_named() {
    let secrets = "[secrets.token]\nfile = \"WORK/token\"\n[secrets.open]\nfile = \"WORK/open\"\n\
        [secrets.link]\nfile = \"WORK/link\"\n[secrets.none]\nfile = \"WORK/none\"\n[secrets.folder]\nfile = \"WORK\"\n\
        [secrets.pipe]\nfile = \"WORK/pipe\"\n[secrets.short]\nfile = \"WORK/short\"\n[secrets.other]\nfile = \"WORK/other\"\n\
        [secrets.fails]\ncommand = [\"sh\", \"-c\", \"echo 'leak-out'; echo 'leak-err' >&2; exit 3\"]\n\
        [secrets.missing]\ncommand = [\"no-such-program\"]\n\
        [secrets.slow]\ncommand = [\"sleep\", \"1000\"]\ntimeout = 0.1\n\
        [secrets.endless]\ncommand = [\"cat\", \"/dev/zero\"]\n";
    let daemon = daemon(secrets);
    let at = |name: &str| daemon.work().join(name);
    write(&at("open"), "leak-open", 0o640);
    symlink(at("token"), at("link")).expect("a link");
    assert!(
        std::process::Command::new("mkfifo").args(["-m", "600"]).arg(at("pipe")).status().expect("mkfifo").success()
    );
    write(&at("short"), "abc\n", 0o600);
    write(&at("other"), "leak-other", 0o600);
    // Only root can give a file away, and only then is there one of another user.
    let given_away = std::os::unix::fs::chown(at("other"), Some(1), None).is_ok();
    let wanted = [
        ("open", "has the mode 0640, but must be 0600 or stricter"),
        ("link", "is a symbolic link"),
        ("none", "No such file or directory"),
        ("folder", "is not a regular file"),
        ("pipe", "is not a regular file"),
        ("short", "is shorter than 4 bytes"),
        ("fails", "its command `sh` failed (exit status: 3)"),
        ("missing", "its command `no-such-program` cannot be run"),
        ("slow", "its command `sleep` did not end within 100 ms"),
        ("endless", "is longer than 64 KiB"),
        ("later", "unknown secret `later` in `params.env.TOKEN`"),
        ("other", "belongs to the user 1"),
    ];
    let wanted = &wanted[..wanted.len() - usize::from(!given_away)];
    let tasks: Vec<Value> = wanted
        .iter()
        .map(|(name, _)| {
            let mut task = with_token(shell("touch it-ran"));
            task["params"]["env"]["TOKEN"]["secret"] = json!(name);
            (task["max_retries"], task["retry_delay"]) = (json!(1), json!(0));
            task
        })
        .collect();
    let shown = daemon.run(&tasks);
    for (task, (name, said)) in shown.iter().zip(wanted) {
        let error = task["error"].as_str().expect("an error");
        assert!(error.contains(&format!("secret `{name}`")) && error.contains(said), "{error}");
        let attempts = task["attempts"].as_array().map_or(0, Vec::len);
        assert_eq!(attempts, if *name == "later" { 1 } else { 2 }, "{task}");
        assert!(!task.to_string().contains("leak-"), "{task}");
        let written = daemon.ok(json!({"action": "logs", "task_id": task["task_id"]}));
        assert_eq!(written["text"], "", "what its command complains of may hold the secret");
    }
    assert!(!at("it-ran").exists());
    assert!(!daemon.log().contains("leak-"), "{}", daemon.log());
}

#[test]
fn the_value_is_taken_when_the_task_starts() {
    let mut daemon = daemon("");
    let added = daemon.call(&with_token(json!({"action": "add", "name": "n", "function": "command",
        "params": {"argv": ["sh", "-c", "printf %s \"$TOKEN\" | wc -c"]}})));
    let warning = "unknown secret `token`: the task will fail unless it is declared before it runs; none is declared";
    assert_eq!(added["warnings"], json!([warning]), "{added}");
    daemon.stop();
    configure(&daemon, "[secrets.token]\ncommand = [\"sh\", \"-c\", \"echo 123456789; echo some noise >&2\"]\n");
    daemon.serve();
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    assert_eq!(daemon.ok(json!({"action": "show", "task_id": 1}))["result"]["stdout"], "9\n");
}

#[test]
fn what_reads_a_secret_is_ended_with_its_attempt_and_holds_nobody_up() {
    let daemon = daemon("[secrets.token]\ncommand = [\"sleep\", \"1000\"]\ntimeout = 1000\n");
    daemon.ok(with_token(json!({"action": "add", "name": "n", "function": "command", "params": {"argv": ["true"]}})));
    daemon.ok(with_token(json!({"action": "add", "name": "n", "function": "command", "params": {"argv": ["true"]},
        "timeout": 0.2, "max_retries": 0})));
    daemon.ok(json!({"action": "start", "max_concurrent": 2}));
    let timed_out = daemon.until(&json!({"action": "show", "task_id": 2}), |task| task["status"] == "failed");
    assert_eq!(timed_out["error"], "timed out after 0.2 s");
    let added = daemon.ok(json!({"action": "add", "name": "n", "function": "command", "params": {"argv": ["true"]}}));
    daemon.ok(json!({"action": "wait", "task_ids": [added["task_id"]]}));
    let reads = || processes_of(&daemon).iter().any(|line| line.starts_with("sleep 1000"));
    until("it is read", reads);
    daemon.ok(json!({"action": "cancel", "task_id": 1}));
    daemon.wait();
    assert_eq!(daemon.ok(json!({"action": "show", "task_id": 1}))["status"], "cancelled");
    // What is killed is gone a moment later.
    until("what reads it is ended", || !reads());
}

#[test]
fn wrong_references_and_tables_are_refused_in_a_sentence() {
    let daemon = daemon(TOKEN);
    let allowed = "`params.env` must be an object of texts below 128 KiB, or of {\"secret\": \"NAME\"}";
    for reference in
        [json!({"secret": ""}), json!({"secret": 1}), json!({"secret": "a", "b": 1}), json!({}), json!(["a"])]
    {
        let answer = daemon.call(&json!({"action": "add", "name": "n", "function": "command",
            "params": {"argv": ["true"], "env": {"A": reference}}}));
        assert_eq!(
            (&answer["error"]["code"], &answer["message"]),
            (&json!("invalid_request"), &json!(allowed)),
            "{answer}"
        );
    }
    let many: serde_json::Map<String, Value> = (0..33).map(|n| (format!("V{n}"), json!({"secret": "token"}))).collect();
    let answer = daemon.call(&json!({"action": "add", "name": "n", "function": "command",
        "params": {"argv": ["true"], "env": many}}));
    assert_eq!(answer["message"], "`params.env` has 33 secrets, but at most 32 are possible");
    assert_eq!(daemon.tasks().len(), 0);
    for (table, said) in [
        ("", "needs either a `file` or a `command`"),
        ("file = \"/x\"\ncommand = [\"x\"]", "needs either a `file` or a `command`"),
        ("file = \"x\"", "has a `file` that is not an absolute path"),
        ("file = \"/x\"\ntimeout = 1", "has a `timeout`, which is for a `command` alone"),
        ("command = []", "needs a `command` that is a list of texts, the program first"),
        ("command = [\"x\"]\ntimeout = 0", "has a `timeout` that is not above 0 and at most 3600 seconds"),
    ] {
        configure(&daemon, &format!("\n[secrets.x]\n{table}\n"));
        let output = daemon.cli(&["config"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(text.contains(&format!("config.toml:2: `secrets.x` {said}")), "{text}");
    }
}

#[test]
fn the_command_line_sets_secrets_for_one_task_and_for_a_file() {
    let daemon = daemon(TOKEN);
    let code = "printf %s \"$TOKEN\" | wc -c";
    let added = daemon.cli(&["add", "--secret", "TOKEN=token", "--", "sh", "-c", code]);
    assert!(added.status.success(), "{added:?}");
    let task =
        json!({"function": "code_execution", "params": {"runtime": "terminal", "code": code, "env": {"A": "1"}}});
    let file = daemon.work().join("tasks.json");
    std::fs::write(&file, json!({"tasks": [task], "defaults": {"env": {"B": "2"}}}).to_string()).expect("a file");
    let ran = daemon.cli(&["run", "tasks.json", "--secret", "TOKEN=token"]);
    assert!(ran.status.success(), "{ran:?}");
    daemon.wait();
    for task in daemon.tasks() {
        assert_eq!(task["result"]["stdout"], format!("{}\n", VALUE.len()), "{task}");
    }
    let env = json!({"A": "1", "B": "2", "TOKEN": {"secret": "token"}});
    assert_eq!(daemon.tasks()[1]["params"]["env"], env);
    for (arguments, said) in [
        (["add", "n", "-f", "simulate", "--secret", "A=b"], "--secret is for the functions command, code_execution"),
        (["add", "--secret", "TOKEN", "--", "true", ""], "--secret must be VARIABLE=SECRET, not `TOKEN`"),
    ] {
        let output = daemon.cli(&arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{output:?}");
    }
    nowhere(&daemon);
}

#[test]
fn the_shell_s_variables_are_stored_with_env_all_alone() {
    let daemon = daemon("");
    let stored = |arguments: &[&str]| {
        let mut command = daemon.command(arguments);
        let added = command.env("SHELL_SECRET", VALUE).stdin(Stdio::null()).output().expect("the program runs");
        assert!(added.status.success(), "{added:?}");
        let mut files = Vec::new();
        all_files(&daemon.home(), &mut files);
        files.iter().any(|file| forms().iter().any(|form| holds(&std::fs::read(file).expect("bytes"), form)))
    };
    assert!(!stored(&["add", "--", "true"]));
    assert!(!stored(&[
        "call",
        "{\"action\": \"add\", \"name\": \"n\", \"function\": \"command\", \"params\": {\"argv\": [\"true\"]}}"
    ]));
    assert!(stored(&["add", "--env-all", "--", "true"]), "the search finds what is there");
}
