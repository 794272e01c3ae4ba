//! The keeper by itself, spoken to as the daemon does: what it keeps, and what it becomes.

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use batch_executor::keeper::protocol::{
    FromKeeper, How, Inbox, KEEPER_PROTOCOL, KeeperEnd, KeeperEvent, Launch, LaunchProcess, LaunchWork, ToKeeper,
    Welcome, encode,
};
use batch_executor::secret::{Source, Wanted};
use batch_executor::task::{Limits, Order, Prepared, Priority};
use support::{lives, until};

/// The longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A home with a keeper; the test is its daemon.
struct Keeper {
    folder: tempfile::TempDir,
    pid: i32,
}

/// A connection to it.
struct Connection {
    stream: UnixStream,
    inbox: Inbox,
    welcome: Welcome,
}

impl Keeper {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("bx-").tempdir().expect("a folder");
        for inner in ["output", "run"] {
            std::fs::create_dir_all(folder.path().join("home").join(inner)).expect("a folder");
        }
        let mut keeper = Self { folder, pid: 0 };
        keeper.serve();
        keeper
    }

    fn serve(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_batch-executor"))
            .args(["keeper", "--home"])
            .arg(self.home())
            .args(["--patience-ms", "300"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the keeper starts");
        let mut ready = [0; 6];
        child.stdout.take().expect("its output").read_exact(&mut ready).expect("ready");
        assert_eq!(&ready, b"ready\n");
        self.pid = i32::try_from(child.id()).expect("a pid");
        // Reaped when it leaves, so that it can be seen to be gone.
        std::thread::spawn(move || child.wait());
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn connect(&self) -> Connection {
        let stream = UnixStream::connect(self.home().join("keeper.sock")).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut connection = Connection { stream, inbox: Inbox::default(), welcome: Welcome::default() };
        connection.send(&ToKeeper::Hello { protocol: KEEPER_PROTOCOL });
        match connection.receive() {
            Some(FromKeeper::Welcome(welcome)) => connection.welcome = welcome,
            other => panic!("no welcome: {other:?}"),
        }
        connection
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // It may have left.
        drop(Command::new("kill").args(["-KILL", &self.pid.to_string()]).stderr(Stdio::null()).status());
    }
}

impl Connection {
    fn send(&mut self, message: &ToKeeper) {
        self.stream.write_all(&encode(message).expect("bytes")).expect("sent");
    }

    fn receive(&mut self) -> Option<FromKeeper> {
        loop {
            if let Some(message) = self.inbox.take().expect("a message") {
                return Some(message);
            }
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk).expect("bytes") {
                0 => return None,
                length => self.inbox.space().extend(&chunk[..length]),
            }
        }
    }

    /// Lets attempts start, so many at once.
    fn open(&mut self, cap: u32) {
        self.send(&ToKeeper::Caps { request: 1, cap, functions: [].into() });
        self.send(&ToKeeper::Resume { request: 2 });
    }

    fn launch(&mut self, claim: i64, code: &str) {
        self.launch_with(claim, code, Vec::new());
    }

    fn launch_with(&mut self, claim: i64, code: &str, secrets: Vec<Wanted>) {
        let process = LaunchProcess {
            program: "/bin/sh".to_owned(),
            argv: ["sh", "-c", code].map(str::to_owned).to_vec(),
            cwd: "/".to_owned(),
            environment: 0,
            variables: vec![("PATH".to_owned(), std::env::var("PATH").expect("PATH"))],
            stdin: Vec::new(),
            stdin_file: None,
            value_pipe: false,
            script: None,
            secrets,
            limits: Limits::default(),
            prepared: None,
        };
        self.launch_process(claim, process);
    }

    fn launch_process(&mut self, claim: i64, process: LaunchProcess) {
        self.send(&ToKeeper::Launch {
            wave: vec![Launch {
                claim,
                task_id: claim,
                attempt: 1,
                priority: Priority::Medium,
                function: "command".to_owned(),
                timeout_ms: None,
                grace_ms: 1000,
                work: LaunchWork::Process(Box::new(process)),
            }],
        });
    }

    /// The next event, and its number.
    fn event(&mut self) -> (u64, KeeperEvent) {
        loop {
            if let FromKeeper::Event { seq, event } = self.receive().expect("an event") {
                return (seq, event);
            }
        }
    }

    fn started(&mut self) {
        assert!(matches!(self.event().1, KeeperEvent::Started { .. }));
    }

    fn ended(&mut self) -> (u64, KeeperEnd) {
        loop {
            if let (seq, KeeperEvent::Ended(end)) = self.event() {
                return (seq, *end);
            }
        }
    }
}

fn exit_code(end: &KeeperEnd) -> Option<i32> {
    match end.how {
        How::Process { exit_code, .. } => exit_code,
        _ => None,
    }
}

/// The text of frames: `[stream][length][payload]`.
fn text(frames: &[u8]) -> String {
    let mut rest = frames;
    let mut text = String::new();
    while let Some((header, more)) = rest.split_first_chunk::<5>() {
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        text.push_str(std::str::from_utf8(&more[..length]).expect("text"));
        rest = &more[length..];
    }
    text
}

#[test]
fn it_becomes_another_program_under_running_tasks() {
    let keeper = Keeper::start();
    let gate = keeper.folder.path().join("gate");
    let wait = format!("while [ ! -e {} ]; do sleep 0.01; done", gate.display());
    let mut first = keeper.connect();
    first.open(2);
    first.launch(1, &format!("echo before; {wait}; echo after; exit 7"));
    first.started();
    first.launch(2, "echo short");
    let (_, short) = first.ended();
    assert_eq!((short.claim, text(&short.frames).as_str()), (2, "short\n"));
    first.launch(3, "sleep 1000");
    first.started();
    first.launch(4, "echo waits for a slot");
    first.send(&ToKeeper::Become { path: env!("CARGO_BIN_EXE_batch-executor").into() });
    while first.receive().is_some() {}

    let mut second = keeper.connect();
    let welcome = &second.welcome;
    assert_eq!(welcome.pid.cast_signed(), keeper.pid, "the same process");
    assert_eq!(
        (&welcome.waiting[..], &welcome.running[..], &welcome.ended[..]),
        (&[4][..], &[1, 3][..], &[2][..]),
        "it knows what it knew"
    );
    assert_eq!(second.ended().1.claim, 2, "an end that nobody took is told again");
    second.open(2);
    std::fs::write(&gate, "").expect("the gate opens");
    let (_, end) = second.ended();
    assert_eq!((end.claim, exit_code(&end), text(&end.frames).as_str()), (1, Some(7), "before\nafter\n"));
    let (_, waited) = second.ended();
    assert_eq!((waited.claim, text(&waited.frames).as_str()), (4, "waits for a slot\n"));
    second.send(&ToKeeper::End { request: 3, claims: Some(vec![3]), order: Order::Cancel, grace_ms: 0 });
    let (seq, cancelled) = second.ended();
    assert_eq!((cancelled.claim, cancelled.order), (3, Some(Order::Cancel)), "it is the parent still");
    second.send(&ToKeeper::Taken { upto: seq });
    drop(second);
    until("it leaves", || !lives(keeper.pid));
}

#[test]
fn it_becomes_another_program_under_a_worker_with_a_task() {
    let keeper = Keeper::start();
    let gate = keeper.folder.path().join("gate");
    let code = format!(
        "while read line; do while [ ! -e {} ]; do sleep 0.01; done; echo '{{\"result\": 5}}'; done",
        gate.display()
    );
    let mut first = keeper.connect();
    first.open(1);
    let worker = LaunchProcess {
        program: "/bin/sh".to_owned(),
        argv: ["sh".to_owned(), "-c".to_owned(), code].to_vec(),
        cwd: "/".to_owned(),
        stdin: b"{}\n".to_vec(),
        variables: vec![("PATH".to_owned(), std::env::var("PATH").expect("PATH"))],
        prepared: Some(Prepared::Worker),
        ..LaunchProcess::default()
    };
    first.launch_process(1, worker);
    first.started();
    first.send(&ToKeeper::Become { path: env!("CARGO_BIN_EXE_batch-executor").into() });
    while first.receive().is_some() {}

    let mut second = keeper.connect();
    assert_eq!(second.welcome.running, [1], "it works on");
    std::fs::write(&gate, "").expect("the gate opens");
    let (seq, end) = second.ended();
    assert!(matches!(end.how, How::Answered), "{:?}", end.how);
    assert_eq!(text(&end.frames), "{\"result\": 5}", "its answer");
    second.send(&ToKeeper::Taken { upto: seq });
    drop(second);
    until("it leaves", || !lives(keeper.pid));
}

/// A task in Node.js that may run in a process that was started ahead.
fn ahead(code: &str) -> LaunchProcess {
    let path = std::env::var("PATH").expect("PATH");
    let program = std::env::split_paths(&path).map(|folder| folder.join("node")).find(|node| node.exists());
    LaunchProcess {
        program: program.expect("Node.js").display().to_string(),
        argv: ["node", "-e", code].map(str::to_owned).to_vec(),
        cwd: "/".to_owned(),
        variables: vec![("PATH".to_owned(), path)],
        prepared: Some(Prepared::Ahead),
        ..LaunchProcess::default()
    }
}

#[test]
fn it_becomes_another_program_under_a_task_that_was_started_ahead() {
    let keeper = Keeper::start();
    let gate = keeper.folder.path().join("gate");
    let list = format!("/proc/{0}/task/{0}/children", keeper.pid);
    let ahead_now = |call: &str| {
        let children = std::fs::read_to_string(&list).unwrap_or_default();
        let of = |pid: &str, what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
        let is_ours = |pid: &&str| of(pid, "cmdline").contains("started ahead") && of(pid, "wchan").contains(call);
        children.split_whitespace().filter(is_ours).count()
    };
    let mut first = keeper.connect();
    first.open(2);
    let mut claim = 0;
    // Cold, until one is ready.
    let tell = "console.log(require('fs').readFileSync('/proc/self/cmdline', 'utf8').includes('started ' + 'ahead'))";
    loop {
        claim += 1;
        first.launch_process(claim, ahead(tell));
        if text(&first.ended().1.frames) == "true\n" {
            break;
        }
    }
    let wait = "(function look() { fs.existsSync(GATE) ? console.log('after') : setTimeout(look, 10) })()";
    let wait = wait.replace("GATE", &format!("{:?}", gate.display().to_string()));
    let begun = keeper.folder.path().join("begun");
    let escape = "require('child_process').execSync('setsid -f sleep 1000 > /dev/null 2>&1'); console.log('before');";
    let escape = format!("{escape} fs.writeFileSync({:?}, '');", begun.display().to_string());
    let held = claim + 1;
    until("one waits", || ahead_now("unix_stream") > 0);
    // What it has said before is read before what comes after.
    first.launch(held + 1, "true");
    while first.ended().1.claim != held + 1 {}
    first.launch_process(held, ahead(&format!("{tell}; {escape} {wait}")));
    first.started();
    until("it runs", || begun.exists());
    first.send(&ToKeeper::Become { path: env!("CARGO_BIN_EXE_batch-executor").into() });
    while first.receive().is_some() {}

    let mut second = keeper.connect();
    assert_eq!(second.welcome.running, [held], "it runs on");
    until("those without a task are gone", || ahead_now("") <= 1);
    second.open(2);
    second.launch(held + 2, "true");
    while second.ended().1.claim != held + 2 {}
    std::fs::write(&gate, "").expect("the gate opens");
    let (seq, end) = second.ended();
    let all = text(&end.frames);
    assert_eq!((end.claim, exit_code(&end)), (held, Some(0)), "{all}");
    assert_eq!(all, "true\nbefore\nafter\n");
    second.send(&ToKeeper::Taken { upto: seq });
    drop(second);
    until("it leaves", || !lives(keeper.pid));
}

#[test]
fn what_it_cannot_become_it_says_and_stays_what_it_is() {
    let keeper = Keeper::start();
    let mut connection = keeper.connect();
    connection.open(1);
    connection.send(&ToKeeper::Become { path: "/nowhere/batch-executor".into() });
    let error = loop {
        if let FromKeeper::Refused { error } = connection.receive().expect("an answer") {
            break error;
        }
    };
    assert!(error.contains("/nowhere/batch-executor"), "{error}");
    connection.launch(1, "echo still here");
    assert_eq!(text(&connection.ended().1.frames), "still here\n");
}

#[test]
fn the_end_of_a_task_does_not_wait_for_what_escaped_and_writes_on() {
    let keeper = Keeper::start();
    let pid = keeper.folder.path().join("pid");
    let mut connection = keeper.connect();
    connection.open(1);
    connection.launch(
        1,
        &format!("setsid sh -c 'echo $$ > {p}; exec yes' & while [ ! -s {p} ]; do sleep 0.01; done", p = pid.display()),
    );
    let (_, end) = connection.ended();
    assert_eq!(exit_code(&end), Some(0));
    let escaped: i32 = std::fs::read_to_string(pid).expect("its pid").trim().parse().expect("a number");
    until("nothing is left behind", || !lives(escaped));
}

#[test]
fn ends_that_nobody_took_are_there_for_the_next_keeper() {
    let mut keeper = Keeper::start();
    let mut connection = keeper.connect();
    connection.open(1);
    connection.launch(1, "echo kept; exit 3");
    connection.started();
    connection.ended();
    drop(connection);
    // It waits for the next daemon before it leaves.
    until("it leaves", || !lives(keeper.pid));
    keeper.serve();
    let mut connection = keeper.connect();
    assert_eq!(connection.welcome.ended, [1]);
    let (seq, end) = connection.ended();
    assert_eq!((exit_code(&end), text(&end.frames).as_str()), (Some(3), "kept\n"));
    let file = keeper.home().join("keeper.ends");
    assert!(file.exists(), "kept until it is taken");
    connection.send(&ToKeeper::Taken { upto: seq });
    until("the file is gone", || !file.exists());
}

/// What a command writes, in the variable `TOKEN`.
fn secret(command: &str) -> Vec<Wanted> {
    let argv = ["sh", "-c", command].map(str::to_owned).to_vec();
    let source = Source::Command { argv, timeout_ms: 60_000 };
    vec![Wanted { variable: "TOKEN".to_owned(), name: "token".to_owned(), source }]
}

#[test]
fn a_secret_is_masked_by_what_it_becomes_and_is_not_among_the_stored_ends() {
    let mut keeper = Keeper::start();
    let gate = |name: &str| keeper.folder.path().join(name);
    let wait = |name: &str| format!("while [ ! -e {} ]; do sleep 0.01; done", gate(name).display());
    let mut first = keeper.connect();
    first.open(2);
    // One has written half of the value, the other's is being read.
    let half =
        format!("printf before-s3cr; touch {}; {}; echo 3t-after; echo $TOKEN", gate("half").display(), wait("go"));
    first.launch_with(1, &half, secret("echo s3cr3t"));
    first.started();
    let reading = format!("touch {}; {}; echo s3cr3t", gate("reading").display(), wait("go"));
    first.launch_with(2, "echo it is $TOKEN", secret(&reading));
    first.started();
    until("both are midway", || gate("half").exists() && gate("reading").exists());
    first.send(&ToKeeper::Become { path: env!("CARGO_BIN_EXE_batch-executor").into() });
    while first.receive().is_some() {}
    let mut second = keeper.connect();
    assert_eq!(second.welcome.running, [1, 2]);
    std::fs::write(gate("go"), "").expect("the gate opens");
    let mut ends: Vec<_> = [second.ended().1, second.ended().1].map(|end| (end.claim, text(&end.frames))).into();
    ends.sort();
    assert_eq!(ends, [(1, "before-***-after\n***\n".to_owned()), (2, "it is ***\n".to_owned())]);
    drop(second);
    until("it leaves", || !lives(keeper.pid));
    let stored = std::fs::read(keeper.home().join("keeper.ends")).expect("the ends");
    assert!(!stored.windows(6).any(|part| part == b"s3cr3t"));
    keeper.serve();
    assert_eq!(keeper.connect().welcome.ended, [1, 2]);
}

#[test]
fn an_order_that_comes_while_a_secret_is_read_ends_the_attempt() {
    let keeper = Keeper::start();
    let ran = keeper.folder.path().join("ran");
    let reads = keeper.folder.path().join("reads");
    let mut connection = keeper.connect();
    connection.open(1);
    // What gives the value handles the order and exits 0.
    let command = format!("trap 'echo s3cr3t; exit 0' TERM; touch {}; sleep 1000 & wait", reads.display());
    connection.launch_with(1, &format!("touch {}", ran.display()), secret(&command));
    connection.started();
    until("it is read", || reads.exists());
    connection.send(&ToKeeper::End { request: 3, claims: None, order: Order::Stop, grace_ms: 60_000 });
    let (_, end) = connection.ended();
    assert!(matches!(&end.how, How::NotRun { .. }) && end.order == Some(Order::Stop), "{end:?}");
    assert!(!ran.exists());
}

#[test]
fn alone_with_a_running_task_it_sleeps() {
    let keeper = Keeper::start();
    let mut connection = keeper.connect();
    connection.open(1);
    connection.launch(1, "sleep 1000");
    connection.started();
    drop(connection);
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", keeper.pid)).expect("its status");
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).expect("a line");
        line.split_whitespace().nth(1).and_then(|count| count.parse::<u64>().ok()).expect("a number")
    };
    // Nothing can be waited for where nothing is to happen: past its patience with absent daemons it once woke a
    // thousand times a second.
    std::thread::sleep(Duration::from_millis(400));
    let before = switches();
    std::thread::sleep(Duration::from_millis(600));
    assert!(switches() - before < 10, "it polls");
}
