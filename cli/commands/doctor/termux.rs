//! What Android does to an app that works in the background, and the steps against it on the version at hand.

use std::process::{Command, Stdio};

use batch_executor::config::Settings;
use batch_executor::home::Home;
use batch_executor::platform::{WAKE_LOCK, WAKE_UNLOCK};

use super::Check;
use crate::context::in_path;

/// Since this one (12) Android ends processes that apps have started.
const ENDS_PROCESSES: u32 = 31;
/// Since this one (12L) a setting turns that off,
const HAS_SETTING: u32 = 32;
/// and since this one (14) a switch does.
const HAS_SWITCH: u32 = 34;
/// The setting, and the property that overrides it.
const MONITOR: &str = "settings_enable_monitor_phantom_procs";
const MONITOR_PROPERTY: &str = "persist.sys.fflag.override.settings_enable_monitor_phantom_procs";
/// Where shared storage is; a FUSE file system, without modes and shared memory.
const SHARED: &[&str] = &["/sdcard", "/storage", "/mnt/media_rw", "/data/media"];

const SWITCH: &str = "Settings, About phone: tap Build number seven times, if there are no Developer options yet\n\
    Settings, System, Developer options: turn Disable child process restrictions on\n\
    leave Developer options on: turning them off resets it";
const SETTING: &str = "Settings, About phone: tap Build number seven times; Developer options: turn USB debugging on\n\
    on a computer: adb shell settings put global settings_enable_monitor_phantom_procs false\n\
    without one: turn Wireless debugging on, pkg install android-tools, then adb pair and adb connect to the ports shown there";
const LIMIT: &str = "Settings, About phone: tap Build number seven times; Developer options: turn USB debugging on\n\
    on a computer: adb shell device_config set_sync_disabled_for_tests persistent\n\
    then: adb shell device_config put activity_manager max_phantom_processes 2147483647\n\
    without one: turn Wireless debugging on, pkg install android-tools, then adb pair and adb connect to the ports shown there";
const BATTERY: &str = "Settings, Apps, Termux, Battery: Unrestricted (before Android 12: Not optimised)\n\
    some makers end apps by rules of their own, see https://dontkillmyapp.com";

/// The Android that runs here, as it says of itself.
struct Android {
    release: String,
    sdk: u32,
}

impl Android {
    fn here() -> Option<Self> {
        let sdk = said("getprop", &["ro.build.version.sdk"])?.parse().ok()?;
        Some(Self { release: said("getprop", &["ro.build.version.release"])?, sdk })
    }

    /// What keeps it from ending processes of apps.
    const fn steps(&self) -> &'static str {
        match self.sdk {
            HAS_SWITCH.. => SWITCH,
            HAS_SETTING.. => SETTING,
            _ => LIMIT,
        }
    }
}

/// The checks.
pub fn checks(home: &Home, settings: &Settings) -> Vec<Check> {
    let mut checks = vec![processes(Android::here().as_ref())];
    checks.push(Check::warning("battery", "whether Android optimises Termux's use cannot be seen from here", BATTERY));
    checks.push(wake_lock(settings.wake_lock));
    checks.push(exec());
    checks.extend(shared(home));
    checks
}

/// What to do when tasks are being killed.
pub fn against_kills() -> String {
    let steps = Android::here().map_or(SWITCH, |android| android.steps());
    format!("{steps}\nor run fewer: batch-executor start --max-concurrent 3")
}

fn processes(android: Option<&Android>) -> Check {
    const NAME: &str = "Android";
    let Some(android) = android else {
        return Check::warning(
            NAME,
            "which version this is cannot be seen from here (getprop)",
            "pkg install termux-tools",
        );
    };
    let version = format!("{} (SDK {})", android.release, android.sdk);
    if android.sdk < ENDS_PROCESSES {
        return Check::ok(NAME, format!("{version}, which does not end processes of apps for their number"));
    }
    let is_off = android.sdk >= HAS_SETTING
        && [said("settings", &["get", "global", MONITOR]), said("getprop", &[MONITOR_PROPERTY])]
            .iter()
            .flatten()
            .any(|value| value == "false");
    if is_off {
        return Check::ok(NAME, format!("{version}, told not to end processes of apps ({MONITOR} is false)"));
    }
    Check::warning(
        NAME,
        format!(
            "{version}: it ends processes of apps in the background, beyond 32 of all apps or when they compute long"
        ),
        android.steps(),
    )
}

fn wake_lock(is_wanted: bool) -> Check {
    const NAME: &str = "wake lock";
    let missing = [WAKE_LOCK, WAKE_UNLOCK].into_iter().find(|program| in_path(program).is_none());
    match (is_wanted, missing) {
        (true, None) => Check::ok(NAME, "held while there is work"),
        (true, Some(program)) => Check::warning(
            NAME,
            format!("no {program} in PATH, so it is not held: the phone sleeps, and tasks with it"),
            "pkg install termux-tools",
        ),
        (false, _) => Check::warning(
            NAME,
            "not held: with the screen off the phone sleeps, and tasks with it",
            "wake_lock = true in ~/.config/batch-executor/config.toml, then batch-executor daemon restart: held while there is work",
        ),
    }
}

/// What lets programs begin with `#!/bin/sh` or `#!/usr/bin/env` on a system without these.
fn exec() -> Check {
    let preloaded = std::env::var("LD_PRELOAD").unwrap_or_default();
    if preloaded.contains("libtermux-exec") {
        return Check::ok("termux-exec", preloaded);
    }
    Check::warning(
        "termux-exec",
        "LD_PRELOAD does not have it: scripts that begin with #!/bin/sh or #!/usr/bin/env fail as tasks, or run in Android's own shell",
        "pkg install termux-exec, and add tasks from a session that Termux opened (or with --env LD_PRELOAD=$PREFIX/lib/libtermux-exec.so)",
    )
}

fn shared(home: &Home) -> Option<Check> {
    let root = std::fs::canonicalize(home.root()).unwrap_or_else(|_| home.root().to_owned());
    SHARED.iter().any(|shared| root.starts_with(shared)).then(|| {
        Check::broken(
            "file system",
            format!(
                "the home {} is on shared storage, which knows no modes and loses what SQLite shares",
                root.display()
            ),
            "leave it where it is by default, in Termux's own folder; export results to shared storage instead",
        )
    })
}

/// The one line that a program says; none where it is missing or refuses.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
