//! The listening socket: bound under the daemon's lock, served until the daemon ends.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
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
    let permits = Arc::new(Semaphore::new(service.settings.max_connections as usize));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Before all else: who comes now is for the daemon that follows.
            biased;
            () = service.ends() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => admit(stream, &permits, &service, &mut connections),
                Err(error) => {
                    tracing::warn!(err = %error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn admit(stream: UnixStream, permits: &Arc<Semaphore>, service: &Shared, connections: &mut JoinSet<()>) {
    let peer = stream.peer_cred();
    let own = peer.as_ref().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw());
    let refusal = if own {
        match permits.clone().try_acquire_owned() {
            Ok(permit) => {
                let pid = peer.ok().and_then(|peer| peer.pid());
                let connection = Connection::new(stream, pid, service.clone());
                connections.spawn(async move {
                    connection.run().await;
                    drop(permit);
                });
                return;
            }
            Err(_) => Refusal::new(ErrorCode::Busy, "too many connections; try again"),
        }
    } else {
        Refusal::invalid("this daemon serves its own user only").with(json!({"reason": "not_allowed"}))
    };
    connections.spawn(async move {
        // The peer may be gone already.
        drop(tokio::time::timeout(TURNED_AWAY, turn_away(stream, refusal)).await);
    });
}

/// Says why, then reads what the client has sent: closed with that unread, it could lose the answer.
async fn turn_away(mut stream: UnixStream, refusal: Refusal) -> io::Result<()> {
    stream.write_all(&super::connection::line(&super::connection::refused(None, None, refusal))).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}
