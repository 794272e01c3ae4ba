//! Gates: nothing starts while one is closed, what runs is treated as it says, and nobody is asked while nothing waits.

mod support;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Daemon, is_stopped, shell, signal};

const STATUS: &str = r#"{"action": "status"}"#;

/// A home whose configuration has these gates.
fn with_gates(gates: &str) -> Daemon {
    let daemon = Daemon::home_only();
    configure(&daemon, gates);
    daemon
}

fn configure(daemon: &Daemon, gates: &str) {
    let folder = daemon.home().parent().expect("a root").join("config/batch-executor");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("config.toml"), format!("[gates]\n{gates}\n")).expect("written");
}

/// A home with a gate that is open while the file `open` is in the work folder; it counts how often it is asked.
fn behind_a_door(running: &str) -> Daemon {
    let daemon = with_gates("");
    let work = daemon.work().display().to_string();
    let code = format!("echo asked >> {work}/asked; test -e {work}/open || {{ echo nobody opens; exit 1; }}");
    configure(
        &daemon,
        &format!("door = {{ command = [\"sh\", \"-c\", \"{code}\"], every = 0.05, running = \"{running}\" }}"),
    );
    daemon
}

fn open(daemon: &Daemon, open: bool) {
    let file = daemon.work().join("open");
    if open { std::fs::write(file, "").expect("written") } else { std::fs::remove_file(file).expect("removed") }
}

fn asked(daemon: &Daemon) -> usize {
    std::fs::read_to_string(daemon.work().join("asked")).map_or(0, |text| text.lines().count())
}

fn until_open(daemon: &Daemon, wanted: bool) -> Value {
    daemon.until(&serde_json::from_str(STATUS).expect("JSON"), |status| status["gates"][0]["open"] == wanted)
}

fn pid_of_task(daemon: &Daemon) -> i32 {
    let file = daemon.work().join("pid");
    support::until("the task begins", || file.exists());
    std::fs::read_to_string(file).expect("a pid").trim().parse().expect("a number")
}

#[test]
fn nothing_starts_while_a_gate_is_closed_and_it_says_why() {
    let mut daemon = behind_a_door("leave");
    daemon.serve();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("echo ran > ran")]}));
    assert_eq!(asked(&daemon), 0, "nothing waits for it");
    daemon.ok(json!({"action": "start"}));
    let status = until_open(&daemon, false);
    let gate = &status["gates"][0];
    assert_eq!(
        (&gate["gate"], &gate["found"], &gate["running"]),
        (&json!("door"), &json!("nobody opens"), &json!("leave"))
    );
    let reason = status["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("gate `door` (nobody opens) closed since 20"), "{reason}");
    let task = daemon.ok(json!({"action": "show", "task_id": 1}));
    assert_eq!((&task["status"], &task["reason"]), (&json!("queued"), &json!(reason)));
    let said = String::from_utf8(daemon.cli(&["status"]).stdout).expect("text");
    assert!(said.contains("gate      door closed: nobody opens\n"), "{said}");

    // A daemon that comes anew starts nothing either.
    daemon.kill();
    daemon.serve();
    until_open(&daemon, false);
    assert!(!daemon.work().join("ran").exists());
    open(&daemon, true);
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
}

#[test]
fn nobody_is_asked_while_nothing_waits() {
    let mut daemon = behind_a_door("pause");
    open(&daemon, true);
    daemon.serve();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("true"), shell("true")]}));
    daemon.ok(json!({"action": "start", "keep": true}));
    daemon.wait();
    let before = asked(&daemon);
    // Many times the gate's interval: one look may be on its way.
    std::thread::sleep(Duration::from_millis(600));
    assert!(asked(&daemon) <= before + 1, "{before} to {}", asked(&daemon));
    // What comes is looked at anew, and runs.
    open(&daemon, false);
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("true")]}));
    until_open(&daemon, false);
    open(&daemon, true);
    assert_eq!(daemon.wait()["counts"]["completed"], 3);
}

#[test]
fn nothing_starts_before_the_first_look_is_over() {
    let mut daemon = with_gates("");
    let fifo = daemon.work().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    configure(&daemon, &format!("slow = {{ command = [\"cat\", \"{}\"], every = 3600 }}", fifo.display()));
    daemon.serve();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("echo ran > ran")]}));
    daemon.ok(json!({"action": "start"}));
    // Opens when the gate's command does.
    let mut writer = std::fs::File::options().write(true).open(&fifo).expect("somebody reads");
    let task = daemon.ok(json!({"action": "show", "task_id": 1}));
    assert_eq!((&task["status"], daemon.work().join("ran").exists()), (&json!("queued"), false));
    writer.write_all(b"go\n").expect("written");
    drop(writer);
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
}

#[test]
fn what_runs_is_suspended_while_it_is_closed_also_under_the_next_daemon() {
    let mut daemon = behind_a_door("pause");
    open(&daemon, true);
    daemon.serve();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("echo $$ > pid.new; mv pid.new pid; until [ -e done ]; do sleep 0.02; done")]}));
    daemon.ok(json!({"action": "start"}));
    let pid = pid_of_task(&daemon);
    open(&daemon, false);
    support::until("it is suspended", || is_stopped(pid));
    daemon.kill();
    daemon.serve();
    until_open(&daemon, false);
    assert!(is_stopped(pid));
    open(&daemon, true);
    support::until("it goes on", || !is_stopped(pid));
    open(&daemon, false);
    support::until("it is suspended again", || is_stopped(pid));
    // Without the gate nothing holds it any more.
    daemon.kill();
    configure(&daemon, "");
    daemon.serve();
    support::until("it goes on", || !is_stopped(pid));
    std::fs::write(daemon.work().join("done"), "").expect("written");
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
    assert_eq!(daemon.ok(json!({"action": "show", "task_id": 1}))["attempts"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_runs_may_be_ended_and_queued_again() {
    let mut daemon = behind_a_door("end");
    open(&daemon, true);
    daemon.serve();
    let task = shell("echo $$ > pid.new; mv pid.new pid; until [ -e done ]; do sleep 0.02; done");
    daemon.ok(json!({"action": "add_batch", "tasks": [task]}));
    daemon.ok(json!({"action": "start"}));
    pid_of_task(&daemon);
    open(&daemon, false);
    let task = daemon.until(&json!({"action": "show", "task_id": 1}), |task| task["status"] == "queued");
    assert_eq!((&task["attempts"][0]["outcome"], &task["retry_count"]), (&json!("stopped"), &json!(0)));
    std::fs::write(daemon.work().join("done"), "").expect("written");
    open(&daemon, true);
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
}

/// Writes a file at once, as the kernel's change.
fn put(daemon: &Daemon, path: &str, text: &str) {
    let (new, path) = (daemon.work().join("new"), daemon.work().join(path));
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&new, text).expect("written");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).expect("executable");
    std::fs::rename(new, path).expect("in its place");
}

/// Waits until the gate at `place` has found this; gives the status.
fn found(daemon: &Daemon, place: usize, what: &str) -> Value {
    let request: Value = serde_json::from_str(STATUS).expect("JSON");
    daemon.until(&request, |status| status["gates"][place]["found"] == what)
}

#[test]
fn a_battery_closes_low_and_opens_higher() {
    let mut daemon = with_gates("battery = { at = 30, every = 0.05 }\ncharging = { at = true, every = 0.05 }");
    for (file, text) in [
        ("BAT0/type", "Battery\n"),
        ("BAT0/capacity", "29\n"),
        ("BAT0/status", "Discharging\n"),
        ("AC/type", "Mains\n"),
        ("AC/online", "1\n"),
    ] {
        put(&daemon, &format!("supplies/{file}"), text);
    }
    // The kernel's folder, as the daemon sees it.
    let supplies = daemon.work().join("supplies");
    let mount = format!("mount --bind {} /sys/class/power_supply && exec \"$@\"", supplies.display());
    daemon.serve_by(&["unshare", "-m", "sh", "-c", &mount, "sh"]);
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("echo ran > ran")]}));
    daemon.ok(json!({"action": "start"}));
    found(&daemon, 0, "29 %, below 30 %");
    put(&daemon, "supplies/BAT0/capacity", "32\n");
    found(&daemon, 0, "32 %, below 35 %");
    put(&daemon, "supplies/AC/online", "0\n");
    let status = found(&daemon, 1, "not charging");
    let reason = status["reason"].as_str().expect("a reason");
    assert!(reason.contains("gates `battery` (32 %, below 35 %), `charging` (not charging) closed since"), "{reason}");
    assert!(!daemon.work().join("ran").exists());
    put(&daemon, "supplies/BAT0/capacity", "36\n");
    put(&daemon, "supplies/AC/online", "1\n");
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
}

#[test]
fn on_a_phone_termux_is_asked() {
    let mut daemon = with_gates(
        "battery = { at = 30, every = 0.05 }
        network = { at = \"unmetered\", every = 0.05 }
        temperature = { at = 40, every = 0.05 }",
    );
    let says = |daemon: &Daemon, program: &str, json: &str| {
        put(daemon, &format!("bin/{program}"), &format!("#!/bin/sh\necho '{json}'\n"));
    };
    says(&daemon, "termux-battery-status", r#"{"percentage": 12, "plugged": "UNPLUGGED", "temperature": 44.5}"#);
    says(&daemon, "termux-wifi-connectioninfo", r#"{"supplicant_state": "DISCONNECTED"}"#);
    let path = format!("{}:{}", daemon.work().join("bin").display(), std::env::var("PATH").expect("a path"));
    daemon.set("PATH", &path);
    daemon.set("TERMUX_VERSION", "0.118.3");
    daemon.serve();
    // The second waits for as long as the first runs: where nothing waits, nobody is asked.
    let long = shell("while [ ! -e enough ]; do sleep 0.01; done");
    daemon.ok(json!({"action": "add_batch", "tasks": [long, long]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 1}));
    found(&daemon, 0, "12 %, below 30 %");
    let status = found(&daemon, 1, "not on Wi-Fi");
    let hot = status["gates"][2]["found"].as_str().expect("degrees");
    assert!(hot.ends_with(" °C, above 40 °C"), "{hot}");
    says(&daemon, "termux-battery-status", r#"{"percentage": 80, "plugged": "PLUGGED_AC", "temperature": 30}"#);
    says(&daemon, "termux-wifi-connectioninfo", r#"{"supplicant_state": "COMPLETED"}"#);
    found(&daemon, 0, "80 %");
    found(&daemon, 1, "yes");
    put(&daemon, "enough", "");
    daemon.wait();
}

#[test]
fn a_window_is_of_the_local_time() {
    // It is never both in the morning and in the afternoon.
    let mut daemon = with_gates("window = { at = \"00:00-12:00\", running = \"pause\" }");
    let hour = |zone: &str| {
        let output = std::process::Command::new("date").arg("+%H").env("TZ", zone).output().expect("date");
        String::from_utf8(output.stdout).expect("text").trim().parse::<i64>().expect("an hour")
    };
    let zones: Vec<String> = (-11..=11).map(|offset| format!("ZZZ{offset}")).collect();
    let afternoon = zones.iter().find(|zone| (13..22).contains(&hour(zone))).expect("somewhere");
    let morning = zones.iter().find(|zone| (1..10).contains(&hour(zone))).expect("somewhere");
    daemon.set("TZ", afternoon);
    daemon.serve();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("true")]}));
    daemon.ok(json!({"action": "start"}));
    let status = until_open(&daemon, false);
    assert_eq!(status["gates"][0]["found"], "it is not 00:00-12:00");
    daemon.stop();
    daemon.set("TZ", morning);
    daemon.serve();
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
}

#[test]
fn what_cannot_be_read_is_open_and_is_said() {
    let mut daemon = with_gates("battery = 30");
    let none = [
        "unshare",
        "-m",
        "sh",
        "-c",
        "mkdir -p /sys/class/power_supply; mount -t tmpfs none /sys/class/power_supply && exec \"$@\"",
        "sh",
    ];
    daemon.serve_by(&none);
    daemon.ok(json!({"action": "start", "keep": true}));
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("true")]}));
    daemon.wait();
    let status = daemon.ok(json!({"action": "status"}));
    assert_eq!(
        (&status["gates"][0]["open"], &status["gates"][0]["found"]),
        (&json!(true), &json!("no battery is seen here"))
    );
    assert!(daemon.log().contains("the gate cannot be read here, so it is open"), "{}", daemon.log());
}

#[test]
fn a_wrong_gate_is_refused_with_its_line() {
    let daemon = with_gates("battery = 30\nload = \"much\"");
    let refused = daemon.refusing(&["daemon"]);
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8(refused.stderr).expect("text");
    assert!(said.contains("config.toml:3: `gates.load` is \"much\", but must be a load above 0"), "{said}");
}

#[test]
fn a_gate_that_hangs_does_not_hold_up_the_daemons_end() {
    let mut daemon = with_gates("hangs = { command = [\"sleep\", \"600\"], every = 1 }");
    daemon.serve();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("true")]}));
    daemon.ok(json!({"action": "start"}));
    signal(daemon.pid(), "TERM");
    assert_eq!(daemon.ended(), Some(0));
}

#[test]
fn what_a_gate_suspended_goes_on_when_no_gate_suspends_any_more() {
    let mut daemon = behind_a_door("pause");
    open(&daemon, true);
    daemon.serve();
    let task = shell("echo $$ > pid.new; mv pid.new pid; until [ -e done ]; do sleep 0.02; done");
    daemon.ok(json!({"action": "add_batch", "tasks": [task]}));
    daemon.ok(json!({"action": "start"}));
    let pid = pid_of_task(&daemon);
    open(&daemon, false);
    support::until("it is suspended", || is_stopped(pid));
    let reason = daemon.ok(json!({"action": "show", "task_id": 1}))["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.starts_with("suspended: gate `door` (nobody opens) closed since"), "{reason}");
    daemon.kill();
    configure(&daemon, "load = 100000");
    daemon.serve();
    support::until("it goes on", || !is_stopped(pid));
    std::fs::write(daemon.work().join("done"), "").expect("written");
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
}

#[test]
fn a_resume_starts_nothing_behind_a_gate() {
    let mut daemon = behind_a_door("leave");
    open(&daemon, true);
    daemon.serve();
    let tasks: Vec<Value> = (0..20).map(|n| shell(&format!("echo {n} >> ran; sleep 0.2"))).collect();
    daemon.ok(json!({"action": "add_batch", "tasks": tasks}));
    daemon.ok(json!({"action": "start", "max_concurrent": 2}));
    daemon.running(2);
    daemon.ok(json!({"action": "pause", "running": "leave"}));
    open(&daemon, false);
    daemon.running(0);
    let ran = std::fs::read_to_string(daemon.work().join("ran")).expect("marks");
    // Many times the gate's interval, so that what it said before is of no use.
    std::thread::sleep(Duration::from_millis(300));
    daemon.ok(json!({"action": "resume"}));
    until_open(&daemon, false);
    assert_eq!(std::fs::read_to_string(daemon.work().join("ran")).expect("marks"), ran);
    open(&daemon, true);
    assert_eq!(daemon.wait()["counts"]["completed"], 20);
}

#[test]
fn a_command_is_bounded_in_its_words_and_leaves_nothing_behind() {
    let mut daemon = with_gates("");
    let work = daemon.work().display().to_string();
    let code = format!(
        "sleep 600 & echo $! > {work}/left.new; mv {work}/left.new {work}/left; head -c 50000000 /dev/zero | tr '\\\\0' x; echo; env > {work}/env; echo the last word; exit 1"
    );
    configure(&daemon, &format!("loud = {{ command = [\"sh\", \"-c\", \"{code}\"], every = 3600 }}"));
    daemon.set("NOTIFY_SOCKET", "/nowhere");
    daemon.serve();
    let peak = |daemon: &Daemon| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak").to_owned();
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kB")
    };
    let before = peak(&daemon);
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("true")]}));
    daemon.ok(json!({"action": "start"}));
    let status = until_open(&daemon, false);
    assert_eq!(status["gates"][0]["found"], "the last word");
    assert!(peak(&daemon) < before + 20_000, "50 MB were said: {} kB, {before} before", peak(&daemon));
    let left = std::fs::read_to_string(daemon.work().join("left")).expect("a pid").trim().parse().expect("a number");
    support::until("what it left has ended", || !support::lives(left));
    let environment = std::fs::read_to_string(daemon.work().join("env")).expect("an environment");
    assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");
}

#[test]
fn a_gate_that_answers_late_holds_up_no_other() {
    let mut daemon = with_gates("");
    let work = daemon.work().display().to_string();
    nix::unistd::mkfifo(&daemon.work().join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    configure(
        &daemon,
        &format!(
            "slow = {{ command = [\"cat\", \"{work}/fifo\"], every = 3600 }}
            quick = {{ command = [\"test\", \"-e\", \"{work}/open\"], every = 0.05 }}"
        ),
    );
    daemon.serve();
    daemon.ok(json!({"action": "add_batch", "tasks": [shell("true")]}));
    daemon.ok(json!({"action": "start"}));
    let quick = |open: bool| {
        let request: Value = serde_json::from_str(STATUS).expect("JSON");
        daemon.until(&request, |status| status["gates"][0]["open"] == open);
    };
    quick(false);
    open(&daemon, true);
    quick(true);
    assert_eq!(
        daemon.ok(json!({"action": "show", "task_id": 1}))["status"],
        "queued",
        "the other is not looked at yet"
    );
    std::fs::write(daemon.work().join("fifo"), "go").expect("somebody reads");
    assert_eq!(daemon.wait()["counts"]["completed"], 1);
}
