//! How the program begins: what is loaded with it, and what it finds open.

mod support;

use std::fs;
use std::process::Stdio;

use support::Daemon;

#[test]
fn what_is_closed_is_opened_before_the_queue_could_take_its_place() {
    let mut daemon = Daemon::home_only();
    daemon.serve_by(&["sh", "-c", "exec \"$@\" <&- >&- 2>&-", "sh"]);
    for fd in 0..=2 {
        let open = fs::read_link(format!("/proc/{}/fd/{fd}", daemon.pid())).expect("an open descriptor");
        assert_eq!(open.to_str(), Some("/dev/null"), "{fd}");
    }
}

#[test]
fn a_reader_that_has_gone_ends_it_without_a_signal() {
    let daemon = Daemon::home_only();
    for arguments in [&["--help"], &["config"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = daemon.command(arguments).stdout(Stdio::from(writer)).output().expect("the program");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What each start would pay for: see docs/performance.md.
#[cfg(all(target_os = "linux", target_env = "gnu", not(target_feature = "crt-static")))]
#[test]
fn the_loader_has_little_to_do() {
    let daemon = Daemon::start();
    let maps = fs::read_to_string(format!("/proc/{}/maps", daemon.pid())).expect("its memory");
    let libraries: Vec<&str> =
        maps.lines().filter_map(|line| line.split('/').next_back()).filter(|name| name.contains(".so")).collect();
    assert!(libraries.iter().any(|name| name.starts_with("libc.so")), "{maps}");
    for spared in ["libm.so", "libgcc_s.so"] {
        assert!(!libraries.iter().any(|name| name.starts_with(spared)), "{maps}");
    }
    let program = fs::read(format!("/proc/{}/exe", daemon.pid())).expect("its file");
    // elf(5): `e_type`, 2 where the addresses are fixed.
    assert_eq!(program[16..18], 2u16.to_ne_bytes());
}
