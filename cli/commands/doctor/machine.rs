//! What the machine gives: the home's disk, interpreters, the clock, whether a daemon may stay.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use batch_executor::home::Home;
use batch_executor::platform;
use batch_executor::time::wall_ms;
use nix::sys::statfs::{NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;

use super::{Check, termux};
use crate::context::{Context, in_path};
use crate::views::text;

/// Below this there is no room for a commit and its log.
const NO_ROOM_BYTES: u64 = 8 << 20;
/// Below this a night's results may not fit.
const LITTLE_ROOM_BYTES: u64 = 512 << 20;
/// 2025-01-01: no clock of a machine that runs this is before it.
const BUILT_MS: i64 = 1_735_689_600_000;
/// What runs code, and what for.
const INTERPRETERS: &[(&str, &[&str])] =
    &[("python", &["python3", "python"]), ("nodejs", &["node", "nodejs"]), ("terminal", &["bash", "sh"])];

/// The checks that need no daemon.
pub fn checks(context: &Context) -> Vec<Check> {
    let mut checks = vec![home(&context.home)];
    checks.extend(disk(context.home.root()));
    checks.extend(INTERPRETERS.iter().map(|(runtime, names)| interpreter(runtime, names)));
    checks.push(clock());
    if platform::is_termux() {
        checks.extend(termux::checks(&context.home, &context.settings));
    } else {
        checks.push(linger());
    }
    checks
}

fn home(home: &Home) -> Check {
    let root = home.root().to_string_lossy();
    let Ok(meta) = std::fs::metadata(home.root()) else {
        return Check::ok("home", format!("{root}, not made yet"));
    };
    if meta.uid() != geteuid().as_raw() {
        return Check::broken("home", format!("{root} belongs to uid {}", meta.uid()), "choose another with --home");
    }
    if meta.permissions().mode() & 0o077 != 0 {
        return Check::warning("home", format!("{root} is open to others"), format!("chmod 700 {root}"));
    }
    Check::ok("home", root)
}

fn disk(root: &Path) -> Vec<Check> {
    // Before the home is made, what holds it is where it will be.
    let Some(root) = root.ancestors().find(|folder| folder.exists()) else { return Vec::new() };
    let mut checks = Vec::new();
    if let Ok(found) = statvfs(root) {
        #[expect(clippy::useless_conversion, reason = "the types differ between 32 and 64 bits")]
        let (blocks, size) = (u64::from(found.blocks_available()), u64::from(found.fragment_size()));
        let free = blocks.saturating_mul(size);
        let said = format!("{} free", text::bytes(free));
        checks.push(match free {
            0..NO_ROOM_BYTES => Check::broken("disk", said, "make room: nothing can be added or finished"),
            NO_ROOM_BYTES..LITTLE_ROOM_BYTES => Check::warning("disk", said, "make room, or batch-executor clear"),
            _ => Check::ok("disk", said),
        });
    }
    let remote = [NFS_SUPER_MAGIC, SMB_SUPER_MAGIC];
    if statfs(root).is_ok_and(|found| remote.contains(&found.filesystem_type())) {
        checks.push(Check::broken(
            "file system",
            "the home is on a network file system, where SQLite's log is not safe",
            "choose a local folder with --home or BATCH_EXECUTOR_HOME",
        ));
    }
    checks
}

fn interpreter(runtime: &'static str, names: &[&str]) -> Check {
    match names.iter().find_map(|name| in_path(name)) {
        Some(program) => Check::ok(runtime, program.to_string_lossy()),
        None => Check::warning(
            runtime,
            format!("no {} in PATH", names.join(" or ")),
            format!("tasks with runtime {runtime} will fail until it is installed"),
        ),
    }
}

fn clock() -> Check {
    let now = batch_executor::time::rfc3339(wall_ms());
    if wall_ms() < BUILT_MS {
        Check::warning("clock", now, "set it; delays and retries are right all the same, shown times are not")
    } else {
        Check::ok("clock", now)
    }
}

/// Whether the daemon may outlive the login where a service manager ends what a session started.
fn linger() -> Check {
    if !Path::new("/run/systemd/system").exists() || geteuid().is_root() {
        return Check::ok("log-out", "nothing here ends background processes at log-out");
    }
    let user = platform::user_name().unwrap_or_default();
    if platform::lingers(&user) {
        return Check::ok("log-out", format!("lingering is on for {user}"));
    }
    Check::warning(
        "log-out",
        format!("lingering is off for {user}: tasks may end when you log out"),
        "loginctl enable-linger",
    )
}
