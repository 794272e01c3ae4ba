//! `doctor` on Termux: what it says of each Android, whose own programs are played by scripts.

#[path = "support/stand_ins.rs"]
mod stand_ins;
mod support;

use serde_json::Value;
use stand_ins::StandIns;
use support::Daemon;

/// A phone with nothing on it.
fn phone() -> (Daemon, StandIns) {
    let mut daemon = Daemon::home_with(&[("TERMUX_VERSION", "0.118.3"), ("LD_PRELOAD", "")]);
    let stand_ins = StandIns::new(&daemon.work());
    daemon.set("PATH", &stand_ins.path());
    (daemon, stand_ins)
}

/// An Android of this version; `monitor` is what it tells of the setting that ends processes.
fn android(stand_ins: &StandIns, release: &str, sdk: &str, monitor: Option<&str>) {
    let getprop = format!("case $1 in *.sdk) echo {sdk};; *.release) echo {release};; *) echo;; esac");
    stand_ins.put("getprop", &getprop);
    stand_ins.put("settings", &monitor.map_or_else(|| "exit 255".to_owned(), |value| format!("echo {value}")));
}

/// What it says of some things.
fn says(daemon: &Daemon, names: &[&str]) -> String {
    let output = daemon.cli(&["doctor", "--no-autostart", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let checks = answer["data"]["checks"].as_array().expect("checks");
    let mut text = String::new();
    for check in checks.iter().filter(|check| names.iter().any(|name| check["name"] == *name)) {
        let word = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
        text += &format!("{} {}: {}\n", word("level"), word("name"), word("found"));
        text.extend(word("advice").lines().map(|step| format!("  -> {step}\n")));
    }
    text
}

#[test]
fn each_android_has_steps_of_its_own() {
    let (daemon, stand_ins) = phone();
    let mut text = String::new();
    for (release, sdk) in [("11", "30"), ("12", "31"), ("12", "32"), ("13", "33"), ("14", "34"), ("16", "36")] {
        android(&stand_ins, release, sdk, None);
        text += &says(&daemon, &["Android"]);
    }
    insta::assert_snapshot!("doctor_for_each_android", text);
}

#[test]
fn what_is_turned_off_already_is_said() {
    let (daemon, stand_ins) = phone();
    android(&stand_ins, "14", "34", Some("false"));
    assert_eq!(
        says(&daemon, &["Android"]),
        "ok Android: 14 (SDK 34), told not to end processes of apps (settings_enable_monitor_phantom_procs is false)\n"
    );
    for other in ["true", "null"] {
        android(&stand_ins, "14", "34", Some(other));
        assert!(says(&daemon, &["Android"]).starts_with("warning Android: 14 (SDK 34): it ends processes"), "{other}");
    }
    // A property says the same where an app may not ask for settings.
    stand_ins.put("settings", "exit 255");
    let override_is = "persist.sys.fflag.override.settings_enable_monitor_phantom_procs";
    let getprop = format!("case $1 in *.sdk) echo 33;; *.release) echo 13;; {override_is}) echo false;; esac");
    stand_ins.put("getprop", &getprop);
    assert!(says(&daemon, &["Android"]).starts_with("ok Android: 13 (SDK 33), told not to"));
    // On 12 there is no such setting, whatever is stored under its name.
    let getprop = format!("case $1 in *.sdk) echo 31;; *.release) echo 12;; {override_is}) echo false;; esac");
    stand_ins.put("getprop", &getprop);
    assert!(says(&daemon, &["Android"]).starts_with("warning Android: 12 (SDK 31): it ends processes"));
}

#[test]
fn the_rest_that_a_night_needs_is_said_with_what_to_do() {
    let (mut daemon, stand_ins) = phone();
    let names = ["Android", "battery", "wake lock", "termux-exec"];
    let bare = says(&daemon, &names);
    daemon.set("BATCH_EXECUTOR_WAKE_LOCK", "true");
    let without_commands = says(&daemon, &["wake lock"]);
    for program in ["termux-wake-lock", "termux-wake-unlock"] {
        stand_ins.put(program, "exit 0");
    }
    android(&stand_ins, "10", "29", None);
    daemon.set("LD_PRELOAD", "/nowhere/libtermux-exec.so");
    let ready = says(&daemon, &names);
    insta::assert_snapshot!(
        "doctor_on_termux",
        format!("bare:\n{bare}\nwake_lock = true:\n{without_commands}\nall there:\n{ready}")
    );
}

#[test]
fn a_home_on_shared_storage_cannot_keep_the_promises() {
    let (daemon, _) = phone();
    let output = daemon.cli(&["doctor", "--no-autostart", "--home", "/sdcard/batch"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("BROKEN   file system    the home /sdcard/batch is on shared storage"), "{text}");
    assert!(!std::path::Path::new("/sdcard").exists());
}
