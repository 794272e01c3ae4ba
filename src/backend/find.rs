//! Finding the living keeper, or starting one.

use std::io;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::{BackendError, Options, remains};
use crate::keeper::protocol::{FromKeeper, Inbox, KEEPER_PROTOCOL, ToKeeper, Welcome, encode};
use crate::version::VERSION;

/// A living keeper that has said what it holds.
pub(super) struct Keeper {
    pub reading: OwnedReadHalf,
    pub writing: OwnedWriteHalf,
    pub inbox: Inbox,
    pub welcome: Welcome,
}

impl Keeper {
    /// The living keeper, if there is one; of another version it replaces itself by this one first.
    pub(super) async fn find(options: &Options) -> Result<Option<Self>, BackendError> {
        let Some(mut keeper) = Self::greet(options).await? else { return Ok(None) };
        if keeper.welcome.version == VERSION && keeper.welcome.protocol == KEEPER_PROTOCOL {
            return Ok(Some(keeper));
        }
        let path = options.program.clone();
        keeper.writing.write_all(&encode(&ToKeeper::Become { path })?).await?;
        match keeper.next().await? {
            None => Self::greet(options).await,
            Some(answer) => {
                tracing::warn!(version = keeper.welcome.version, ?answer, "the keeper stays of another version");
                Ok(Some(keeper))
            }
        }
    }

    /// Connects; none if nobody is there, or it is about to leave and says nothing.
    pub(super) async fn greet(options: &Options) -> Result<Option<Self>, BackendError> {
        let Ok(stream) = UnixStream::connect(options.home.keeper_socket()).await else { return Ok(None) };
        let keeper = stream.peer_cred()?.uid();
        if keeper != nix::unistd::geteuid().as_raw() {
            return Err(BackendError::Foreign { uid: keeper });
        }
        let (reading, mut writing) = stream.into_split();
        if writing.write_all(&encode(&ToKeeper::Hello { protocol: KEEPER_PROTOCOL })?).await.is_err() {
            return Ok(None);
        }
        let welcome = Welcome::default();
        let mut keeper = Self { reading, writing, inbox: Inbox::default(), welcome };
        loop {
            match keeper.next().await? {
                None => return Ok(None),
                Some(FromKeeper::Welcome(welcome)) if welcome.protocol > KEEPER_PROTOCOL => {
                    return Err(BackendError::NewerKeeper { version: welcome.version });
                }
                Some(FromKeeper::Welcome(welcome)) => {
                    keeper.welcome = welcome;
                    return Ok(Some(keeper));
                }
                Some(_) => {}
            }
        }
    }

    /// The next message; none when the keeper has closed the connection.
    async fn next(&mut self) -> Result<Option<FromKeeper>, BackendError> {
        loop {
            if let Some(message) = self.inbox.take()? {
                return Ok(Some(message));
            }
            match self.reading.read_buf(self.inbox.space()).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Starts a keeper once the old one is proved dead and nothing of it is left.
pub(super) async fn start(options: &Arc<Options>) -> Result<(), BackendError> {
    let home = options.home.clone();
    tokio::task::spawn_blocking(move || remains::clear(&home))
        .await
        .map_err(|error| BackendError::Io(io::Error::other(error)))??;
    let mut child = tokio::process::Command::new(&options.program)
        .arg("keeper")
        .arg("--home")
        .arg(options.home.root())
        .arg("--log-cap-bytes")
        .arg(options.log_cap_bytes.to_string())
        .arg("--floor-bytes")
        .arg(options.floor_bytes.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| BackendError::Start { program: options.program.clone(), error })?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).await?;
    }
    if line.as_bytes() != crate::keeper::READY {
        let status = child.wait().await?;
        return Err(BackendError::NotServing { said: line.trim_end().to_owned(), status });
    }
    // Reaped whenever it leaves while this daemon lives.
    tokio::spawn(async move { child.wait().await });
    Ok(())
}
