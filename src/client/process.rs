//! Whether a process is still the one that it was.

/// A process by pid and start time, so that a reused pid is not taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pid: u32,
    /// Clock ticks since boot (proc(5), field 22).
    started: u64,
}

impl Identity {
    /// The process that has this pid now; None when there is none, or only its zombie.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses and may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        if fields.next()? == "Z" {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, started })
    }

    /// Its pid.
    pub const fn pid(self) -> u32 {
        self.pid
    }

    /// Whether it still lives.
    pub fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Identity;

    #[test]
    fn an_ended_process_is_gone_even_as_a_zombie() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("every Unix has cat");
        let identity = Identity::of(child.id()).expect("it waits for its input");
        assert!(identity.lives());
        drop(child.stdin.take());
        while identity.lives() {
            std::thread::yield_now();
        }
        child.wait().expect("our child");
        assert!(!identity.lives());
    }
}
