//! From the keeper's account of an end to the queue's: with a verdict.

use nix::libc::SIGKILL;

use super::{Ended, Event, Options};
use crate::attempt::{Output, Verdict};
use crate::function;
use crate::keeper::protocol::{How, KeeperEnd, KeeperEvent};
use crate::output::{self, LogReader, VALUE, log_file};
use crate::task::{Cause, Exit, Limits};

/// An event as the queue takes it: with a verdict.
pub(super) fn judged(options: &Options, event: KeeperEvent) -> Event {
    match event {
        KeeperEvent::Started { claim, task_id, started_at } => Event::Started { claim, task_id, started_at },
        // A log of a gigabyte takes a while to be read; everybody else goes on meanwhile.
        KeeperEvent::Ended(end) if end.spilled => {
            Event::Ended(Box::new(tokio::task::block_in_place(|| verdict_on(options, *end))))
        }
        KeeperEvent::Ended(end) => Event::Ended(Box::new(verdict_on(options, *end))),
    }
}

fn verdict_on(options: &Options, mut end: KeeperEnd) -> Ended {
    let (mut exit_code, mut signal, mut usage) = (None, None, None);
    let mut outside_kill = None;
    let verdict = match end.how {
        How::Simulated { failed: true, .. } => {
            Verdict::Failure { error: "simulated failure".to_owned(), permanent: false, result: None }
        }
        // Its time was cut: there is nothing to show for it.
        How::Simulated { .. } if end.order.is_some() => Verdict::Success { result: None },
        How::Simulated { duration_ms, .. } => {
            #[expect(clippy::cast_precision_loss, reason = "below 2^53 ms")]
            let duration = duration_ms as f64 / 1000.0;
            Verdict::Success { result: Some(serde_json::json!({"status": "simulated", "duration": duration})) }
        }
        How::Answered => {
            let verdict = function::answered(&mut log_of(options, &end), end.spilled, options.keep_bytes);
            // It is the verdict now.
            end.frames = output::without(&end.frames, VALUE);
            verdict
        }
        How::NotRun { error, permanent } => Verdict::Failure { error, permanent, result: None },
        How::Process { exit_code: code, signal: by, cpu_us, max_rss, out_of_memory } => {
            (exit_code, signal, usage) = (code, by, Some((cpu_us, max_rss)));
            let mut log = log_of(options, &end);
            let verdict = function::interpret(&end.function, code, by, &mut log, end.spilled, options.keep_bytes);
            let (verdict, by_limit) = limited(verdict, &end.limits, &Exit { code, signal: by, cpu_us, max_rss });
            if end.order.is_none() && by == Some(SIGKILL) && !by_limit {
                outside_kill = Some(if out_of_memory { Cause::OutOfMemory } else { Cause::Killed });
            }
            verdict
        }
    };
    Ended {
        claim: end.claim,
        task_id: end.task_id,
        started_at: end.started_at,
        finished_at: end.finished_at,
        run_ms: end.run_ms,
        timeout_ms: end.timeout_ms,
        order: end.order,
        verdict,
        exit_code,
        signal,
        outside_kill,
        cpu_us: usage.map(|(cpu_us, _)| cpu_us),
        max_rss: usage.map(|(_, max_rss)| max_rss),
        output: Output { frames: end.frames, spilled: end.spilled, dropped: end.dropped },
    }
}

/// What the attempt wrote. A log that is gone leaves the end; its output is lost.
fn log_of(options: &Options, end: &KeeperEnd) -> LogReader {
    if end.spilled {
        let path = log_file(&options.home.output_dir(), end.task_id, end.attempt);
        LogReader::open(&path).unwrap_or_else(|_| LogReader::from_bytes(Vec::new()))
    } else {
        LogReader::from_bytes(end.frames.clone())
    }
}

/// A failure says first which limit it was for; and whether it was for one.
fn limited(verdict: Verdict, limits: &Limits, exit: &Exit) -> (Verdict, bool) {
    match verdict {
        Verdict::Failure { error, permanent, result } => match limits.exceeded(exit, &error) {
            Some(why) => (Verdict::Failure { error: format!("{why}; {error}"), permanent, result }, true),
            None => (Verdict::Failure { error, permanent, result }, false),
        },
        success @ Verdict::Success { .. } => (success, false),
    }
}
