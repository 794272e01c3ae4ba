//! Running a command of the user's or of the system's for the daemon: bounded in time and in what is kept of its words; nothing
//! that it has started is left.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

/// How long a command may take where nobody says otherwise. Termux's ask an Android app, which may have to be started.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long what it has written is read after it has ended.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// What is kept of the end of each stream, in bytes.
const KEPT: usize = 64 * 1024;

/// What a command came to.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Ended {
    /// The last line that it said, on standard error before standard output; of at most `most` characters, without controls.
    pub fn last_line(&self, most: usize) -> Option<String> {
        let said = [&self.stderr, &self.stdout].map(|said| String::from_utf8_lossy(said).into_owned());
        let last = said.iter().find_map(|said| said.lines().rev().find(|line| !line.trim().is_empty()))?;
        Some(last.trim().chars().filter(|c| !c.is_control()).take(most).collect())
    }
}

/// Where commands run, and with what environment.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    pub cwd: &'p Path,
    pub environment: &'p BTreeMap<String, String>,
}

impl Place<'_> {
    /// What a program of the system writes to its stdout; none where there is no such program, or it fails.
    pub async fn said(self, argv: &[&str]) -> Option<String> {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let ended = self.run(&argv, b"", PATIENCE).await.ok()?;
        ended.status.success().then(|| String::from_utf8_lossy(&ended.stdout).into_owned())
    }

    /// The same, as JSON.
    pub async fn asked<T: DeserializeOwned>(self, argv: &[&str]) -> Option<T> {
        serde_json::from_str(&self.said(argv).await?).ok()
    }

    /// Runs a command to its end, with `input` on its standard input.
    ///
    /// # Errors
    /// When it cannot be started, or takes longer than `patience`: it is killed then.
    pub async fn run(self, argv: &[String], input: &[u8], patience: Duration) -> io::Result<Ended> {
        let [program, arguments @ ..] = argv else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.cwd)
            .env_clear()
            .envs(self.environment)
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn()?;
        let group = Group(child.id().and_then(|pid| i32::try_from(pid).ok()));
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = {
            let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let talking = async {
                tokio::join!(feed(stdin, input), keep_end(out, &mut stdout), keep_end(err, &mut stderr));
                std::future::pending::<()>().await;
            };
            tokio::pin!(talking);
            let ended = tokio::select! {
                ended = timeout(patience, child.wait()) => ended,
                () = &mut talking => return Err(io::ErrorKind::Other.into()),
            };
            drop(group);
            let Ok(status) = ended else {
                drop(child.wait().await);
                let what = format!("it took more than {} s", patience.as_secs_f64());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            };
            drop(timeout(LAST_WORDS, talking).await);
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

/// Writes all of it, and closes the pipe. A command need not read what it is given.
async fn feed(pipe: Option<impl AsyncWriteExt + Unpin>, input: &[u8]) {
    if let Some(mut pipe) = pipe {
        drop(pipe.write_all(input).await);
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
