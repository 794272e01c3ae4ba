//! OpenRC: a script for supervise-daemon(8). Not tried on a machine that has it.

use std::path::PathBuf;

use super::files::File;
use super::manager::words;
use super::{Daemon, Plan};
use crate::quoting::quoted;

pub(super) fn plan(daemon: &Daemon) -> Plan {
    let home = daemon.home.as_ref().map(|home| format!(" --home {}", quoted(home))).unwrap_or_default();
    let text = format!(
        "#!/sbin/openrc-run\n\
         description=\"batch-executor: persistent job daemon\"\n\
         supervisor=supervise-daemon\n\
         command={}\n\
         command_args=\"daemon{home}\"\n\
         command_user={}\n\
         output_log=/var/log/batch-executor.log\n\
         error_log=/var/log/batch-executor.log\n\
         # The grace of running tasks, and then some.\n\
         retry=SIGTERM/60/SIGKILL/5\n\
         respawn_delay=2\n\
         respawn_max=5\n\
         respawn_period=60\n\
         extra_started_commands=reload\n\
         depend() {{\n\tneed localmount\n}}\n\
         reload() {{\n\tsupervise-daemon \"$RC_SVCNAME\" --signal USR2\n}}\n",
        quoted(&daemon.program),
        quoted(&daemon.user),
    );
    Plan {
        files: vec![File { path: PathBuf::from("/etc/init.d/batch-executor"), text, is_run: true }],
        seen: None,
        folder: None,
        start: vec![words("rc-update add batch-executor default"), words("rc-service batch-executor start")],
        end: vec![words("rc-service batch-executor stop"), words("rc-update del batch-executor default")],
        status: words("rc-service batch-executor status"),
        logs: words("tail -n 100 /var/log/batch-executor.log"),
        follow: "-F",
        notes: Vec::new(),
    }
}
