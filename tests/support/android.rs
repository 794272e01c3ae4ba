//! Android's filter of the system calls of apps, as far as it can be had where the C library is glibc.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// What becomes of the system calls that Android's filter does not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The kernel does not know them, so that glibc and common programs, which are not made for Android, go on without.
    Missing,
    /// Whoever makes one that no part of glibc makes by itself is killed, as on Android.
    Killing,
}

impl Filter {
    /// What the kernel is to run at each call of whoever applies them all.
    pub fn programs(self) -> Vec<BpfProgram> {
        let missing = [
            libc::SYS_rseq,
            libc::SYS_set_robust_list,
            libc::SYS_clone3,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_send_signal,
            libc::SYS_statx,
            libc::SYS_epoll_pwait2,
        ];
        let killing = [
            libc::SYS_close_range,
            libc::SYS_openat2,
            libc::SYS_faccessat2,
            libc::SYS_fchmodat2,
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
        ];
        let always_killing = [
            libc::SYS_landlock_create_ruleset,
            libc::SYS_mq_open,
            libc::SYS_semget,
            libc::SYS_shmget,
            libc::SYS_msgget,
            libc::SYS_name_to_handle_at,
            libc::SYS_kcmp,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_fanotify_init,
            libc::SYS_futex_waitv,
        ];
        let errno = |code: i32| SeccompAction::Errno(u32::try_from(code).expect("a number"));
        let by_tier = match self {
            Self::Missing => errno(libc::ENOSYS),
            Self::Killing => SeccompAction::Trap,
        };
        // There are no hard links.
        let links = [
            libc::SYS_linkat,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_link,
        ];
        [
            (&missing[..], errno(libc::ENOSYS)),
            (&killing[..], by_tier),
            (&always_killing[..], SeccompAction::Trap),
            (&links[..], errno(libc::EACCES)),
        ]
        .map(|(calls, action)| {
            let rules: BTreeMap<i64, _> = calls.iter().map(|call| (*call, Vec::new())).collect();
            let machine = std::env::consts::ARCH.try_into().expect("a machine that seccompiler knows");
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, machine).expect("a filter");
            filter.try_into().expect("a program")
        })
        .into()
    }
}
