//! Which sequences are tried.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::contract::{Kind, PERMANENT, Settings, Status};
use super::steps::{Draft, Op};

/// Operations in a sequence, at most.
const LONGEST: usize = 16;

pub fn sequences() -> impl Strategy<Value = Vec<Op>> {
    vec(op(), 8..=LONGEST)
}

fn op() -> impl Strategy<Value = Op> {
    let pick = any::<u8>;
    let picks = || vec(any::<u8>(), 1..=3);
    let ended = || prop::sample::select(vec![Status::Completed, Status::Failed, Status::Cancelled]);
    let code = || prop_oneof![3 => Just(0), 2 => Just(1), 1 => Just(PERMANENT)];
    prop_oneof![
        4 => draft().prop_map(Op::Add),
        6 => (vec(draft(), 1..=5), option::weighted(0.3, pick()), prop::bool::weighted(0.2))
            .prop_map(|(drafts, to, with_bad)| Op::AddBatch { drafts, to, with_bad }),
        1 => pick().prop_map(Op::Resend),
        7 => settings().prop_map(Op::Start),
        2 => any::<(bool, bool)>().prop_map(|(graceful, wait)| Op::Stop { graceful, wait }),
        1 => Just(Op::Deadline),
        2 => picks().prop_map(Op::Cancel),
        1 => pick().prop_map(Op::CancelBatch),
        2 => (picks(), any::<bool>()).prop_map(|(picks, on)| Op::Pause(picks, on)),
        1 => (pick(), any::<bool>()).prop_map(|(which, on)| Op::PauseBatch(which, on)),
        2 => option::of(any::<bool>()).prop_map(Op::PauseRun),
        2 => picks().prop_map(Op::Retry),
        1 => (prop::sample::select(vec![Status::Failed, Status::Cancelled]), option::weighted(0.3, pick()))
            .prop_map(|(status, batch)| Op::RetryAll { status, batch }),
        2 => (picks(), 0_usize..4).prop_map(|(picks, priority)| Op::Reprioritise(picks, priority)),
        2 => picks().prop_map(Op::Hasten),
        1 => (option::of(ended()), option::weighted(0.3, pick()))
            .prop_map(|(status, batch)| Op::Clear { status, batch }),
        8 => (pick(), code()).prop_map(|(which, code)| Op::Open(which, code)),
        2 => option::of((pick(), code())).prop_map(Op::Crash),
        2 => Just(Op::CrashAtOnce),
        1 => Just(Op::Terminate),
        2 => Just(Op::KillKeeper),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    let kind = prop_oneof![
        5 => Just(Kind::Gate),
        2 => (0_u32..3).prop_map(|fails| Kind::Instant { fails }),
        1 => Just(Kind::Endless),
    ];
    (kind, 0_usize..4, 0_u32..3, prop::bool::weighted(0.1)).prop_map(|(kind, priority, retries, delayed)| Draft {
        kind,
        priority,
        retries,
        delayed,
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    let cap = option::weighted(0.9, 1_usize..=3);
    let (keep, deadline) = (option::weighted(0.3, any::<bool>()), prop::bool::weighted(0.2));
    (cap, keep, option::weighted(0.2, 1_u32..=2), deadline).prop_map(|(cap, keep, max_failures, deadline)| Settings {
        cap,
        keep,
        max_failures,
        deadline,
    })
}
