//! systemd: a unit of the user, or a template of the machine; the files are those of `systemd/`.

use std::path::{Path, PathBuf};

use batch_executor::platform;

use super::files::File;
use super::manager::{home_folder, words};
use super::{Daemon, Plan};
use crate::failure::Failure;

const SERVICE: &str = include_str!("../../../systemd/batch-executor.service");
const SOCKET: &str = include_str!("../../../systemd/batch-executor.socket");
const TEMPLATE: &str = include_str!("../../../systemd/batch-executor@.service");
/// Where the program is, and the socket, in the files.
const PROGRAM_OF_THE_USER: &str = "%h/.cargo/bin/batch-executor";
const PROGRAM_OF_THE_MACHINE: &str = "/usr/bin/batch-executor";
const SOCKET_OF_THE_USER: &str = "%h/.local/share/batch-executor/daemon.sock";

pub(super) fn of_the_user(daemon: &Daemon) -> Result<Plan, Failure> {
    let config = match std::env::var("XDG_CONFIG_HOME") {
        Ok(folder) if folder.starts_with('/') => PathBuf::from(folder),
        _ => Path::new(&home_folder()?).join(".config"),
    };
    let folder = config.join("systemd/user");
    let mut service = SERVICE.replace(PROGRAM_OF_THE_USER, &escaped(&daemon.program)?);
    let mut socket = SOCKET.to_owned();
    if let Some(home) = &daemon.home {
        let home = escaped(home)?;
        service = service.replace("[Service]\n", &format!("[Service]\nEnvironment=BATCH_EXECUTOR_HOME={home}\n"));
        socket = socket.replace(SOCKET_OF_THE_USER, &format!("{home}/daemon.sock"));
    }
    // systemd does not listen for a service that runs.
    let (name, instead_of) = match daemon.on_demand {
        true => ("batch-executor.socket", "batch-executor.service"),
        false => ("batch-executor.service", "batch-executor.socket"),
    };
    let mut notes = Vec::new();
    if !platform::lingers(&daemon.user) {
        notes.push(format!(
            "It ends when you have logged out. `loginctl enable-linger {}` lets it run without a login, from the start of the machine on.",
            daemon.user
        ));
    }
    Ok(Plan {
        files: vec![
            File { path: folder.join("batch-executor.service"), text: service, is_run: false },
            File { path: folder.join("batch-executor.socket"), text: socket, is_run: false },
        ],
        seen: None,
        folder: None,
        start: vec![
            words("systemctl --user daemon-reload"),
            words(&format!("systemctl --user disable --now {instead_of}")),
            words(&format!("systemctl --user enable --now {name}")),
        ],
        end: vec![
            words("systemctl --user disable --now batch-executor.socket batch-executor.service"),
            // systemd remembers a failed unit by its name. One that has not failed is no match, which is fine with it.
            words("systemctl --user reset-failed batch-executor.*"),
        ],
        status: words("systemctl --user --no-pager status batch-executor.service"),
        logs: words("journalctl --user --no-pager --lines 100 --unit batch-executor.service"),
        follow: "--follow",
        notes,
    })
}

pub(super) fn of_the_machine(daemon: &Daemon) -> Result<Plan, Failure> {
    let unit = format!("batch-executor@{}.service", daemon.user);
    let home = format!("/var/lib/batch-executor/{}", daemon.user);
    Ok(Plan {
        files: vec![File {
            path: PathBuf::from("/etc/systemd/system/batch-executor@.service"),
            text: TEMPLATE.replace(PROGRAM_OF_THE_MACHINE, &escaped(&daemon.program)?),
            is_run: false,
        }],
        seen: None,
        folder: None,
        start: vec![words("systemctl daemon-reload"), words(&format!("systemctl enable --now {unit}"))],
        end: vec![
            words(&format!("systemctl disable --now {unit}")),
            words(&format!("systemctl reset-failed batch-executor@{}.*", daemon.user)),
        ],
        status: words(&format!("systemctl --no-pager status {unit}")),
        logs: words(&format!("journalctl --no-pager --lines 100 --unit {unit}")),
        follow: "--follow",
        notes: vec![format!("It runs as {}; its clients find it with BATCH_EXECUTOR_HOME={home}.", daemon.user)],
    })
}

/// A path in a unit file, where `%` and white space mean something (systemd.syntax(7)).
fn escaped(path: &str) -> Result<String, Failure> {
    if path.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'\\".contains(c)) {
        return Err(Failure::usage(format!(
            "systemd cannot be told of the path `{path}`: put it where there are no blanks or quotes"
        )));
    }
    Ok(path.replace('%', "%%"))
}
