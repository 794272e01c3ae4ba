//! What shells offer, asked of the shells themselves.

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use support::{Daemon, PATIENCE, signal};

/// The folder of the program, first in PATH.
fn path() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_batch-executor"));
    format!("{}:{}", program.parent().expect("a folder").display(), std::env::var("PATH").expect("a PATH"))
}

/// A shell, in an environment of its own.
fn in_shell(daemon: &Daemon, line: &[&str]) -> Command {
    let mine = daemon.command(&[]);
    let mut command = Command::new(line[0]);
    command.args(&line[1..]).current_dir(daemon.work());
    command.envs(mine.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("PATH", path());
    // Nothing of the user's own shell is read or written.
    command.env("HOME", daemon.work()).env("ZDOTDIR", daemon.work()).env("XDG_STATE_HOME", daemon.work());
    command.env("XDG_DATA_HOME", daemon.work()).env("XDG_RUNTIME_DIR", daemon.work()).env("TERM", "xterm");
    command
}

/// What bash offers for words, the last of which is typed.
fn offered(daemon: &Daemon, words: &[&str]) -> Vec<String> {
    let script = "source <(batch-executor completions bash); COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1))
        _batch_executor batch-executor \"${@: -1}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = in_shell(daemon, &[&["bash", "-c", script, "bash", "batch-executor"], words].concat())
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
    String::from_utf8_lossy(&output.stdout).lines().map(ToOwned::to_owned).collect()
}

/// What fish offers, with its descriptions.
fn described(daemon: &Daemon, line: &str) -> String {
    let script = "batch-executor completions fish | source; complete -C $argv[1]";
    let output = in_shell(daemon, &["fish", "-c", script, line]).stdin(Stdio::null()).output().expect("fish");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
    String::from_utf8(output.stdout).expect("text")
}

/// Two batches; task 1 runs, 2 has failed, 3 is queued; nothing more starts.
fn at_work() -> Daemon {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "name": "night", "tasks": [
        {"name": "sleeper", "function": "simulate", "params": {"duration": 600}},
        {"name": "bad: \u{1b}]0;x\ty", "function": "command", "params": {"argv": ["false"]}, "max_retries": 0},
    ]}));
    daemon.ok(json!({"action": "start"}));
    daemon.until(&json!({"action": "status"}), |data| data["counts"]["failed"] == 1);
    daemon.ok(json!({"action": "stop"}));
    daemon.ok(json!({"action": "add_batch", "tasks": [
        {"name": "next", "function": "simulate"}, {"name": "after", "function": "simulate"}]}));
    daemon
}

#[test]
fn each_command_is_offered_the_tasks_that_it_is_for() {
    let daemon = at_work();
    assert_eq!(offered(&daemon, &["show", ""]), ["1", "3", "4", "2"]);
    assert_eq!(offered(&daemon, &["cancel", ""]), ["1", "3", "4"]);
    assert_eq!(offered(&daemon, &["retry", ""]), ["2"]);
    assert_eq!(offered(&daemon, &["update", "task_"]), ["task_3", "task_4"]);
    assert_eq!(offered(&daemon, &["results", "--task-ids", "1,"]), ["1,1", "1,3", "1,4", "1,2"]);
    assert_eq!(offered(&daemon, &["wait", "--batch-id", ""]), ["2", "1"]);
    assert_eq!(offered(&daemon, &["wait", "--batch-id", "="]), ["2", "1"]);
    assert_eq!(offered(&daemon, &["add", "--function", "s"]), ["simulate"]);
    assert_eq!(offered(&daemon, &["results", "--filter-status", "=", "c"]), ["completed", "cancelled"]);
    assert_eq!(offered(&daemon, &["results", "--sort", "run"]), ["runtime"]);
    assert_eq!(offered(&daemon, &["cancel", "--filter", "exit"]), ["exit_code"]);
    assert_eq!(offered(&daemon, &["results", "--columns", "id,st"]), ["id,status", "id,started"]);
    assert_eq!(offered(&daemon, &["add-b"]), ["add-batch"]);
    assert_eq!(offered(&daemon, &["keep"]), [""], "it is hidden");
    assert!(offered(&daemon, &["cancel", "--"]).contains(&"--batch-id".to_owned()));
    let elsewhere = daemon.work().join("elsewhere").display().to_string();
    assert!(!offered(&daemon, &["--home", "=", &elsewhere, "show", ""]).contains(&"1".to_owned()));
    assert_eq!(
        described(&daemon, "batch-executor show "),
        "1\trunning: sleeper\n3\tqueued: next\n4\tqueued: after\n2\tfailed: bad: \\x1b]0;x\\ty\n"
    );
    assert_eq!(described(&daemon, "batch-executor wait --batch-id "), "2\t2 of 2 left\n1\t1 of 2 left: night\n");
}

/// Types a line into an interactive shell on a terminal: a TAB, then Enter when `completed` is seen; `done` waits for what it does.
fn type_in(daemon: &Daemon, shell: &[&str], line: &str, completed: &str, done: impl Fn()) {
    let size = nix::pty::Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).expect("a terminal");
    let end = || pty.slave.try_clone().expect("a descriptor");
    // A session with the terminal, as a login makes one.
    let mut command = in_shell(daemon, &[&["setsid", "--ctty"], shell].concat());
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("the shell");
    drop(command);
    drop(pty.slave);
    let mut terminal = std::fs::File::from(pty.master);
    let mut screen = terminal.try_clone().expect("a descriptor");
    let (tell, told) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        // A terminal that nobody writes to any more is an error to read (EIO).
        while let Ok(length @ 1..) = screen.read(&mut chunk) {
            drop(tell.send(chunk[..length].to_vec()));
        }
    });
    let mut seen = Vec::new();
    let mut until = |what: &str| {
        while !String::from_utf8_lossy(&seen).contains(what) {
            let wrote = told.recv_timeout(PATIENCE);
            seen.extend(wrote.unwrap_or_else(|_| panic!("{shell:?}: no {what}: {}", String::from_utf8_lossy(&seen))));
        }
        seen.clear();
    };
    until("READY>");
    terminal.write_all(format!("{line}\t").as_bytes()).expect("typed");
    until(completed);
    // Elvish may want the candidate accepted first.
    terminal.write_all(b"\r\r").expect("typed");
    done();
    child.kill().expect("killed");
    child.wait().expect("its end");
    drop(terminal);
    reader.join().expect("no panic");
}

#[test]
fn a_tab_completes_the_only_id_and_the_only_file_in_every_shell() {
    let daemon = at_work();
    let file = |name: &str, text: &str| std::fs::write(daemon.work().join(name), text).expect("written");
    file("bashrc", "PS1='READY> '; source <(batch-executor completions bash)");
    // As it is installed: a file that is loaded when it is first needed.
    let script = daemon.cli(&["completions", "zsh"]).stdout;
    file("_batch-executor", std::str::from_utf8(&script).expect("text"));
    file(".zshrc", "PROMPT='READY> '; fpath=($HOME $fpath); autoload -Uz compinit; compinit -u -D");
    file("init.fish", "function fish_prompt; echo 'READY> '; end; batch-executor completions fish | source");
    file("rc.elv", "eval (batch-executor completions elvish | slurp); set edit:prompt = { put 'READY> ' }");
    file("my tasks.json", r#"[{"function": "simulate"}]"#);
    let shells: &[&[&str]] =
        &[&["bash", "--rcfile", "bashrc"], &["zsh"], &["fish", "-C", "source init.fish"], &["elvish", "-rc", "rc.elv"]];
    for (shell, total) in shells.iter().zip(daemon.tasks().len() + 1..) {
        type_in(&daemon, shell, "batch-executor retry ", "2", || {
            daemon.until(&json!({"action": "show", "task_id": 2}), |task| task["status"] == "queued");
        });
        daemon.ok(json!({"action": "update", "task_id": 2, "priority": "critical"}));
        daemon.ok(json!({"action": "start", "max_concurrent": 2}));
        daemon.until(&json!({"action": "show", "task_id": 2}), |task| task["status"] == "failed");
        daemon.ok(json!({"action": "stop"}));
        type_in(&daemon, shell, "batch-executor add-batch my", "json", || {
            daemon.until(&json!({"action": "status"}), |data| data["counts"]["total"] == total);
        });
    }
}

#[test]
fn nothing_is_said_or_started_without_a_daemon() {
    let daemon = Daemon::home_only();
    assert_eq!(offered(&daemon, &["add", "--function", ""]), [""]);
    assert_eq!(described(&daemon, "batch-executor wait --batch-id "), "");
    assert!(!daemon.home().exists(), "no home was made");

    // As a service manager holds it for a daemon that it would start, and a pid that is another program's now.
    std::fs::create_dir(daemon.home()).expect("a home");
    std::fs::write(daemon.home().join("daemon.lock"), std::process::id().to_string()).expect("written");
    let socket = UnixListener::bind(daemon.home().join("daemon.sock")).expect("a socket");
    assert_eq!(offered(&daemon, &["add", "--function", ""]), [""]);
    socket.set_nonblocking(true).expect("it does not block");
    assert_eq!(socket.accept().map_err(|error| error.kind()).err(), Some(std::io::ErrorKind::WouldBlock));
}

#[test]
fn a_daemon_that_does_not_answer_holds_no_shell_up() {
    let daemon = at_work();
    signal(daemon.pid(), "STOP");
    let found = offered(&daemon, &["wait", "--batch-id", ""]);
    signal(daemon.pid(), "CONT");
    assert_eq!(found, [""]);
}

#[test]
fn powershell_has_a_script_too() {
    let script = Daemon::home_only().cli(&["completions", "powershell"]).stdout;
    let script = String::from_utf8(script).expect("text");
    assert!(script.contains("Register-ArgumentCompleter -Native -CommandName batch-executor"), "{script}");
}
