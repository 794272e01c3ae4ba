//! What the linker finds in this program by its name in C. Each is here for what it saves at every start (docs/performance.md,
//! "One `add` from the shell"), and nothing else may be.
//!
//! Invariant: each has the name, the arguments and the meaning that C gives it (C17, 5.1.2.2.1 and 7.12), so that whoever calls
//! one, be it Rust or C, gets what it asked for.
#![expect(unsafe_code, reason = "a name that the linker knows may stand for another's")]

/// Where the C library begins this program: in place of the standard library's start, which reads `/proc/self/maps` to tell an
/// overflow of the stack from another fault. What else that does is done here: see std/src/rt.rs.
#[cfg(all(target_os = "linux", target_env = "gnu", not(test)))]
mod begin {
    use std::process;

    use nix::errno::Errno;
    use nix::libc;

    /// What the standard library ends with after a panic.
    const PANICKED: i32 = 101;

    #[unsafe(no_mangle)]
    extern "C" fn main(_: libc::c_int, _: *const *const libc::c_char) -> libc::c_int {
        open_what_is_closed();
        // SAFETY: no other thread is there yet, and no handler is set.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        // Writes what waits in standard output, too.
        process::exit(std::panic::catch_unwind(crate::program).map_or(PANICKED, i32::from))
    }

    /// Standard input, output and error are there: else a file opened later, as the queue, would be one of them.
    fn open_what_is_closed() {
        for fd in 0..=2 {
            // SAFETY: asks for a flag of a number, open or not.
            let is_closed = unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 && Errno::last() == Errno::EBADF;
            // SAFETY: the path ends with NUL. The lowest free number is taken, which is this one.
            if is_closed && unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } == -1 {
                process::abort();
            }
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn exp(x: f64) -> f64 {
    libm::exp(x)
}

#[unsafe(no_mangle)]
extern "C" fn log(x: f64) -> f64 {
    libm::log(x)
}

#[unsafe(no_mangle)]
extern "C" fn pow(x: f64, y: f64) -> f64 {
    libm::pow(x, y)
}
