//! The service manager that started the daemon, if one did: the socket that it listens on for it (`sd_listen_fds(3)`), and what
//! it is told (`sd_notify(3)`): that the daemon serves, how the queue stands, that it is alive. Tasks see none of its variables
//! (`backend`).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

use crate::home::{Home, Place};
use crate::server::Service;
use crate::sys;

/// The least time between two words on how the queue stands.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// What an end may take beyond the grace of the tasks.
const LAST_STEPS: Duration = Duration::from_secs(10);

/// The home's socket, where the service manager listens on it.
///
/// # Errors
/// When what it hands over is not the home's socket alone.
pub(super) fn socket(home: &Home) -> io::Result<Option<OwnedFd>> {
    let mut handed_over = sd_notify::listen_fds()?;
    let count = handed_over.len();
    let Some(fd) = handed_over.next() else { return Ok(None) };
    let fd = sys::adopt(fd)?;
    let listener = std::os::unix::net::UnixListener::from(fd);
    let address = listener.local_addr()?;
    let at = address.as_pathname().map(Place::of).transpose()?;
    let own = Place::of(&home.socket()).ok();
    if count != 1 || !at.zip(own).is_some_and(|(at, own)| at.is_same(&own)) {
        let said = format!(
            "the service manager hands over {count} sockets, the first at {address:?}; it must be one, at `{}`",
            home.socket().display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, said));
    }
    listener.set_nonblocking(true)?;
    Ok(Some(listener.into()))
}

/// Whether it listens on the socket, also for the program before this one in the same process: then the socket stays when the
/// daemon ends.
pub(super) fn has_the_socket() -> bool {
    let is = |name: &str, holds: fn(u32) -> bool| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).is_some_and(holds)
    };
    is("LISTEN_PID", |pid| pid == std::process::id()) && is("LISTEN_FDS", |count| count > 0)
}

/// The daemon serves.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The program now installed takes over; it will say that it is ready.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(err = %error, "the service manager is not told that the daemon is replaced"),
    }
}

/// The daemon ends; what runs has its grace.
pub(super) fn stopping(grace: Duration) {
    let most = u32::try_from((grace + LAST_STEPS).as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(most)]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Nothing where there is none.
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(err = %error, "the service manager cannot be told");
    }
}

/// Tells how the queue stands and that the daemon lives, for as long as it is polled; nothing where nobody listens.
pub(super) async fn keep_informed(service: Arc<Service>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    tokio::join!(stand(&service), live(&service));
}

async fn stand(service: &Service) {
    let mut commits = service.queue.commits();
    let mut last = String::new();
    loop {
        let text = {
            let snapshot = commits.borrow_and_update();
            let c = snapshot.tally.counts();
            let (completed, failed) = (c.completed, c.failed);
            format!(
                "{}: {} queued, {} running, {completed} completed, {failed} failed",
                snapshot.run.state, c.queued, c.running
            )
        };
        if text != last {
            tell(&[NotifyState::Status(&text)]);
            last = text;
        }
        let told = Instant::now();
        if commits.changed().await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep_until(told + STATUS_EVERY).await;
    }
}

/// Twice in the time that the manager allows, when the executor and the queue's writer have answered: not from a timer that would
/// go on when they hang. That they refuse (a full disk) is an answer, too.
async fn live(service: &Service) {
    let Some(allowed) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        drop(service.executor.nudge().await);
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(allowed / 2).await;
    }
}
