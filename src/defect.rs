//! What a defect of ours does: within a request, a client's or a hook's, it is answered with an error; anywhere else it ends this process at
//! once, for a part that is missing would leave a daemon that answers and does nothing. Another takes over then, and
//! what ran goes on with the keeper.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static SHIELDED: Cell<bool> = const { Cell::new(false) };
}

/// Does some of a request's work; none if it came upon a defect.
pub fn shielded<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = SHIELDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    SHIELDED.set(before);
    done.ok()
}

/// Logs every defect from here on, and ends the process for one that is not shielded.
pub fn watch() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(%panic, "a defect");
        if !SHIELDED.get() {
            std::process::abort();
        }
    }));
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_shield_holds_for_its_own_work_alone() {
        assert_eq!(super::shielded(|| 1), Some(1));
        assert_eq!(super::shielded(|| -> i32 { panic!("within") }), None);
        assert!(!super::SHIELDED.get());
    }
}
