//! The listening socket: bound under the daemon's lock, served until the daemon ends.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Shared;
use super::connection::Connection;
use crate::home::Home;
use crate::protocol::{ErrorCode, Refusal};

/// How long a client that is turned away may take to read why.
const TURNED_AWAY: Duration = Duration::from_secs(1);
/// After an error of `accept` (no descriptors left) before the next try.
const PAUSE: Duration = Duration::from_millis(100);
/// How many places are for processes that have none, of the default of `max_connections`.
const RESERVED: usize = 16;
/// How many who are turned away are heard to the end at once.
const ON_THE_DOORSTEP: usize = 64;

/// Binds the daemon's socket, mode 0600. Only under the daemon's lock: whoever left one there is dead.
///
/// # Errors
/// When the socket cannot be made.
pub fn bind(home: &Home) -> io::Result<UnixListener> {
    let path = home.socket();
    let new = home.root().join("daemon.new");
    for old in [&path, &new] {
        match std::fs::remove_file(old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let said = format!("`{}` is in the way of the socket and cannot be removed: {error}", old.display());
                return Err(io::Error::new(error.kind(), said));
            }
            _ => {}
        }
    }
    // Named only when its mode is right: the home is 0700, and this keeps the promise without it.
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&new, &path)?;
    Ok(listener)
}

/// Serves until the service is ending and every request under way was answered.
pub async fn serve(listener: UnixListener, service: Shared) {
    let places = Places::new(service.settings.max_connections as usize);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Before all else: who comes now is for the daemon that follows. Then those who left, who make room.
            biased;
            () = service.ends() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => admit(stream, &places, &service, &mut connections),
                Err(error) => {
                    tracing::warn!(err = %error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn admit(stream: UnixStream, places: &Places, service: &Shared, connections: &mut JoinSet<()>) {
    let peer = stream.peer_cred();
    let own = peer.as_ref().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw());
    let pid = peer.ok().and_then(|peer| peer.pid());
    let refusal = if !own {
        Refusal::invalid("this daemon serves its own user only").with(json!({"reason": "not_allowed"}))
    } else if let Some(place) = places.take(pid) {
        let connection = Connection::new(stream, pid, service.clone());
        connections.spawn(async move {
            connection.run().await;
            drop(place);
        });
        return;
    } else {
        let most = places.most;
        Refusal::new(
            ErrorCode::Busy,
            format!("all {most} connections are taken (setting max_connections); close some, or try again"),
        )
    };
    turn_away(stream, &refusal, places, connections);
}

/// Says why. Who is still sending is heard to the end, lest the answer be lost on it; of very many at once, some are not.
fn turn_away(stream: UnixStream, refusal: &Refusal, places: &Places, connections: &mut JoinSet<()>) {
    let line = super::connection::line(&super::connection::refused(None, None, refusal.clone()));
    let Ok(mut stream) = stream.into_std() else { return };
    // A new socket takes it at once; the peer may be gone already.
    if stream.write_all(&line).and_then(|()| stream.shutdown(Shutdown::Write)).is_err() {
        return;
    }
    let Ok(patience) = places.doorstep.clone().try_acquire_owned() else { return };
    let Ok(mut stream) = UnixStream::from_std(stream) else { return };
    connections.spawn(async move {
        drop(tokio::time::timeout(TURNED_AWAY, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await);
        drop(patience);
    });
}

/// The connections that there may be at once.
struct Places {
    most: usize,
    /// The last ones are for processes that have none: a program that leaks connections does not shut its user out.
    reserved: usize,
    taken: Arc<Mutex<Taken>>,
    /// For those who are turned away.
    doorstep: Arc<Semaphore>,
}

/// How many, and how many of each process.
#[derive(Default)]
struct Taken {
    all: usize,
    by_process: BTreeMap<Option<i32>, usize>,
}

/// One of the places; free again when dropped.
struct Place {
    pid: Option<i32>,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    fn new(most: usize) -> Self {
        let doorstep = Arc::new(Semaphore::new(ON_THE_DOORSTEP));
        Self { most, reserved: RESERVED.min(most / 4), taken: Arc::default(), doorstep }
    }

    fn take(&self, pid: Option<i32>) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.most - taken.all;
        let has_one = pid.is_none() || taken.by_process.contains_key(&pid);
        if free == 0 || (has_one && free <= self.reserved) {
            return None;
        }
        taken.all += 1;
        *taken.by_process.entry(pid).or_default() += 1;
        Some(Place { pid, taken: self.taken.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Entry::Occupied(mut count) = taken.by_process.entry(self.pid) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_places_are_for_processes_that_have_none() {
        let places = Places::new(8);
        let mut held: Vec<_> = std::iter::from_fn(|| places.take(Some(1))).collect();
        assert_eq!(held.len(), 6);
        held.extend(places.take(Some(2)));
        assert!(places.take(Some(2)).is_none() && places.take(None).is_none());
        held.extend(places.take(Some(3)));
        assert_eq!(held.len(), 8);
        assert!(places.take(Some(4)).is_none());
        held.clear();
        assert!(places.take(Some(1)).is_some() && places.taken.lock().expect("a lock").by_process.is_empty());
    }

    #[test]
    fn of_a_few_none_is_kept_back() {
        let places = Places::new(3);
        assert_eq!(std::iter::from_fn(|| places.take(Some(1))).collect::<Vec<_>>().len(), 3);
    }
}
