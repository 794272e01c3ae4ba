//! What follows from the end of an attempt. Pure: rows and ends in, decisions out.

use super::outside;
use super::state::State;
use crate::attempt::{Ended, Verdict};
use crate::task::{Cause, Order, Outcome, RetryPolicy};

/// What of a task matters for its next state.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub retry_count: u32,
    pub max_retries: u32,
    pub retry_delay_ms: i64,
    pub permanent_exit_codes: Vec<i32>,
    pub interruptions: u32,
    pub cancel_requested: bool,
    pub is_simulate: bool,
    /// How often a kill from outside cost it no retry.
    pub forgiven: u32,
}

/// What becomes of the task and what its attempt says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub state: State,
    pub outcome: Outcome,
    pub cause: Option<Cause>,
    pub error: Option<String>,
    /// Why the task ended as it did.
    pub reason: Option<String>,
    pub retry_count: u32,
    pub interruptions: u32,
    pub forgiven: u32,
    /// Before it may run again, ms; with [`State::Waiting`].
    pub delay_ms: i64,
}

impl Decision {
    fn of(standing: &Standing, state: State, outcome: Outcome) -> Self {
        Self {
            state,
            outcome,
            cause: None,
            error: None,
            reason: None,
            retry_count: standing.retry_count,
            interruptions: standing.interruptions,
            forgiven: standing.forgiven,
            delay_ms: 0,
        }
    }

    fn cancelled(standing: &Standing) -> Self {
        Self {
            cause: Some(Cause::Cancelled),
            reason: Some("cancelled by request".to_owned()),
            ..Self::of(standing, State::Cancelled, Outcome::Cancelled)
        }
    }
}

/// After an end that the backend reported. `jitter` is from -1 to 1; `in_burst`: it was killed from outside together
/// with others.
pub(super) fn after_end(standing: &Standing, ended: &Ended, in_burst: bool, jitter: f64) -> Decision {
    if standing.cancel_requested {
        return Decision::cancelled(standing);
    }
    if let (None, Some(cause)) = (ended.order, ended.outside_kill) {
        return killed(standing, cause, &ended.verdict, in_burst, jitter);
    }
    match (ended.order, &ended.verdict) {
        (Some(Order::Cancel), _) => Decision::cancelled(standing),
        (Some(order @ (Order::Stop | Order::Deadline)), _) => Decision {
            reason: Some(interrupted_reason(stop_cause(order))),
            cause: Some(stop_cause(order)),
            ..Decision::of(standing, State::Ready, Outcome::Stopped)
        },
        (Some(Order::Timeout), _) => {
            let seconds = ended.timeout_ms.unwrap_or(ended.run_ms);
            Decision {
                cause: Some(Cause::TimedOut),
                outcome: Outcome::TimedOut,
                ..failed(standing, format!("timed out after {} s", seconds_text(seconds)), None, jitter)
            }
        }
        (None, Verdict::Success { .. }) => Decision::of(standing, State::Completed, Outcome::Completed),
        (None, Verdict::Failure { error, permanent, .. }) => {
            let why = if *permanent {
                Some("not tried again: it cannot be run".to_owned())
            } else {
                ended
                    .exit_code
                    .filter(|code| standing.permanent_exit_codes.contains(code))
                    .map(|code| format!("not tried again: exit code {code} is permanent"))
            };
            failed(standing, error.clone(), why, jitter)
        }
    }
}

const fn stop_cause(order: Order) -> Cause {
    if matches!(order, Order::Deadline) { Cause::Deadline } else { Cause::Stopped }
}

/// Why a task is queued again after an attempt that did not end by itself.
pub(super) fn interrupted_reason(cause: Cause) -> String {
    format!("interrupted: {cause}")
}

/// After a SIGKILL that nobody here sent.
fn killed(standing: &Standing, cause: Cause, verdict: &Verdict, in_burst: bool, jitter: f64) -> Decision {
    let how = match verdict {
        Verdict::Failure { error, .. } => error.as_str(),
        Verdict::Success { .. } => "killed by SIGKILL (signal 9)",
    };
    let who = match cause {
        Cause::OutOfMemory => "the kernel was out of memory",
        _ => "not by batch-executor",
    };
    let error = format!("{who}: {how}");
    if in_burst && standing.forgiven < outside::FORGIVEN {
        return Decision {
            cause: Some(cause),
            error: Some(error),
            reason: Some(interrupted_reason(cause)),
            forgiven: standing.forgiven + 1,
            ..Decision::of(standing, State::Ready, Outcome::Interrupted)
        };
    }
    Decision { cause: Some(cause), ..failed(standing, error, None, jitter) }
}

/// After an attempt that was lost. At `limit` interruptions the task fails.
pub(super) fn after_loss(standing: &Standing, cause: Cause, counts: bool, limit: u32) -> Decision {
    if standing.cancel_requested {
        return Decision::cancelled(standing);
    }
    let counted = u32::from(counts && !standing.is_simulate);
    let interruptions = standing.interruptions + counted;
    let error = Some(format!("interrupted ({cause})"));
    if counted == 1 && interruptions >= limit {
        return Decision {
            cause: Some(cause),
            error: Some(format!("interrupted {interruptions} times")),
            reason: Some(format!(
                "interrupted {interruptions} times, the last time by {cause}; `retry` runs it again when the cause is gone"
            )),
            interruptions,
            ..Decision::of(standing, State::Failed, Outcome::Interrupted)
        };
    }
    Decision {
        cause: Some(cause),
        error,
        reason: Some(interrupted_reason(cause)),
        interruptions,
        ..Decision::of(standing, State::Ready, Outcome::Interrupted)
    }
}

fn failed(standing: &Standing, error: String, permanent: Option<String>, jitter: f64) -> Decision {
    let failure = Decision { error: Some(error), ..Decision::of(standing, State::Failed, Outcome::Failed) };
    if permanent.is_some() {
        return Decision { reason: permanent, ..failure };
    }
    if standing.retry_count >= standing.max_retries {
        let reason = match standing.max_retries {
            0 => "no retries allowed".to_owned(),
            1 => "failed again after 1 retry".to_owned(),
            n => format!("failed again after {n} retries"),
        };
        return Decision { reason: Some(reason), ..failure };
    }
    let policy = RetryPolicy { max_retries: standing.max_retries, retry_delay_ms: standing.retry_delay_ms };
    let retry_count = standing.retry_count + 1;
    let delay_ms = policy.delay_ms(retry_count, jitter);
    let state = if delay_ms > 0 { State::Waiting } else { State::Ready };
    Decision { state, retry_count, delay_ms, ..failure }
}

/// Seconds as a person writes them: `2`, `0.5`.
fn seconds_text(ms: i64) -> String {
    if ms % 1000 == 0 {
        (ms / 1000).to_string()
    } else {
        let text = format!("{}.{:03}", ms / 1000, ms % 1000);
        text.trim_end_matches('0').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Output;

    fn standing() -> Standing {
        Standing {
            retry_count: 0,
            max_retries: 1,
            retry_delay_ms: 1000,
            permanent_exit_codes: vec![4],
            interruptions: 0,
            cancel_requested: false,
            is_simulate: false,
            forgiven: 0,
        }
    }

    fn ended(order: Option<Order>, exit_code: i32) -> Ended {
        let verdict = if exit_code == 0 {
            Verdict::Success { result: None }
        } else {
            Verdict::Failure { error: format!("exit code {exit_code}"), permanent: false, result: None }
        };
        Ended {
            claim: 1,
            task_id: 1,
            started_at: 0,
            finished_at: 10,
            run_ms: 10,
            timeout_ms: Some(500),
            order,
            verdict,
            exit_code: Some(exit_code),
            signal: None,
            outside_kill: None,
            cpu_us: None,
            max_rss: None,
            output: Output::default(),
        }
    }

    #[test]
    fn the_order_decides_and_not_the_exit_code() {
        for (order, state, outcome) in [
            (None, State::Completed, Outcome::Completed),
            (Some(Order::Cancel), State::Cancelled, Outcome::Cancelled),
            (Some(Order::Stop), State::Ready, Outcome::Stopped),
            (Some(Order::Deadline), State::Ready, Outcome::Stopped),
            (Some(Order::Timeout), State::Waiting, Outcome::TimedOut),
        ] {
            let decision = after_end(&standing(), &ended(order, 0), false, 0.0);
            assert_eq!((decision.state, decision.outcome), (state, outcome), "{order:?}");
        }
    }

    #[test]
    fn a_failure_is_retried_until_the_retries_are_used_up() {
        let first = after_end(&standing(), &ended(None, 3), false, 0.0);
        assert_eq!((first.state, first.retry_count, first.delay_ms), (State::Waiting, 1, 1000));
        let used = Standing { retry_count: 1, ..standing() };
        let second = after_end(&used, &ended(None, 3), false, 0.0);
        assert_eq!((second.state, second.retry_count), (State::Failed, 1));
        assert_eq!(second.reason.as_deref(), Some("failed again after 1 retry"));
    }

    #[test]
    fn a_permanent_exit_code_is_not_retried() {
        let decision = after_end(&standing(), &ended(None, 4), false, 0.0);
        assert_eq!((decision.state, decision.retry_count), (State::Failed, 0));
    }

    #[test]
    fn a_requested_cancel_beats_a_good_end() {
        let asked = Standing { cancel_requested: true, ..standing() };
        assert_eq!(after_end(&asked, &ended(None, 0), false, 0.0).state, State::Cancelled);
        assert_eq!(after_loss(&asked, Cause::Reboot, true, 5).state, State::Cancelled);
    }

    #[test]
    fn the_fifth_interruption_fails() {
        let fourth = Standing { interruptions: 3, ..standing() };
        assert_eq!(after_loss(&fourth, Cause::Reboot, true, 5).state, State::Ready);
        let fifth = Standing { interruptions: 4, ..standing() };
        let decision = after_loss(&fifth, Cause::Reboot, true, 5);
        assert_eq!((decision.state, decision.error.as_deref()), (State::Failed, Some("interrupted 5 times")));
        let simulated = Standing { is_simulate: true, ..fifth };
        assert_eq!(after_loss(&simulated, Cause::Reboot, true, 5).interruptions, 4);
    }

    #[test]
    fn seconds_read_well() {
        assert_eq!(seconds_text(2000), "2");
        assert_eq!(seconds_text(500), "0.5");
        assert_eq!(seconds_text(1050), "1.05");
    }
}
