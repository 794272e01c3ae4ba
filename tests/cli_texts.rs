//! What the program says to a person, word for word: `cargo insta review`, or INSTA_UPDATE=always, after a change.

mod support;

use std::process::Stdio;

use support::Daemon;

/// Commands as typed in a terminal of so many columns, with what came of each.
struct Transcript<'a> {
    daemon: &'a Daemon,
    columns: &'static str,
    text: String,
}

impl<'a> Transcript<'a> {
    fn of(daemon: &'a Daemon, columns: &'static str) -> Self {
        Self { daemon, columns, text: String::new() }
    }

    fn typed(mut self, line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').map(|word| word.trim_matches('\'')).collect();
        let mut command = self.daemon.command(&words);
        let output = command.env("COLUMNS", self.columns).stdin(Stdio::null()).output().expect("the program runs");
        self.text.push_str(&format!("$ batch-executor {line}\n"));
        self.text.push_str(&String::from_utf8_lossy(&output.stdout));
        for said in String::from_utf8_lossy(&output.stderr).lines() {
            self.text.push_str(&format!("stderr: {said}\n"));
        }
        let code = output.status.code().expect("an exit code");
        self.text.push_str(&if code == 0 { "\n".to_owned() } else { format!("[exit code {code}]\n\n") });
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.daemon.work().join(name), text).expect("a file");
        self
    }

    fn snapshot(self, name: &str) {
        let root = self.daemon.home().parent().expect("a root").display().to_string();
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.add_filter(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "[time at which it happened]");
        settings.add_filter(r"\b\d\d:\d\d:\d\d\b", "[hour]");
        settings.add_filter(r"20\d{6}_\d{6}", "[date]");
        settings.add_filter(r"\d+\.\d s\b", "[s]");
        settings.add_filter(r"\d+\.\d tasks/s", "[n] tasks/s");
        // How many of them have begun by then is chance.
        settings.add_filter(r"running \d+ tasks?, at most", "running [n] tasks, at most");
        settings.add_filter(r"\d+\.\d [KM]iB", "[size]");
        settings.add_filter(r"\(\d+ bytes\)", "([n] bytes)");
        settings.add_filter(r"pid:? +\d+", "pid [pid]");
        settings.add_filter(r"at path .*", "at path [path]");
        settings.add_filter(r"[0-9]+\.[0-9]+\.[0-9]+ \(protocol", "[version] (protocol");
        settings.add_filter(r"version [0-9]+\.[0-9]+\.[0-9]+", "version [version]");
        let text = self.text.replace(&root, "[root]");
        settings.bind(|| insta::assert_snapshot!(name, text));
    }
}

/// Good and bad ones, one that is tried again, code of several lines.
const TASKS: &str = r#"[
{"name": "resize the photo of the summer holidays number 17", "function": "command", "params":
 {"argv": ["echo", "an output line that is too long for the table, whatever the terminal's width may be"]}},
{"name": "code", "function": "code_execution", "params":
 {"runtime": "terminal", "code": "echo one\necho two >&2\nexit 3", "cwd": "/"}, "max_retries": 1, "retry_delay": 0},
{"name": "never", "function": "simulate", "params": {"duration": 0, "fail": true}, "max_retries": 0, "priority": "high"},
{"name": "good", "function": "simulate", "params": {"duration": 0}}
]"#;

#[test]
fn the_day_of_a_task() {
    let daemon = Daemon::start();
    Transcript::of(&daemon, "80")
        .typed("status")
        .typed("add -- echo 'hello'")
        .typed("add sleepy --function simulate -p duration=0 --priority low --max-retries 0")
        .typed("add later --function simulate --delay 3600 --quiet")
        .typed("results")
        .typed("update 2 --priority high")
        .typed("cancel 3")
        .typed("start --max-concurrent 1")
        .typed("wait")
        .typed("status")
        .typed("show 1")
        .typed("logs 1")
        .typed("retry 3")
        .typed("cancel 3 --quiet")
        .typed("export --output-file out.csv")
        .typed("clear")
        .typed("start")
        .typed("stop")
        .typed("daemon status")
        .typed("daemon stop")
        .snapshot("the_day_of_a_task");
}

#[test]
fn a_run_at_any_width() {
    for columns in ["45", "80", "120"] {
        let daemon = Daemon::start();
        Transcript::of(&daemon, columns)
            .file("tasks.json", TASKS)
            .typed("run tasks.json --max-concurrent 1 --export out.jsonl")
            .typed("show 2")
            .typed("status --detailed")
            .typed("results --limit 2")
            .typed("functions")
            .snapshot(&format!("a_run_at_{columns}_columns"));
    }
}

#[test]
fn a_run_that_does_not_end() {
    let daemon = Daemon::start();
    Transcript::of(&daemon, "80")
        .file("slow.jsonl", "{\"name\": \"slow\", \"function\": \"simulate\", \"params\": {\"duration\": 3600}}\n")
        .typed("run slow.jsonl --timeout 0.1")
        .typed("run slow.jsonl --timeout 0.1 --quiet")
        .typed("run slow.jsonl --timeout 0.1")
        .typed("wait")
        .typed("start --keep")
        .typed("wait --timeout 0.01")
        .snapshot("a_run_that_does_not_end");
}

#[test]
fn files_with_mistakes() {
    let daemon = Daemon::start();
    let lines = "{\"name\": \"a\", \"function\": \"simulate\"}\n\nnonsense\n{\"function\": \"simulate\", \"priority\": \"x\"}\n[]\n";
    let table = "name,function,params.duration\na,simulate,0\nb,,\nc,simulate,soon\nd,simulate,0,1\n";
    Transcript::of(&daemon, "80")
        .file("lines.jsonl", lines)
        .file("table.csv", table)
        .file("list.json", "[{\"function\": \"simulate\"}, 5, {\"function\": \"simu")
        .file("bad.jsonl", "{}\n{}\n")
        .file("empty.json", "")
        .file("text", "hello\n")
        .file("header.csv", "name,name\n")
        .typed("add-batch lines.jsonl")
        .typed("add-batch table.csv")
        .typed("add-batch list.json")
        .typed("add-batch lines.jsonl --atomic")
        .typed("add-batch bad.jsonl")
        .typed("add-batch empty.json")
        .typed("add-batch text")
        .typed("add-batch header.csv")
        .typed("add-batch absent.json")
        .typed("add-batch .")
        .typed("add-batch table.csv --batch-id 99")
        .typed("add-batch lines.jsonl --request-key k")
        .typed("add-batch lines.jsonl --request-key k")
        .typed("add-batch table.csv --request-key k")
        .typed("run bad.jsonl")
        .typed("run lines.jsonl --export absent/out.csv")
        .snapshot("files_with_mistakes");
}

#[test]
fn refusals() {
    let daemon = Daemon::start();
    Transcript::of(&daemon, "80")
        .typed("show 9")
        .typed("logs 9")
        .typed("cancel 9")
        .typed("retry 9")
        .typed("wait")
        .typed("wait --batch-id 9")
        .typed("results --batch-id 9")
        .typed("add x --function simulate --priority urgent")
        .typed("add x --function simulate --max-retries -1")
        .typed("add x --function simulate -p duration=soon")
        .typed("add x --function nobody_knows")
        .typed("start --max-concurrent 0")
        .typed("results --filter-status done")
        .typed("clear --filter-status queued")
        .typed("export --output-file absent/x.csv")
        .typed("export --format xml")
        .typed("retry 1")
        .typed("wait")
        .typed("update 1")
        .typed("call {")
        .typed("call --file absent")
        .typed("daemon")
        .snapshot("refusals");
}

#[test]
fn wrong_usage() {
    let daemon = Daemon::home_only();
    Transcript::of(&daemon, "80")
        .typed("frobnicate")
        .typed("status --frob")
        .typed("status --frob --json")
        .typed("--json")
        .typed("add")
        .typed("add x --function simulate --timeout soon --json")
        .typed("add x --function simulate -p duration")
        .typed("add x --function simulate --params []")
        .typed("add --env BX_NOT_SET -- true")
        .typed("show twelve")
        .typed("cancel")
        .typed("retry --json")
        .typed("update --priority high")
        .typed("wait --timeout -1")
        .typed("export --output-file - --json")
        .typed("completions csh")
        .snapshot("wrong_usage");
}

#[test]
fn without_a_daemon() {
    let daemon = Daemon::home_only();
    Transcript::of(&daemon, "80")
        .typed("status --no-autostart")
        .typed("daemon status")
        .typed("daemon stop --json")
        .typed("daemon restart")
        .typed("config")
        .typed("--version")
        .file("c.toml", "grace = 1\n\n[functions.resize]\ncommand = [\"python3\", \"resize.py\"]\n")
        .typed("config --config c.toml")
        .file("c.toml", "grace = 1\ngrase = 2\n")
        .typed("status --config c.toml")
        .typed("status --config absent.toml --json")
        .snapshot("without_a_daemon");
}

#[test]
fn help() {
    let daemon = Daemon::home_only();
    let mut transcript = Transcript::of(&daemon, "80").typed("--help");
    for command in [
        "run",
        "add",
        "add-batch",
        "start",
        "stop",
        "status",
        "results",
        "show",
        "logs",
        "update",
        "export",
        "report",
        "backup",
        "clear",
        "cancel",
        "retry",
        "wait",
        "functions",
        "call",
        "daemon",
        "daemon stop",
        "config",
        "doctor",
        "demo",
        "completions",
        "man",
        "service",
        "service install",
        "mcp",
    ] {
        transcript = transcript.typed(&format!("{command} --help"));
    }
    transcript.snapshot("help");
}
