//! What only the daemon can tell: its version, its queue, its limits.

use batch_executor::client::ClientError;
use batch_executor::platform;
use batch_executor::protocol::{Health, PROTOCOL};
use batch_executor::version::VERSION;
use serde_json::Map;

use super::{Check, termux};
use crate::context::{Context, data};
use crate::failure::Failure;
use crate::views::text;

/// What to do about a damaged queue.
const REPAIR: &str = "batch-executor daemon stop, then: batch-executor doctor --repair";
/// Files that a daemon with a few hundred connections and followed logs has open.
const ENOUGH_FILES: u64 = 1024;
/// What ends tasks where it is not Android.
const SHORT_OF_MEMORY: &str = "most likely the memory was too small for all that ran (dmesg says so): run fewer at once \
    with start --max-concurrent, which sets the cap at once";
/// Below this a cap of a hundred tasks cannot be filled.
const ENOUGH_PROCESSES: u64 = 256;

/// The checks; when no daemon answers, that.
pub fn checks(context: &Context) -> Vec<Check> {
    let health = context.ask_until_answered("health", Map::new()).and_then(|answer| data::<Health>(&answer));
    match health {
        Ok(health) => of(&health),
        Err(Failure::Client(ClientError::Unreachable { .. })) => vec![Check::warning(
            "daemon",
            "none answers, and none is to be started",
            "start one: batch-executor daemon, or any command without --no-autostart",
        )],
        Err(failure) => {
            let (message, hint) = failure.text();
            let is_damaged = matches!(&failure, Failure::Refused(answer)
                if answer.response.error.as_ref().is_some_and(|error| error.details["reason"] == "damaged"));
            let see = || format!("see {}", context.home.log().display());
            let advice = if is_damaged { REPAIR.to_owned() } else { hint.unwrap_or_else(see) };
            vec![Check::broken("daemon", message, advice)]
        }
    }
}

fn of(health: &Health) -> Vec<Check> {
    let keeper = health.keeper_pid.map_or_else(|| "no keeper yet".to_owned(), |pid| format!("keeper {pid}"));
    let mut checks = vec![Check::ok("daemon", format!("pid {}, {keeper}", health.pid)), version(health)];
    let size = text::bytes(u64::try_from(health.database_bytes).unwrap_or(0));
    checks.push(if health.database == "ok" {
        Check::ok("queue", format!("intact, {size}, schema {}, SQLite {}", health.schema, health.sqlite))
    } else {
        Check::broken("queue", health.database.clone(), REPAIR)
    });
    checks.extend(health.tally_difference.as_ref().map(|difference| {
        Check::warning("counts", difference.clone(), "please report it; the tasks themselves are not affected")
    }));
    checks.extend(health.storage_error.as_ref().map(|error| {
        Check::broken("storage", error.clone(), "make room or mount it writable; the daemon goes on by itself then")
    }));
    checks.extend(health.lowered_to.map(|cap| {
        let found = format!("several tasks were killed from outside together: at most {cap} run at once for a while");
        Check::warning(
            "kills",
            found,
            if platform::is_termux() { termux::against_kills() } else { SHORT_OF_MEMORY.to_owned() },
        )
    }));
    // A folder that the configuration names is meant.
    checks.push(if health.cgroups.starts_with("none: `") {
        Check::warning(
            "cgroups",
            health.cgroups.clone(),
            "name another folder with the setting `cgroups`, or none: auto, off",
        )
    } else {
        Check::ok("cgroups", health.cgroups.clone())
    });
    checks.push(limit("open files", health.open_files_limit, ENOUGH_FILES, "raise it: ulimit -n, or LimitNOFILE="));
    checks.push(limit("processes", health.processes_limit, ENOUGH_PROCESSES, "raise it: ulimit -u, or TasksMax="));
    checks
}

fn version(health: &Health) -> Check {
    let own = VERSION;
    if health.version == own && health.protocol == PROTOCOL {
        return Check::ok("version", format!("the daemon's is {own} too (protocol {PROTOCOL})"));
    }
    let found = format!("the daemon is {} (protocol {}), this program {own}", health.version, health.protocol);
    Check::warning("version", found, "batch-executor daemon restart; running tasks go on")
}

fn limit(name: &'static str, limit: u64, enough: u64, advice: &str) -> Check {
    let found = if limit > 1 << 40 { "unlimited".to_owned() } else { limit.to_string() };
    if limit >= enough { Check::ok(name, found) } else { Check::warning(name, found, advice) }
}
