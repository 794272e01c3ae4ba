//! `top` in a real terminal (tmux): what it shows at three sizes, what its keys do, and that it gives the terminal back.

mod support;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use support::{Daemon, PATIENCE, shell};

/// A terminal with a shell in it, or with `top`.
struct Terminal<'d> {
    daemon: &'d Daemon,
    /// Each has a server of its own.
    socket: PathBuf,
}

impl<'d> Terminal<'d> {
    /// A shell of so many columns and rows, with these variables.
    fn open(daemon: &'d Daemon, size: (u16, u16), environment: &[(&str, &str)]) -> Self {
        static OPENED: AtomicU32 = AtomicU32::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let terminal = Self { daemon, socket: daemon.work().join(format!("tmux-{number}")) };
        let mut run = terminal.tmux_command();
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        run.args(["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows]);
        for (name, value) in environment {
            run.args(["-e", &format!("{name}={value}")]);
        }
        // Its prompt is what the test looks for.
        let output = run.args(["-e", "PS1=ready> ", "env", "-u", "ENV", "sh", "-i"]).output().expect("tmux");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        terminal.until("a prompt", |screen| screen.contains("ready>"));
        terminal
    }

    /// `top` in a terminal with colours and UTF-8.
    fn top(daemon: &'d Daemon, size: (u16, u16), arguments: &str) -> Self {
        Self::top_with(daemon, size, arguments, &[("LC_ALL", "C.UTF-8")])
    }

    fn top_with(daemon: &'d Daemon, size: (u16, u16), arguments: &str, environment: &[(&str, &str)]) -> Self {
        let terminal = Self::open(daemon, size, environment);
        terminal.start(arguments);
        terminal
    }

    fn start(&self, arguments: &str) {
        let program = env!("CARGO_BIN_EXE_batch-executor");
        self.line(&format!("clear; {program} top {arguments}; echo \"exit $?\""));
        self.until("the view", |screen| screen.contains("at most"));
    }

    fn tmux_command(&self) -> Command {
        let mut command = Command::new("tmux");
        let known = self.daemon.command(&[]);
        let environment = known.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.envs(environment).env_remove("NO_COLOR").env_remove("TMUX").current_dir(self.daemon.work());
        command.arg("-S").arg(&self.socket);
        command
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let output = self.tmux_command().args(arguments).output().expect("tmux");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Keys by their names in tmux.
    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// A text as it is typed.
    fn text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    fn line(&self, text: &str) {
        self.text(text);
        self.keys(&["Enter"]);
    }

    /// What is on the screen.
    fn screen(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p"]).stdout).expect("text")
    }

    /// The same with its colours and attributes.
    fn coloured(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-e", "-p"]).stdout).expect("text")
    }

    /// Looks until the screen is as it shall be.
    fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < PATIENCE, "never {what}:\n{screen}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn shows(&self, text: &str) -> String {
        self.until(text, |screen| screen.contains(text))
    }

    /// What tmux knows of the terminal.
    fn flag(&self, name: &str) -> String {
        let output = self.tmux(&["display-message", "-p", &format!("#{{{name}}}")]);
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// The pid of `top`.
    fn pid(&self) -> i32 {
        let parent = self.flag("pane_pid");
        let listed = Command::new("pgrep").args(["-P", &parent, "-f", "batch-executor top"]).output().expect("pgrep");
        String::from_utf8_lossy(&listed.stdout).trim().parse().expect("one process")
    }

    /// A click on a column and a row, both from 1.
    fn click(&self, column: u16, row: u16) {
        self.text(&format!("\u{1b}[<0;{column};{row}M"));
    }

    /// That the terminal is as a shell wants it, and takes lines.
    fn is_given_back(&self, exit: u8) {
        self.shows(&format!("exit {exit}"));
        for name in ["alternate_on", "mouse_any_flag", "mouse_sgr_flag"] {
            assert_eq!(self.flag(name), "0", "{name}\n{}", self.screen());
        }
        assert_eq!(self.flag("cursor_flag"), "1");
        self.line("stty -a | tr ';' '\\n' | grep -c -E '(^| )(icanon|echo)( |$)'; echo st''ill");
        let screen = self.shows("\nstill");
        assert!(!screen.contains("\n0\n"), "{screen}");
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        drop(self.tmux_command().arg("kill-server").output());
    }
}

/// A task that runs until the file `gate` is there.
fn waits(name: &str) -> Value {
    let mut task = shell("echo begun; while [ ! -e gate ]; do sleep 0.05; done");
    task["name"] = json!(name);
    task
}

/// A daemon with two tasks that run, some that wait at each priority, some that failed. All stays as it is.
fn busy() -> Daemon {
    let daemon = Daemon::start();
    let named = |mut task: Value, name: &str| {
        task["name"] = json!(name);
        task
    };
    let fails = |name: &str, code: &str| {
        let mut task = named(shell(code), name);
        task["max_retries"] = json!(0);
        task
    };
    daemon.ok(json!({"action": "add_batch", "name": "first", "tasks": [
        named(shell("echo good"), "good"),
        fails("bad one", "echo no room on the card >&2; exit 3"),
        fails("bad two", "exit 7"),
    ]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    daemon.wait();
    let at = |name: &str, priority: &str| json!({"name": name, "function": "simulate", "priority": priority, "params": {"duration": 60}});
    let mut tasks = vec![waits("runs on"), waits("日本語 runs, too")];
    tasks.iter_mut().for_each(|task| task["priority"] = json!("critical"));
    tasks.extend((1..=12).map(|n| at(&format!("medium {n}"), "medium")));
    tasks.extend([at("low", "low"), at("high", "high")]);
    daemon.ok(json!({"action": "add_batch", "name": "second, with a long name", "tasks": tasks}));
    daemon.ok(json!({"action": "start", "max_concurrent": 2}));
    daemon.running(2);
    // Without it the time to go would depend on how long the test takes.
    daemon.ok(json!({"action": "pause", "running": "leave"}));
    daemon
}

/// The screen with what changes from run to run replaced by as many characters.
fn stable(screen: &str) -> String {
    let mut text = String::new();
    for line in screen.lines() {
        let is_running = [">", "!", "="].iter().any(|sign| line.starts_with(sign));
        if is_running {
            let rest: String = line.chars().skip(12).collect();
            text += &format!(">          N{rest}\n");
        } else {
            text += &format!("{line}\n");
        }
    }
    text
}

fn snapshot(name: &str, screen: &str) {
    let filters = vec![
        (r"\d+\.\d/(s|min)", "RATE"),
        (r"\d+\.\d (KiB|MiB|GiB|TiB) free", "SIZE free"),
        (r"\d\d:\d\d:\d\d", "HH:MM:SS"),
        (r"[▁▂▃▄▅▆▇█]+\n", "BARS\n"),
        (r" +5 s a column, .*", " RATES"),
    ];
    insta::with_settings!({filters => filters, omit_expression => true}, { insta::assert_snapshot!(name, stable(screen)) });
}

#[test]
fn it_is_good_at_three_sizes() {
    let daemon = busy();
    for size in [(80, 24), (200, 60), (45, 20)] {
        let terminal = Terminal::top(&daemon, size, "");
        let screen = terminal.until("all of it", |screen| screen.contains("runs, too") && screen.contains("14 "));
        snapshot(&format!("{}x{}", size.0, size.1), &screen);
    }
}

#[test]
fn cancel_asks_and_cancels_what_was_selected() {
    let daemon = busy();
    let terminal = Terminal::top(&daemon, (80, 24), "");
    terminal.shows("runs, too");
    terminal.keys(&["j", "c"]);
    terminal.shows("Cancel task 5 日本語 runs, too? y yes, n no");
    terminal.keys(&["n"]);
    terminal.until("the question to go", |screen| !screen.contains("Cancel task"));
    assert_eq!(daemon.ok(json!({"action": "show", "task_id": 5}))["status"], "running");
    terminal.keys(&["c"]);
    terminal.shows("Cancel task 5");
    terminal.keys(&["y"]);
    terminal.until("its slot to be free", |screen| !screen.contains("runs, too"));
    assert_eq!(daemon.ok(json!({"action": "show", "task_id": 5}))["status"], "cancelled");
    assert_eq!(daemon.ok(json!({"action": "show", "task_id": 4}))["status"], "running");
}

#[test]
fn a_task_is_looked_at_retried_and_found() {
    let daemon = busy();
    let terminal = Terminal::top(&daemon, (80, 24), "");
    terminal.shows("bad two");
    terminal.keys(&["BTab", "Down", "Enter"]);
    let screen = terminal.shows("[Task 2] failed");
    assert!(
        screen.contains("exit code 3") && screen.contains("attempt 1") && screen.contains("no room on the card"),
        "{screen}"
    );
    terminal.keys(&["r"]);
    terminal.shows("1 task back in the queue");
    terminal.shows("[Task 2] queued");
    terminal.keys(&["Escape"]);
    terminal.shows("[Failures]");
    terminal.keys(&["f"]);
    terminal.line("failed");
    let screen = terminal.until("what was found", |screen| screen.contains("[Found \"failed\"] 1"));
    assert!(screen.contains("bad two") && !screen.contains("bad one"), "{screen}");
    terminal.keys(&["f"]);
    terminal.line("status=faild");
    terminal.shows("did you mean `failed`?");
    terminal.keys(&["f"]);
    terminal.line("priority>=high and status=queued");
    terminal.until("what the filter finds", |screen| screen.contains("status=queued\"] 1") && screen.contains(" high"));
    terminal.keys(&["f"]);
    terminal.line("runs, too");
    let screen = terminal.shows("[Found \"runs, too\"] 1");
    assert!(screen.contains("日本語 runs, too"), "{screen}");
    terminal.keys(&["Enter"]);
    terminal.shows("[Task 5] running");
}

#[test]
fn a_log_is_followed_and_searched() {
    let daemon = Daemon::start();
    let mut task = shell("seq 1 300; while [ ! -e gate ]; do sleep 0.05; done; echo the end");
    task["name"] = json!("writes");
    daemon.ok(json!({"action": "add_batch", "tasks": [task]}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    let terminal = Terminal::top(&daemon, (80, 24), "");
    terminal.shows("writes");
    terminal.keys(&["l"]);
    terminal.shows("\n300\n");
    terminal.keys(&["/"]);
    terminal.line("12");
    terminal.shows("13 lines with \"12\"");
    terminal.until("the match above", |screen| screen.contains("\n212\n") && !screen.contains("\n300\n"));
    terminal.keys(&["n"]);
    terminal.until("the match above that", |screen| screen.lines().nth(1) == Some("129"));
    terminal.keys(&["g"]);
    terminal.until("the start", |screen| screen.lines().nth(1) == Some("1"));
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    terminal.shows("has ended");
    assert!(!terminal.screen().contains("the end"), "it stands still");
    terminal.keys(&["G"]);
    terminal.shows("the end");
}

#[test]
fn the_executor_is_paused_widened_and_started() {
    let daemon = busy();
    let terminal = Terminal::top(&daemon, (80, 24), "");
    terminal.shows("PAUSED");
    terminal.keys(&["p"]);
    terminal.shows("RUNNING");
    terminal.keys(&["+", "+", "-"]);
    daemon.until(&json!({"action": "status"}), |data| data["max_concurrent"] == 3);
    terminal.until("the cap", |screen| screen.contains("at most 3 at once\n"));
    terminal.keys(&["P"]);
    terminal.shows("(paused)");
    terminal.keys(&["P"]);
    terminal.until("it goes on", |screen| !screen.contains("(paused)"));
    daemon.ok(json!({"action": "stop", "graceful": false}));
    terminal.shows("STOPPED");
    terminal.keys(&["+"]);
    terminal.shows("the cap is changed while it runs");
    terminal.keys(&["p"]);
    terminal.shows("queued tasks? y yes");
    terminal.keys(&["y"]);
    terminal.shows("RUNNING");
}

#[test]
fn what_happens_is_seen_as_it_happens() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "start", "keep": true}));
    let terminal = Terminal::top(&daemon, (80, 24), "");
    terminal.shows("nothing runs");
    terminal.shows("nothing has failed");
    let mut task = shell("while [ ! -e gate ]; do sleep 0.05; done; echo no luck >&2; exit 9");
    (task["name"], task["max_retries"]) = (json!("unlucky"), json!(0));
    daemon.ok(json!({"action": "add_batch", "tasks": [task]}));
    terminal.until("a slot that is busy", |screen| screen.contains("1 of 5 busy") && screen.contains("unlucky"));
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    let screen = terminal.until("the failure", |screen| screen.contains("no luck") && screen.contains("0 of 5 busy"));
    assert!(screen.contains("1 failed") && screen.contains("nothing runs"), "{screen}");
}

#[test]
fn lists_are_narrowed_sorted_and_of_one_batch() {
    let daemon = busy();
    let terminal = Terminal::top(&daemon, (80, 24), "");
    terminal.shows("medium 1");
    terminal.keys(&["/"]);
    terminal.text("日本");
    terminal.until("one row", |screen| screen.contains("runs, too") && !screen.contains("runs on"));
    terminal.keys(&["Enter"]);
    terminal.shows("listed: \"日本\"");
    terminal.keys(&["Escape"]);
    terminal.shows("runs on");
    terminal.keys(&["s", "s", "s"]);
    terminal.shows("by name");
    terminal.keys(&["BTab", "b"]);
    let screen =
        terminal.until("the first batch", |screen| screen.contains("batch 1 alone") && screen.contains("100 %"));
    assert!(screen.contains("2 failed") && !screen.contains("runs on"), "{screen}");
    terminal.keys(&["b"]);
    terminal.shows("runs on");
    terminal.keys(&["?"]);
    terminal.shows("retry the task");
    terminal.keys(&["Escape"]);
    terminal.shows("runs on");
}

#[test]
fn one_batch_by_flag_and_one_that_is_not_there() {
    let daemon = busy();
    let terminal = Terminal::top(&daemon, (80, 24), "--batch-id 1");
    terminal.shows("batch 1 alone");
    terminal.keys(&["q"]);
    terminal.shows("exit 0");
    terminal.start("--batch-id 77");
    terminal.shows("no batch 77");
}

#[test]
fn it_goes_with_the_size() {
    let daemon = busy();
    let terminal = Terminal::top(&daemon, (80, 24), "");
    terminal.shows("─ Failures  2");
    terminal.tmux(&["resize-window", "-x", "45", "-y", "20"]);
    terminal.shows("[Slots 2] Queue 14");
    terminal.tmux(&["resize-window", "-x", "200", "-y", "60"]);
    terminal.shows("─ Batches  2");
    for size in [("1", "1"), ("3", "2"), ("20", "3"), ("500", "5")] {
        terminal.tmux(&["resize-window", "-x", size.0, "-y", size.1]);
        for key in ["?", "Escape", "Tab", "Enter", "Escape", "f", "Escape"] {
            terminal.keys(&[key]);
        }
    }
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    terminal.shows("Failures");
}

#[test]
fn a_click_selects_and_the_wheel_scrolls() {
    let daemon = busy();
    let terminal = Terminal::top(&daemon, (80, 24), "");
    let screen = terminal.shows("bad two");
    assert_eq!(terminal.flag("mouse_any_flag"), "1");
    let row = |text: &str| {
        u16::try_from(screen.lines().position(|line| line.contains(text)).expect(text)).expect("a row") + 1
    };
    terminal.click(60, row("bad one"));
    terminal.shows("[Failures]");
    terminal.click(60, row("bad one"));
    terminal.shows("[Task 2]");
    terminal.keys(&["Escape"]);
    terminal.shows("[Failures]");
    terminal.click(5, row("Queue"));
    terminal.shows("[Queue]");
    // The wheel, downwards, over what is next.
    terminal.text(&format!("\u{1b}[<65;10;{}M", row("medium 1")));
    terminal.keys(&["Enter"]);
    terminal.shows("[Task 8]");
}

#[test]
fn a_daemon_that_goes_is_waited_for_and_not_started() {
    let daemon = busy();
    let terminal = Terminal::top(&daemon, (80, 24), "");
    terminal.shows("runs, too");
    support::signal(daemon.pid(), "KILL");
    terminal.shows("the daemon is gone; any command starts the next one");
    assert!(terminal.screen().contains("runs, too"), "what was known stays");
    let mut next = daemon.command(&["daemon"]).stderr(Stdio::null()).spawn().expect("a daemon");
    terminal.until("it goes on", |screen| !screen.contains("starts the next one"));
    terminal.keys(&["p"]);
    terminal.shows("RUNNING");
    let stopped = daemon.cli(&["daemon", "stop", "--grace", "0"]);
    assert!(stopped.status.success(), "{stopped:?}");
    next.wait().expect("its end");
    terminal.shows("any command starts the next one");
    assert_eq!(daemon.cli(&["status", "--no-autostart"]).status.code(), Some(69));
    terminal.keys(&["q"]);
    terminal.is_given_back(0);
}

#[test]
fn what_others_wrote_is_text_alone() {
    let hostile = "evil\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[8m\u{9b}97m\u{7f}\u{202e}\rgone";
    let daemon = Daemon::start();
    let mut fails = shell("printf '\\033]0;owned\\007\\033[2J\\302\\233m\\rlog\\n'; exit 3");
    fails["name"] = json!(hostile);
    fails["params"]["env"] = json!({"A": hostile});
    fails["max_retries"] = json!(0);
    let wide = json!({"name": "👩\u{200d}👩\u{200d}👧 家族 \u{1f44d}\u{1f3fd}|", "function": "simulate", "params": {"duration": 60}});
    daemon.ok(json!({"action": "add_batch", "name": hostile, "tasks": [fails, wide.clone(), wide]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    daemon.until(&json!({"action": "status"}), |data| data["counts"]["failed"] == 1 && data["counts"]["running"] == 1);
    let terminal = Terminal::top(&daemon, (200, 40), "");
    let screen = terminal.shows("evil\\x1b]0;owned\\x07");
    assert!(screen.contains("👩👩👧 家族 👍|"), "{screen}");
    assert_ne!(terminal.flag("pane_title"), "owned");
    terminal.keys(&["BTab", "Enter"]);
    let screen = terminal.shows("[Task 1] failed");
    assert!(screen.contains("\\u{9b}97m\\x7f\\u{202e}\\rgone"), "{screen}");
    terminal.keys(&["l"]);
    let screen =
        terminal.until("its log", |screen| screen.contains("[Log of 1, attempt 1]") && screen.contains("\\rlog"));
    assert!(screen.contains("\\x1b]0;owned\\x07\\x1b[2J\\u{9b}m"), "{screen}");
    terminal.keys(&["c"]);
    terminal.shows("Cancel task 1 evil\\x1b");
    assert_ne!(terminal.flag("pane_title"), "owned");
}

#[test]
fn the_terminal_is_given_back() {
    let daemon = busy();
    let terminal = Terminal::top(&daemon, (80, 24), "");
    terminal.shows("runs, too");
    assert_eq!(terminal.flag("alternate_on"), "1");
    terminal.keys(&["q"]);
    terminal.is_given_back(0);
    assert!(!terminal.screen().contains("runs, too"), "the screen from before is back");
    for (signal, exit) in [("TERM", 143), ("INT", 130), ("HUP", 130)] {
        terminal.start("");
        support::signal(terminal.pid(), signal);
        terminal.is_given_back(exit);
    }
    terminal.start("");
    terminal.keys(&["C-c"]);
    terminal.is_given_back(0);
}

#[test]
fn it_stops_as_a_job_and_comes_back() {
    let daemon = busy();
    let terminal = Terminal::top(&daemon, (80, 24), "");
    terminal.shows("runs, too");
    let stopped = |signal: Option<&str>| {
        match signal {
            None => terminal.keys(&["C-z"]),
            Some(signal) => support::signal(terminal.pid(), signal),
        }
        terminal.until("the shell", |screen| screen.contains("Stopped") && screen.trim_end().ends_with("ready>"));
        assert_eq!(terminal.flag("alternate_on"), "0");
        terminal.line("clear; fg");
        terminal.shows("runs, too");
        assert_eq!(terminal.flag("alternate_on"), "1");
    };
    stopped(None);
    stopped(Some("TSTP"));
    // Who is stopped without a word cannot give anything back; it is right again after `fg`.
    support::signal(terminal.pid(), "STOP");
    terminal.shows("ready>");
    // The terminal is as the view had set it: a carriage return ends no line.
    terminal.text("clear; fg");
    terminal.keys(&["C-j"]);
    terminal.until("all of it", |screen| screen.contains("runs, too") && !screen.contains("ready>"));
    terminal.keys(&["q"]);
    terminal.until("the shell", |screen| screen.trim_end().ends_with("ready>"));
    terminal.line("(exit 0); echo \"exit $?\"");
    terminal.is_given_back(0);
}

#[test]
fn without_colours_and_without_utf_8() {
    let daemon = busy();
    {
        let terminal = Terminal::top_with(&daemon, (80, 24), "", &[("LC_ALL", "C.UTF-8"), ("NO_COLOR", "1")]);
        terminal.shows("runs, too");
        let screen = terminal.coloured();
        // Attributes, and the terminal's own colours.
        let plain = ["0", "1", "2", "7", "39", "49", "0;1", "0;2", "0;7"];
        let codes = screen.split("\u{1b}[").skip(1).filter_map(|rest| rest.split_once('m'));
        let coloured: Vec<&str> = codes.map(|(code, _)| code).filter(|code| !plain.contains(code)).collect();
        assert!(coloured.is_empty(), "{coloured:?} in {screen:?}");
        assert!(screen.contains("\u{1b}[0;7m"), "what is selected is seen: {screen:?}");
    }
    {
        let terminal = Terminal::top_with(&daemon, (80, 24), "", &[("LC_ALL", "C.UTF-8")]);
        terminal.shows("runs, too");
        assert!(terminal.coloured().contains("38;5;32"), "blue: {:?}", terminal.coloured());
    }
    let terminal = Terminal::top_with(&daemon, (80, 24), "", &[("LC_ALL", "C")]);
    let screen = terminal.shows("??? runs, too");
    assert!(screen.is_ascii(), "{screen}");
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let daemon = Daemon::home_only();
    for arguments in [&["top"][..], &["top", "--json"]] {
        let output = daemon.cli(arguments);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("`top` draws on a terminal") && said.contains("batch-executor status"), "{said}");
    }
    assert!(!daemon.home().exists(), "no daemon was started for it");
    let terminal = Terminal::open(&daemon, (80, 24), &[]);
    terminal.line(&format!("TERM=dumb {} top; echo \"exit $?\"", env!("CARGO_BIN_EXE_batch-executor")));
    let screen = terminal.shows("exit 2");
    assert!(screen.contains("batch-executor status --detailed"), "{screen}");
}
