//! Whether the kernel killed processes for want of memory.

use std::io::Read;

/// How often it did, as far as this process has looked.
pub(super) struct OomKills {
    seen: Option<u64>,
}

impl OomKills {
    pub(super) fn new() -> Self {
        Self { seen: counted() }
    }

    /// Whether it did since this was asked last. Never where the count cannot be read, as on Android.
    pub(super) fn any_since(&mut self) -> bool {
        let now = counted();
        let more = now > self.seen;
        self.seen = now;
        more && now.is_some()
    }
}

/// The line `oom_kill` of `/proc/vmstat`: all of the machine since it booted, limits of cgroups included (proc(5)).
fn counted() -> Option<u64> {
    let mut text = String::new();
    std::fs::File::open("/proc/vmstat").and_then(|mut file| file.read_to_string(&mut text)).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}
