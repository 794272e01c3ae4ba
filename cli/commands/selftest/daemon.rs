//! A throw-away daemon: started, asked and killed. It is spoken to as any client would.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use batch_executor::client::process::Identity;
use batch_executor::client::{ClientError, Connection, Received, Until, spawn_unblocked};
use batch_executor::home::Home;
use batch_executor::protocol::{Health, Response};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::report::Seen;
use super::stage::{PATIENCE, Stage};

/// How long an ending keeper may take to leave.
const LEAVING: Duration = Duration::from_secs(5);

/// A home with its daemon. Dropped, nothing of it runs any more.
pub(super) struct Daemon<'s> {
    stage: &'s Stage,
    home: Home,
    /// What is put before the program: words that start it in a world of its own.
    wrap: Vec<String>,
    /// It has a mount namespace of its own, and its socket is seen through `/proc/PID/root`.
    apart: bool,
    child: Option<Child>,
    connection: Option<Connection>,
    daemon: Option<Identity>,
    keeper: Option<Identity>,
}

impl<'s> Daemon<'s> {
    /// A daemon that serves a new home of this name.
    ///
    /// # Errors
    /// What was seen instead.
    pub(super) fn start(stage: &'s Stage, name: &str) -> Result<Self, Seen> {
        let mut daemon = Self::without(stage, name)?;
        daemon.serve()?;
        Ok(daemon)
    }

    /// A new home, and nobody there yet.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn without(stage: &'s Stage, name: &str) -> Result<Self, Seen> {
        let path = stage.folder().join(name);
        let home = Home::at(&path).map_err(|error| Seen::NotTestable(error.to_string()))?;
        let daemon = Self {
            stage,
            home,
            wrap: Vec::new(),
            apart: false,
            child: None,
            connection: None,
            daemon: None,
            keeper: None,
        };
        for folder in [&path, &daemon.work()] {
            std::fs::DirBuilder::new()
                .mode(0o700)
                .create(folder)
                .map_err(|error| Seen::Broken(format!("cannot make `{}`: {error}", folder.display())))?;
        }
        Ok(daemon)
    }

    /// From the next start on, these words come before the program.
    pub(super) fn wrapped(&mut self, words: &[&str], apart: bool) {
        self.wrap = words.iter().map(|word| (*word).to_owned()).collect();
        self.apart = apart;
    }

    pub(super) fn home(&self) -> &Path {
        self.home.root()
    }

    /// The working directory of its tasks.
    pub(super) fn work(&self) -> PathBuf {
        self.home.root().with_extension("work")
    }

    /// A file that its tasks write; empty before they do.
    pub(super) fn written(&self, name: &str) -> String {
        std::fs::read_to_string(self.work().join(name)).unwrap_or_default()
    }

    /// The daemon's process, to be looked into.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts the program on the home and waits until it serves.
    ///
    /// # Errors
    /// What it said when it ended instead.
    pub(super) fn serve(&mut self) -> Result<(), Seen> {
        let log = self.home.root().with_extension("err");
        let file = File::options().create(true).append(true).open(&log);
        let file = file.map_err(|error| Seen::Broken(format!("cannot write `{}`: {error}", log.display())))?;
        let said_before = file.metadata().map_or(0, |meta| meta.len());
        let mut words = self.wrap.iter().map(std::ffi::OsStr::new).chain([self.stage.program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args(["daemon", "--home"]).arg(self.home.root()).arg("--config").arg(self.stage.config());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"BATCH_EXECUTOR"))
        {
            command.env_remove(name);
        }
        command.current_dir(self.stage.folder()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = spawn_unblocked(&mut command).map_err(|error| {
            Seen::Broken(format!("cannot start `{}`: {error}", command.get_program().to_string_lossy()))
        })?;
        let pid = self.child.insert(child).id();
        let reach = if self.apart { seen_through(pid, &self.home)? } else { self.home.clone() };
        let begun = Instant::now();
        while !self.answers(&reach, pid)? {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                self.child = None;
                let said = std::fs::read(&log).unwrap_or_default();
                let said = said.get(usize::try_from(said_before).unwrap_or(0)..).unwrap_or_default();
                let said = String::from_utf8_lossy(said);
                return Err(Seen::Broken(format!("the daemon ended instead of serving ({status}): {}", said.trim())));
            }
            if begun.elapsed() > PATIENCE {
                return Err(Seen::Broken(format!("the daemon did not serve within {} s", PATIENCE.as_secs())));
            }
            self.stage.pause(Duration::from_millis(2))?;
        }
        self.find_keeper()
    }

    /// Connects, if somebody answers. One that was killed just now may still seem to listen: a child that it was about
    /// to start has its socket until then.
    fn answers(&mut self, reach: &Home, pid: u32) -> Result<bool, Seen> {
        match Connection::connect(reach) {
            Ok(connection) => {
                self.daemon = Identity::of(connection.peer_pid().unwrap_or(pid));
                self.connection = Some(connection);
            }
            Err(ClientError::Unreachable { .. }) => return Ok(false),
            Err(error) => return Err(broken(&error)),
        }
        Ok(self.send(json!({"action": "status"})) && self.receive(Instant::now() + PATIENCE)?.is_some())
    }

    /// Asks who keeps the tasks now; waits while a keeper is being replaced.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn find_keeper(&mut self) -> Result<(), Seen> {
        let begun = Instant::now();
        loop {
            let keeper = self.health()?.keeper_pid.and_then(Identity::of);
            if keeper.is_some() {
                self.keeper = keeper;
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(Seen::Broken(format!("no keeper within {} s", PATIENCE.as_secs())));
            }
            self.stage.pause(Duration::from_millis(5))?;
        }
    }

    /// What `doctor` asks.
    ///
    /// # Errors
    /// A refusal, or an answer that is none.
    pub(super) fn health(&mut self) -> Result<Health, Seen> {
        let health = self.ask(json!({"action": "health"}))?;
        serde_json::from_value(health).map_err(|error| Seen::Broken(format!("`health` is not understood: {error}")))
    }

    /// SIGKILL to the daemon.
    ///
    /// # Errors
    /// When it had ended before, by itself.
    pub(super) fn kill(&mut self) -> Result<(), Seen> {
        self.connection = None;
        if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
            self.child = None;
            return Err(Seen::Broken(format!("the daemon ended by itself ({status})")));
        }
        send_kill(self.daemon);
        if let Some(mut child) = self.child.take() {
            // It may be a wrapper's: what was killed is the daemon itself.
            drop(child.wait());
        }
        Ok(())
    }

    /// SIGKILL to the keeper.
    pub(super) fn kill_keeper(&self) {
        send_kill(self.keeper);
        while self.keeper.is_some_and(Identity::lives) {
            std::thread::yield_now();
        }
    }

    /// The connection is lost or gives no answer: why.
    pub(super) fn lost(&mut self) -> Seen {
        let status = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        Seen::Broken(match status {
            Some(status) => format!("the daemon ended by itself ({status})"),
            None => "the daemon closed the connection or gave no answer".to_owned(),
        })
    }

    /// Sends one request; false: the connection is lost.
    pub(super) fn send(&mut self, mut request: Value) -> bool {
        request["cwd"] = json!(self.work());
        self.connection.as_mut().is_some_and(|connection| connection.send(&request).is_ok())
    }

    /// The next answer; none: the connection is lost, or it is not there until then.
    ///
    /// # Errors
    /// The user ended it; an answer that is none.
    pub(super) fn receive(&mut self, until: Instant) -> Result<Option<Response>, Seen> {
        let wakes = [self.stage.interrupt.wake()];
        let until = Until { deadline: Some(until), wakes: &wakes };
        let Some(connection) = self.connection.as_mut() else { return Ok(None) };
        match connection.receive_until(until) {
            Ok(Received::Answer(answer)) => Ok(Some(answer.response)),
            Ok(Received::TimedOut) => Ok(None),
            Ok(Received::Woken) => self.stage.not_interrupted().map(|()| None),
            Err(ClientError::Lost(_)) => {
                self.connection = None;
                Ok(None)
            }
            Err(error) => Err(broken(&error)),
        }
    }

    /// The data of a request that must be accepted.
    ///
    /// # Errors
    /// A refusal, or no answer.
    pub(super) fn ask(&mut self, request: Value) -> Result<Value, Seen> {
        let answer = self.answer(&request)?;
        if answer.ok {
            return Ok(answer.data.unwrap_or_default());
        }
        Err(Seen::Broken(format!(
            "`{}` was refused: {}",
            request["action"].as_str().unwrap_or_default(),
            answer.message
        )))
    }

    /// The answer to a request, whatever it says.
    ///
    /// # Errors
    /// No answer.
    pub(super) fn answer(&mut self, request: &Value) -> Result<Response, Seen> {
        if !self.send(request.clone()) {
            return Err(self.lost());
        }
        match self.receive(Instant::now() + PATIENCE)? {
            Some(answer) => Ok(answer),
            None => Err(self.lost()),
        }
    }

    /// How the daemon ended by itself, once it does.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn ended(&mut self) -> Result<Option<i32>, Seen> {
        let Some(mut child) = self.child.take() else { return Ok(None) };
        self.connection = None;
        let status = self.stage.until("the daemon did not end", || child.try_wait().ok().flatten())?;
        Ok(status.code())
    }

    /// Waits until all tasks have ended; gives the counts.
    ///
    /// # Errors
    /// When they have not in time.
    pub(super) fn wait(&mut self) -> Result<Value, Seen> {
        Ok(self.ask(json!({"action": "wait", "timeout": PATIENCE.as_secs() - 5}))?["counts"].take())
    }

    /// Tasks with every attempt.
    ///
    /// # Errors
    /// When they cannot be had.
    pub(super) fn tasks(&mut self) -> Result<Vec<Value>, Seen> {
        let file = self.work().join("export.json");
        self.ask(json!({"action": "export", "output_file": file, "attempts": true, "overwrite": true}))?;
        let exported =
            std::fs::read(&file).map_err(|error| Seen::Broken(format!("the export is not there: {error}")))?;
        let exported: Result<Value, _> = serde_json::from_slice(&exported);
        match exported.map(|mut exported| exported["tasks"].take()) {
            Ok(Value::Array(tasks)) => Ok(tasks),
            other => Err(Seen::Broken(format!("the export is no list of tasks: {other:?}"))),
        }
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if self.connection.is_some() && self.send(json!({"action": "shutdown", "grace": 0})) {
            let give_up = Instant::now() + LEAVING;
            while self.daemon.is_some_and(Identity::lives) && Instant::now() < give_up {
                if let Some(Ok(Some(_))) = self.child.as_mut().map(Child::try_wait) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if self.daemon.is_some_and(Identity::lives) {
            send_kill(self.daemon);
        }
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        let give_up = Instant::now() + LEAVING;
        while self.keeper.is_some_and(Identity::lives) {
            if Instant::now() > give_up {
                // What it ran goes with it.
                self.kill_keeper();
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// SIGKILL, unless the pid is somebody else's by now.
fn send_kill(process: Option<Identity>) {
    if let Some(pid) = process.filter(|process| process.lives()).and_then(|process| i32::try_from(process.pid()).ok()) {
        // Gone already: that is what was wanted.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

fn seen_through(pid: u32, home: &Home) -> Result<Home, Seen> {
    let inside = home.root().strip_prefix("/").unwrap_or(home.root());
    Home::at(&Path::new("/proc").join(pid.to_string()).join("root").join(inside))
        .map_err(|error| Seen::NotTestable(error.to_string()))
}

fn broken(error: &ClientError) -> Seen {
    Seen::Broken(error.to_string())
}
