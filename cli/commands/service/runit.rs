//! runit: a folder with `run` and `log/run`; on Android the one of termux-services, with what starts it at boot.

use std::path::{Path, PathBuf};

use batch_executor::platform::WAKE_LOCK;

use super::files::File;
use super::manager::{home_folder, words};
use super::{Daemon, Plan};
use crate::failure::Failure;
use crate::quoting::quoted;

/// The folders that runsvdir(8) looks after, as distributions call them.
const WATCHED: &[&str] = &["/etc/service", "/var/service", "/service"];

pub(super) fn plan(daemon: &Daemon) -> Result<Plan, Failure> {
    let watched = std::env::var("SVDIR").ok().or_else(|| {
        let there = WATCHED.iter().find(|folder| Path::new(folder).is_dir());
        there.map(|folder| (*folder).to_owned())
    });
    let watched =
        watched.ok_or_else(|| Failure::usage("it is not known which folder runsvdir looks after: set SVDIR"))?;
    let folder = PathBuf::from(&watched).join("batch-executor");
    let logs = folder.join("log/main");
    let shown = quoted(&logs.to_string_lossy());
    let log = format!("#!/bin/sh\nmkdir -p {shown}\nexec svlogd -tt {shown}\n");
    Ok(of("/bin/sh", daemon, &folder, log, &logs.join("current"), Vec::new(), Vec::new()))
}

pub(super) fn of_termux(daemon: &Daemon) -> Result<Plan, Failure> {
    let prefix = std::env::var("PREFIX").map_err(|_| Failure::usage("PREFIX is not set, so this is no Termux"))?;
    let shell = format!("{prefix}/bin/sh");
    let folder = PathBuf::from(&prefix).join("var/service/batch-executor");
    let log = format!("#!{shell}\nexec {prefix}/share/termux-services/svlogger\n");
    let boot = format!(
        "#!{shell}\n# The app Termux:Boot runs this when the phone has started.\n# Without the wake lock Android lets the phone sleep, and tasks with it. The daemon holds it while it has work where\n\
         # config.toml has `wake_lock = true`; the next line takes it for good instead, which costs battery.\n\
         # {WAKE_LOCK}\n. {prefix}/etc/profile.d/start-services.sh\n"
    );
    let boot = File { path: Path::new(&home_folder()?).join(".termux/boot/batch-executor"), text: boot, is_run: true };
    let notes = vec![
        "termux-services must be installed (`pkg install termux-services`) and Termux started anew once.".to_owned(),
        "For the start of the phone install the app Termux:Boot and open it once. For nights set `wake_lock = true` in \
         ~/.config/batch-executor/config.toml; `batch-executor doctor` says what else Android wants."
            .to_owned(),
    ];
    let current = PathBuf::from(&prefix).join("var/log/sv/batch-executor/current");
    Ok(of(&shell, daemon, &folder, log, &current, vec![boot], notes))
}

fn of(
    shell: &str,
    daemon: &Daemon,
    folder: &Path,
    log: String,
    current: &Path,
    more: Vec<File>,
    notes: Vec<String>,
) -> Plan {
    let home = daemon.home.as_ref().map(|home| format!(" --home {}", quoted(home))).unwrap_or_default();
    // `sv down` sends SIGTERM, an end in order; `sv hup` replaces the daemon by the program now installed.
    let run = format!("#!{shell}\nexec 2>&1\nexec {} daemon{home}\n", quoted(&daemon.program));
    let service = folder.display().to_string();
    let mut files = vec![
        // First: runsvdir starts what it finds at its next look.
        File { path: folder.join("log/run"), text: log, is_run: true },
        File { path: folder.join("run"), text: run, is_run: true },
    ];
    files.extend(more);
    let sv = |verb: &str| vec!["sv".to_owned(), verb.to_owned(), service.clone()];
    Plan {
        files,
        seen: Some(folder.join("supervise/ok")),
        start: vec![sv("up")],
        end: vec![["sv", "-w", "60", "force-stop", &service].map(str::to_owned).to_vec()],
        folder: Some(folder.to_owned()),
        status: sv("status"),
        logs: words("tail -n 100").into_iter().chain([current.display().to_string()]).collect(),
        follow: "-F",
        notes,
    }
}
