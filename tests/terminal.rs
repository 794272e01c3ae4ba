//! Nothing that a task prints or is named drives the terminal.

#[path = "support/sources.rs"]
mod sources;
mod support;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{Daemon, shell};

/// A title, a cleared screen, a hidden text, a C1 sequence, DEL, a lone carriage return, overrides of the direction.
const HOSTILE: &str = "evil\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[8m\u{9b}97m\u{7f}\u{202e}\u{2066}\rgone";

/// What a terminal would obey in `text`; line ends and tabs are harmless.
fn driving(text: &str) -> Vec<char> {
    // A terminal puts a carriage return before each line end, also where there is one.
    let text = text.replace("\r\r\n", "\n").replace("\r\n", "\n");
    let driven = |c: &char| {
        (c.is_control() && !"\n\t".contains(*c))
            || ('\u{202a}'..='\u{202e}').contains(c)
            || ('\u{2066}'..='\u{2069}').contains(c)
    };
    text.chars().filter(driven).collect()
}

/// What the command writes to a terminal, and to a standard error that is none.
fn on_a_terminal(mut command: Command) -> (Vec<u8>, String) {
    let size = nix::pty::Winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).expect("a terminal");
    let mut child =
        command.stdin(Stdio::null()).stdout(pty.slave).stderr(Stdio::piped()).spawn().expect("the program runs");
    // Its own end of the terminal stays open in `command`, and the reading would not end.
    drop(command);
    let mut errors = child.stderr.take().expect("a pipe");
    let read = std::thread::spawn(move || all_of(pty.master));
    let mut said = String::new();
    errors.read_to_string(&mut said).expect("text");
    child.wait().expect("its end");
    (read.join().expect("what it wrote"), said)
}

fn all_of(terminal: OwnedFd) -> Vec<u8> {
    let (mut terminal, mut bytes, mut chunk) = (std::fs::File::from(terminal), Vec::new(), [0; 4096]);
    // A terminal that nobody writes to any more is an error to read (EIO).
    while let Ok(length @ 1..) = terminal.read(&mut chunk) {
        bytes.extend(&chunk[..length]);
    }
    bytes
}

/// A daemon whose tasks are as hostile as can be.
fn infested() -> Daemon {
    let mut daemon = Daemon::home_only();
    let settings = daemon.home().with_file_name("config").join("batch-executor");
    std::fs::create_dir_all(&settings).expect("a folder");
    // JSON's strings are TOML's.
    let name = json!("x\u{1b}[2J\u{9b}");
    let config = format!("[functions.{name}]\ncommand = [{name}]\n");
    std::fs::write(settings.join("config.toml"), config).expect("a configuration");
    daemon.serve();
    let fails = |code: &str| {
        let mut task = shell(code);
        task["name"] = json!(HOSTILE);
        task["params"]["env"] = json!({"KEY\u{1b}c": HOSTILE});
        task["params"][HOSTILE] = json!(HOSTILE);
        task
    };
    let print = "printf 'out \\033]0;owned\\007\\033[2J\\302\\233m\\177\\342\\200\\256\\rgone\\n'";
    let tasks = json!([
        fails(&format!("{print}; {print} >&2; exit 3")),
        fails(print),
        {"name": HOSTILE, "function": HOSTILE, "params": {HOSTILE: HOSTILE}},
        {"name": HOSTILE, "function": "command", "params": {"argv": [HOSTILE]}, "max_retries": 0},
        {"name": HOSTILE, "function": "custom_function",
         "params": {"code": "def process(text): return text", "args": {"text": HOSTILE}}},
        {"name": HOSTILE, "function": "simulate", "delay": 3600},
    ]);
    daemon.ok(json!({"action": "add_batch", "name": HOSTILE, "tasks": tasks}));
    daemon.ok(json!({"action": "start"}));
    daemon.until(&json!({"action": "status"}), |data| data["counts"]["queued"] == 1 && data["counts"]["running"] == 0);
    daemon
}

#[test]
fn what_is_shown_is_text_alone() {
    let daemon = infested();
    let bad = json!([{"name": HOSTILE, "function": "simulate", "params": {"duration": HOSTILE}}, {"name": HOSTILE, "function": HOSTILE}]);
    std::fs::write(daemon.work().join("bad.json"), bad.to_string()).expect("a file");
    let hostile_file = format!("{HOSTILE}.json");
    std::fs::write(
        daemon.work().join(&hostile_file),
        r#"[{"name":"n","function":"simulate","params":{"duration":0.01}}]"#,
    )
    .expect("a file");
    let request =
        json!({"action": "add", "name": HOSTILE, "function": "simulate", HOSTILE: 1, "priority": HOSTILE}).to_string();
    let commands: &[&[&str]] = &[
        &["results"],
        &["results", "--format", "text"],
        &["results", "--format", "csv"],
        &["results", "--format", "json"],
        &["results", "--json"],
        &["status", "--detailed"],
        &["show", "1"],
        &["show", "2"],
        &["show", "3"],
        &["show", "4"],
        &["show", "5"],
        &["show", "1", "--json"],
        &["logs", "1"],
        &["logs", "1", "--json"],
        &["add", HOSTILE, "--function", "simulate", "--priority", HOSTILE],
        &["add", HOSTILE, "--function", "simulate", "--delay", "3600"],
        &["add", "--", "echo", HOSTILE],
        &["add-batch", "bad.json"],
        &["add-batch", HOSTILE],
        &["export", "--output-file", "-", "--format", "csv"],
        &["export", "--output-file", "-"],
        &["export", "--output-file", &hostile_file],
        &["export", "--output-file", &hostile_file, "--overwrite"],
        &["export", "--output-file", "no\u{1b}[2J/folder"],
        &["call", &request],
        &["call", "{\u{1b}[2J"],
        &["cancel", HOSTILE],
        &["update", "6", "--name", HOSTILE],
        &["functions"],
        &["functions", "--quiet"],
        &["config"],
        &["status", "--config", HOSTILE],
        &["daemon", "status"],
        &["doctor"],
        &["frobnicate", HOSTILE],
    ];
    for arguments in commands {
        let (shown, said) = on_a_terminal(daemon.command(arguments));
        let shown = String::from_utf8(shown).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        assert_eq!(driving(&shown), [], "{arguments:?}: {shown:?}");
        assert_eq!(driving(&said), [], "{arguments:?}: {said:?}");
        assert!(!shown.is_empty() || !said.is_empty(), "{arguments:?}");
    }
    let (shown, said) = on_a_terminal(daemon.command(&["run", &hostile_file, "--export", "out\u{1b}[2J.csv"]));
    assert_eq!(driving(&(String::from_utf8(shown).expect("text") + &said)), []);
}

#[test]
fn colours_are_the_programs_own() {
    let daemon = infested();
    for arguments in [&["results"][..], &["status", "--detailed"], &["show", "1"]] {
        let mut command = daemon.command(arguments);
        command.env_remove("NO_COLOR").env("TERM", "xterm-256color");
        let shown = String::from_utf8(on_a_terminal(command).0).expect("text");
        assert!(
            !shown.contains("\u{1b}[8m") && !shown.contains("\u{1b}[2J") && shown.contains("\\x1b[8m"),
            "{shown:?}"
        );
        if arguments[0] == "results" {
            assert!(shown.contains("\u{1b}["), "no colours: {shown:?}");
        }
    }
}

#[test]
fn a_pipe_gets_text_for_people_made_visible_and_output_as_it_is() {
    let daemon = infested();
    let raw = b"out \x1b]0;owned\x07\x1b[2J\xc2\x9bm\x7f\xe2\x80\xae\rgone\n";
    assert_eq!(daemon.cli(&["logs", "2"]).stdout, raw);
    assert_eq!(daemon.cli(&["logs", "2", "--raw"]).stdout, raw);
    let (shown, _) = on_a_terminal(daemon.command(&["logs", "2", "--raw"]));
    assert_eq!(String::from_utf8_lossy(&shown).replace("\r\n", "\n").as_bytes(), raw);
    let shown = on_a_terminal(daemon.command(&["logs", "2"])).0;
    assert_eq!(String::from_utf8_lossy(&shown), "out \\x1b]0;owned\\x07\\x1b[2J\\u{9b}m\\x7f\\u{202e}\\rgone\r\n");
    for arguments in [&["results"][..], &["show", "1"], &["status", "--detailed"]] {
        let output = daemon.cli(arguments);
        assert_eq!(driving(&String::from_utf8_lossy(&output.stdout)), [], "{arguments:?}");
    }
    let exported = daemon.cli(&["export", "--output-file", "-", "--format", "csv"]).stdout;
    assert!(String::from_utf8_lossy(&exported).contains(HOSTILE), "data for programs is not changed");
    let listed: Value = serde_json::from_slice(&daemon.cli(&["results", "--json"]).stdout).expect("JSON");
    assert_eq!(listed["data"]["tasks"][0]["name"], HOSTILE);
}

#[test]
fn a_log_has_a_line_for_each_event() {
    let daemon = Daemon::home_only();
    let home =
        daemon.home().parent().expect("a folder").join("h\u{1b}[2J\u{9b}\n2000-01-01T00:00:00.000Z ERROR forged");
    let run = |arguments: &[&str]| daemon.cli(&[arguments, &["--home", home.to_str().expect("text")]].concat());
    let started = run(&["status"]);
    assert!(started.status.success(), "{started:?}");
    let log = std::fs::read_to_string(home.join("daemon.log")).expect("a log");
    let stopped = run(&["daemon", "stop", "--grace", "0"]);
    assert!(stopped.status.success(), "{stopped:?}");
    assert!(log.contains(r"h\x1b[2J\u{9b}\n2000-01-01"), "{log}");
    assert_eq!(driving(&log), []);
    assert!(log.lines().all(|line| !line.starts_with("2000")), "{log}");
}

#[test]
fn all_text_leaves_by_the_screen() {
    let mut paths: Vec<PathBuf> = Vec::new();
    sources::files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cli"), &mut paths);
    let ways = ["stdout()", "stderr()", "print!(", "println!(", "dbg!("];
    // What draws itself, and what only looks.
    let allowed = ["is_terminal()", "ProgressDrawTarget::stderr()", ".use_stderr()"];
    let mut others = Vec::new();
    for path in paths.iter().filter(|path| !path.ends_with("cli/screen.rs")) {
        let text = std::fs::read_to_string(path).expect("a source");
        for line in text.lines().filter(|line| ways.iter().any(|way| line.contains(way))) {
            if !allowed.iter().any(|allowed| line.contains(allowed)) {
                others.push(format!("{}: {line}", path.display()));
            }
        }
    }
    assert!(others.is_empty(), "{others:#?}");
}
