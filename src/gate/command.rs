//! Running a gate's command, and those of the system that are asked: bounded in time and in what is kept of their words; nothing that
//! they have started is left.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

/// How long a command may take. Termux's ask an Android app, which may have to be started.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what it has written is read after it has ended.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// What is kept of the end of each stream, in bytes.
const KEPT: usize = 64 * 1024;

/// What a command came to.
pub(super) struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Where commands run, and with what environment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p> {
    pub cwd: &'p Path,
    pub environment: &'p BTreeMap<String, String>,
}

impl Place<'_> {
    /// What a program of the system writes to its stdout; none where there is no such program, or it fails.
    pub(super) async fn said(self, argv: &[&str]) -> Option<String> {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let ended = self.run(&argv).await.ok()?;
        ended.status.success().then(|| String::from_utf8_lossy(&ended.stdout).into_owned())
    }

    /// The same, as JSON.
    pub(super) async fn asked<T: DeserializeOwned>(self, argv: &[&str]) -> Option<T> {
        serde_json::from_str(&self.said(argv).await?).ok()
    }

    /// Runs a command to its end.
    pub(super) async fn run(self, argv: &[String]) -> io::Result<Ended> {
        let [program, arguments @ ..] = argv else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.cwd)
            .env_clear()
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn()?;
        let group = Group(child.id().and_then(|pid| i32::try_from(pid).ok()));
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = {
            let (out, err) = (child.stdout.take(), child.stderr.take());
            let reading = async {
                tokio::join!(keep_end(out, &mut stdout), keep_end(err, &mut stderr));
                std::future::pending::<()>().await;
            };
            tokio::pin!(reading);
            let ended = tokio::select! {
                ended = timeout(PATIENCE, child.wait()) => ended,
                () = &mut reading => return Err(io::ErrorKind::Other.into()),
            };
            drop(group);
            let Ok(status) = ended else {
                drop(child.wait().await);
                return Err(io::Error::other(format!("it took more than {} s", PATIENCE.as_secs())));
            };
            drop(timeout(LAST_WORDS, reading).await);
            status?
        };
        Ok(Ended { status, stdout, stderr })
    }
}

/// A process group, which ends with this.
struct Group(Option<i32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // ESRCH: nothing of it is left.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Reads to the end, and keeps no more than [`KEPT`].
async fn keep_end(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut part = vec![0; 8 * 1024];
    while let Ok(length @ 1..) = pipe.read(&mut part).await {
        kept.extend_from_slice(&part[..length]);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }
}
