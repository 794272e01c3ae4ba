//! `start`, `stop`, `shutdown`.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{Reply, tasks};
use crate::executor::ExecutorError;
use crate::platform;
use crate::protocol::{ErrorCode, Refusal, Shutdown, Start, Started, Stop, StopAnswer, milliseconds};
use crate::queue::ops::control::{self, StartOutcome};
use crate::queue::state::State;
use crate::server::{Ending, Shared};
use crate::task::RunState;
use crate::time::rfc3339;

pub(super) async fn start(service: &Shared, request: &Start) -> Result<Reply, Refusal> {
    let operation = control::Start {
        max_concurrent: request.max_concurrent,
        timeout_ms: request.timeout.map(|timeout| timeout.map(milliseconds)),
        keep: request.keep,
        default_cap: Some(platform::default_max_concurrent()),
        max_failures: request.max_failures,
    };
    let outcome = service.executor.run(operation).await?;
    let snapshot = service.queue.snapshot();
    let run = &snapshot.run;
    let data = Started {
        started: matches!(outcome, StartOutcome::Started { .. }),
        state: run.state,
        queued: snapshot.tally.queued(),
        max_concurrent: run.max_concurrent,
        deadline: run.deadline.map(|at| rfc3339(service.queue.clock().wall_of(at))),
    };
    let (message, warnings) = match outcome {
        // Not what the snapshot has: some may have ended since.
        StartOutcome::Started { open } => {
            let text =
                format!("running: {} to do, at most {} at once. See `status`.", tasks(open), data.max_concurrent);
            (text, Vec::new())
        }
        StartOutcome::Changed => (
            format!("it runs already; the given settings hold now: at most {} at once.", data.max_concurrent),
            Vec::new(),
        ),
        StartOutcome::NothingToRun => (
            "there is nothing to run; still stopped. Add tasks first, or start with `keep`.".to_owned(),
            vec!["the queue is empty: nothing was started".to_owned()],
        ),
    };
    let paused = (run.paused.is_some() && data.state == RunState::Running)
        .then(|| "the executor is paused: nothing starts before `resume`".to_owned());
    Ok(Reply::new(message, &data)?.warn(warnings.into_iter().chain(paused).collect()))
}

pub(super) async fn stop(service: &Shared, request: &Stop) -> Result<Reply, Refusal> {
    service.executor.stop(request.graceful).await?;
    if request.wait {
        let mut commits = service.queue.commits();
        tokio::select! {
            _ = commits.wait_for(|s| s.run.state != RunState::Stopping || s.tally.in_state(State::Running) == 0) => {}
            () = service.ends() => return Err(ExecutorError::ShuttingDown.into()),
        }
    }
    let snapshot = service.queue.snapshot();
    let counts = snapshot.tally.counts();
    let data = StopAnswer {
        state: snapshot.run.state,
        running: counts.running,
        completed: counts.completed,
        failed: counts.failed,
        queued: counts.queued,
    };
    let message = match data.state {
        RunState::Stopped => format!("stopped; {} queued. `start` goes on.", tasks(data.queued)),
        RunState::Running | RunState::Stopping => {
            format!(
                "stopping; {} still running, {} queued. `wait` or `status` tells when.",
                tasks(data.running),
                data.queued
            )
        }
    };
    Reply::new(message, &data)
}

/// As SIGUSR2: whoever hears it looks first whether what is now installed can take over.
pub(super) async fn restart(service: &Shared) -> Result<Reply, Refusal> {
    let mut ending = service.ending.subscribe();
    kill(Pid::this(), Signal::SIGUSR2)
        .map_err(|error| Refusal::new(ErrorCode::Internal, format!("the daemon cannot signal itself: {error}")))?;
    // The sender lives as long as this service.
    drop(ending.changed().await);
    match *ending.borrow_and_update() {
        Some(Ending::Replace) => {
            let message = "the daemon is being replaced by the program now installed; running tasks go on.";
            Reply::new(message, &json!({ "pid": std::process::id() }))
        }
        Some(Ending::Stop { .. }) => Err(ExecutorError::ShuttingDown.into()),
        None => {
            let why = service.not_replaced.borrow().clone();
            Err(Refusal::conflict(format!("the daemon stays as it is: what is now installed cannot take over: {why}")))
        }
    }
}

pub(super) fn shutdown(service: &Shared, request: &Shutdown) -> Result<Reply, Refusal> {
    let snapshot = service.queue.snapshot();
    let running = snapshot.tally.in_state(State::Running);
    let now = match running {
        0 => "nothing was running".to_owned(),
        1 => "1 running task goes back to the queue, no retry used".to_owned(),
        several => format!("{several} running tasks go back to the queue, no retry used"),
    };
    let next = match snapshot.run.state {
        RunState::Stopped => {
            "The next command starts the daemon again, and the executor goes on as it is: stopped (what `stop` does)."
        }
        RunState::Running | RunState::Stopping => {
            "The next command starts the daemon again, and the executor goes on; to prevent that, `stop` first."
        }
    };
    service.ending.send_replace(Some(Ending::Stop { grace_ms: request.grace.map(milliseconds) }));
    Reply::new(format!("the daemon ends; {now}. {next}"), &json!({ "pid": std::process::id(), "running": running }))
}
