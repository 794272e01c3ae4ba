//! The harness of the black-box tests: the real binary on a throw-away home, spoken to as a client would.
#![expect(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A home with its daemon. Dropped, nothing of it is left.
pub struct Daemon {
    root: tempfile::TempDir,
    child: Option<Child>,
    environment: Vec<(String, String)>,
    program: PathBuf,
}

impl Daemon {
    /// A home without a daemon.
    pub fn home_only() -> Self {
        let root = tempfile::Builder::new().prefix("bx-").tempdir().expect("a temporary folder");
        std::fs::create_dir(root.path().join("work")).expect("a folder");
        Self { root, child: None, environment: Vec::new(), program: env!("CARGO_BIN_EXE_batch-executor").into() }
    }

    /// A daemon that serves.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A daemon with variables in its environment.
    pub fn start_with(environment: &[(&str, &str)]) -> Self {
        let mut daemon = Self::home_with(environment);
        daemon.serve();
        daemon
    }

    /// A home without a daemon, with variables for the environment of all that is run on it.
    pub fn home_with(environment: &[(&str, &str)]) -> Self {
        let mut daemon = Self::home_only();
        daemon.environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        daemon
    }

    /// What is run from now on.
    pub fn use_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// Sets a variable for what is started from here on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Takes a variable out again.
    pub fn unset(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// Starts a daemon on the home and waits until it answers.
    pub fn serve(&mut self) {
        self.serve_by(&[]);
    }

    /// Starts a daemon on the home; waits until it answers, or gives the code with which it ended.
    pub fn serve_or_end(&mut self) -> Option<i32> {
        self.spawn(&[]);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().expect("a daemon").try_wait().expect("its state") {
                self.child = None;
                return Some(status.code().expect("no signal"));
            }
            if self.ask(&json!({"action": "functions"})).is_some() {
                return None;
            }
            assert!(begun.elapsed() < PATIENCE, "no daemon\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// As [`Self::serve`], run by another program, which becomes it.
    pub fn serve_by(&mut self, runner: &[&str]) {
        self.spawn_by(runner, &[]);
        self.answers();
    }

    /// Starts a daemon with more in its environment; it may die before it answers.
    pub fn spawn(&mut self, environment: &[(&str, &str)]) {
        self.spawn_by(&[], environment);
    }

    fn spawn_by(&mut self, runner: &[&str], environment: &[(&str, &str)]) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.root.path().join("daemon.err"))
            .expect("a log");
        let mut command = self.command(&["daemon"]);
        if let [program, arguments @ ..] = runner {
            let mut run_by = Command::new(program);
            run_by.args(arguments).arg(command.get_program()).args(command.get_args());
            let environment = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
            run_by.current_dir(self.work()).env_remove("BATCH_EXECUTOR_CONFIG").envs(environment);
            command = run_by;
        }
        command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("the daemon starts"));
    }

    /// Whether the daemon has died by itself.
    pub fn has_died(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().expect("a child").is_some())
    }

    /// Waits until a daemon answers: between two lives there is no socket, or one that nobody serves.
    pub fn answers(&self) -> Value {
        let begun = Instant::now();
        let request = json!({"action": "status"});
        loop {
            let line = UnixStream::connect(self.home().join("daemon.sock")).and_then(|mut stream| {
                writeln!(stream, "{request}")?;
                let mut line = String::new();
                BufReader::new(stream).read_line(&mut line).map(|_| line)
            });
            let answer = line.as_ref().ok().and_then(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(answer) = answer.filter(|answer| answer["ok"] == true) {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "no daemon: {line:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    pub fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.path().join("daemon.err")).unwrap_or_default()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.work())
            .env("BATCH_EXECUTOR_HOME", self.home())
            .env("XDG_CONFIG_HOME", self.root.path().join("config"))
            .env("NO_COLOR", "1")
            .env_remove("BATCH_EXECUTOR_CONFIG")
            .envs(self.environment.iter().map(|(n, v)| (n, v)));
        command
    }

    /// Runs the companion CLI.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("the program runs")
    }

    /// As [`Self::cli`], for a daemon that is to refuse: one that serves instead is ended, with another exit code.
    pub fn refusing(&self, arguments: &[&str]) -> Output {
        let command = self.command(arguments);
        let mut timed = Command::new("timeout");
        timed.args(["-k", "10", "20"]).arg(command.get_program()).args(command.get_args()).current_dir(self.work());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => timed.env(name, value),
                None => timed.env_remove(name),
            };
        }
        timed.stdin(Stdio::null()).output().expect("the program runs")
    }

    pub fn connect(&self) -> Client {
        let stream = UnixStream::connect(self.home().join("daemon.sock")).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Client { reader: BufReader::new(stream) }
    }

    /// One request to a daemon that may end before it answers.
    pub fn ask(&self, request: &Value) -> Option<Value> {
        ask(&self.home(), request)
    }

    /// One request, one response.
    pub fn call(&self, request: &Value) -> Value {
        let mut client = self.connect();
        let mut request = request.clone();
        request["cwd"] = json!(self.work());
        client.send(&request);
        client.receive()
    }

    /// The data of a request that must be accepted.
    pub fn ok(&self, request: Value) -> Value {
        let mut answer = self.call(&request);
        assert_eq!(answer["ok"], true, "{request}: {answer}\n{}", self.log());
        answer["data"].take()
    }

    /// Asks until `holds`.
    pub fn until(&self, request: &Value, mut holds: impl FnMut(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let data = self.ok(request.clone());
            if holds(&data) {
                return data;
            }
            assert!(begun.elapsed() < PATIENCE, "never: {data}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn running(&self, count: i64) -> Value {
        self.until(&json!({"action": "status"}), |data| data["counts"]["running"] == count)
    }

    /// Waits until nothing is left to do.
    pub fn wait(&self) -> Value {
        self.ok(json!({"action": "wait"}))
    }

    /// Runs tasks; gives them as `show` does.
    pub fn run(&self, tasks: &[Value]) -> Vec<Value> {
        let added = self.ok(json!({"action": "add_batch", "tasks": tasks}));
        assert_eq!(added["errors"], json!([]));
        self.ok(json!({"action": "start"}));
        self.wait();
        let ids = added["task_ids"].as_array().expect("ids");
        ids.iter().map(|id| self.ok(json!({"action": "show", "task_id": id}))).collect()
    }

    pub fn tasks(&self) -> Vec<Value> {
        let mut data = self.ok(json!({"action": "results"}));
        data["tasks"].as_array_mut().map(std::mem::take).expect("a list")
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().expect("a daemon").id()).expect("a pid")
    }

    pub fn keeper_pid(&self) -> i32 {
        let pid = self.ok(json!({"action": "health"}))["keeper_pid"].as_i64().expect("a keeper");
        i32::try_from(pid).expect("a pid")
    }

    /// SIGKILL, as the out-of-memory killer would.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("a daemon");
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }

    /// Waits for an end that nobody ordered; gives the exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        let mut child = self.child.take().expect("a daemon");
        loop {
            if let Some(status) = child.try_wait().expect("our child") {
                return status.code();
            }
            if begun.elapsed() > PATIENCE {
                drop(child.kill());
                panic!("it does not end: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGTERM; gives the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        signal(self.pid(), "TERM");
        let mut child = self.child.take().expect("a daemon");
        child.wait().expect("its end").code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.command(&["daemon", "stop", "--grace", "0"]).output());
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        // Where a test failed there may be no daemon, and a keeper that nobody tells to end.
        self.kill_keepers();
    }
}

impl Daemon {
    /// Kills the keepers of this home, also one that a daemon was just starting; gone when this returns.
    pub fn kill_keepers(&self) {
        while let Some(pid) = self.keepers().first() {
            drop(Command::new("kill").args(["-KILL", pid]).output());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The pids of keepers of this home.
    fn keepers(&self) -> Vec<String> {
        let home = self.home().display().to_string();
        let is_keeper = |pid: &String| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            words.contains(&b"keeper".as_slice()) && words.contains(&home.as_bytes())
        };
        let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        pids.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_keeper).collect()
    }
}

/// A raw connection.
pub struct Client {
    reader: BufReader<UnixStream>,
}

impl Client {
    pub fn stream(&self) -> &UnixStream {
        self.reader.get_ref()
    }

    pub fn send(&mut self, request: &Value) {
        self.send_bytes(format!("{request}\n").as_bytes());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("sent");
    }

    pub fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Ends the requests, not the answers.
    pub fn finish(&mut self) {
        self.reader.get_ref().shutdown(std::net::Shutdown::Write).expect("shut down");
    }
}

/// One request to the daemon of a home, which may end before it answers.
pub fn ask(home: &Path, request: &Value) -> Option<Value> {
    let mut stream = UnixStream::connect(home.join("daemon.sock")).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    writeln!(stream, "{request}").ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// Sends a signal by name.
pub fn signal(pid: i32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().expect("kill");
    assert!(status.success(), "kill -{name} {pid}");
}

/// Whether a process is stopped by a signal: its state is T (proc_pid_stat(5)).
pub fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    stat.rsplit_once(") ").expect("a name").1.starts_with('T')
}

/// Whether a process lives.
pub fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

/// Waits until something holds of which nobody tells.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A shell task.
pub fn shell(code: &str) -> Value {
    json!({"name": "shell", "function": "code_execution", "params": {"runtime": "terminal", "code": code},
           "max_retries": 0})
}

/// A task in Python.
pub fn python(code: &str) -> Value {
    json!({"name": "python", "function": "code_execution", "params": {"runtime": "python", "code": code},
           "max_retries": 0})
}
