//! The disk of the home and the memory of the machine, which is also the daemon's: it is reached by a Unix socket.

use std::path::Path;

use batch_executor::space;

/// What is left of the machine; none where the system does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Machine {
    /// Bytes free on the home's disk.
    pub disk_free: Option<u64>,
    /// Bytes of memory that may still be had, and of all.
    pub memory: Option<(u64, u64)>,
}

impl Machine {
    /// As it is now.
    pub fn look(home: &Path) -> Self {
        let memory = std::fs::read_to_string("/proc/meminfo").ok();
        Self { disk_free: space::free(home), memory: memory.as_deref().and_then(memory_of) }
    }
}

/// What proc(5) says of memory: available, and all.
fn memory_of(meminfo: &str) -> Option<(u64, u64)> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim_start_matches(':').trim().strip_suffix(" kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some((bytes("MemAvailable")?, bytes("MemTotal")?))
}

#[cfg(test)]
mod tests {
    use super::memory_of;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:       24587004 kB\nMemFree:        11810392 kB\nMemAvailable:   23306156 kB\n";
        assert_eq!(memory_of(text), Some((23_306_156 * 1024, 24_587_004 * 1024)));
        assert_eq!(memory_of("MemTotal: 5 kB\n"), None);
    }
}
