//! The local backend: a connection to the keeper, found or started.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::verdict::judged;
use super::{BackendError, Found, Gone, Options, Signal, remains};
use crate::attempt::Attempt;
use crate::function::{self, Work};
use crate::home::Home;
use crate::keeper::protocol::{
    EndAnswer, FromKeeper, Inbox, KEEPER_PROTOCOL, Launch, LaunchProcess, LaunchWork, ToKeeper, Welcome, encode,
};
use crate::task::{ClaimId, Order};

/// The most attempts in one message.
const WAVE: usize = 64;
/// What one read of the keeper's messages takes at most.
const READ_AT_ONCE: usize = 64 * 1024;
/// The most events that are handed on together.
const GATHERED: usize = 1024;
/// A longer standard input goes by a file, in bytes.
const LONG_STDIN: usize = 100 * 1024;

/// An answer of the keeper to a numbered request.
enum Answer {
    Done,
    Claims(Vec<ClaimId>),
    Ending(Vec<(ClaimId, EndAnswer)>),
}

/// A connected keeper; cheap to clone.
#[derive(Clone)]
pub struct Local {
    options: Arc<Options>,
    to_keeper: mpsc::UnboundedSender<Vec<u8>>,
    answers: Arc<Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>>,
    next_request: Arc<AtomicU64>,
    /// The environments that this keeper was sent.
    sent: Arc<Mutex<BTreeSet<i64>>>,
    pub keeper_pid: u32,
}

impl Local {
    /// Finds the living keeper, or proves the old one's death and starts another.
    ///
    /// # Errors
    /// When no keeper can be had.
    pub async fn connect(
        options: Arc<Options>,
    ) -> Result<(Self, Found, mpsc::UnboundedReceiver<Signal>), BackendError> {
        let (keeper, left) = match Keeper::find(&options).await? {
            Some(keeper) => (keeper, None),
            None => {
                let left = start(&options).await?;
                let keeper = Keeper::greet(&options).await?.ok_or(BackendError::Io(io::ErrorKind::UnexpectedEof.into()))?;
                (keeper, Some(left))
            }
        };
        let Keeper { reading, writing, inbox, welcome } = keeper;
        let found = Found {
            adopted: left.is_none(),
            held: welcome.waiting.iter().chain(&welcome.running).chain(&welcome.ended).copied().collect(),
            had_process: left.unwrap_or_default(),
        };
        let (to_keeper, outgoing) = mpsc::unbounded_channel();
        // Unbounded, or an answer could wait behind events that nobody takes yet; the keeper starts nothing while
        // many of its ends are untaken, which bounds them.
        let (signals, received) = mpsc::unbounded_channel();
        let local = Self {
            options,
            to_keeper,
            answers: Arc::default(),
            next_request: Arc::new(AtomicU64::new(1)),
            sent: Arc::default(),
            keeper_pid: welcome.pid,
        };
        tokio::spawn(write(writing, outgoing));
        tokio::spawn(read(local.options.clone(), local.answers.clone(), reading, inbox, signals));
        Ok((local, found, received))
    }

    /// Hands attempts over, in order with everything else that is asked.
    pub fn launch(&self, attempts: Vec<Attempt>) {
        let context = function::Context {
            home: &self.options.home,
            functions: &self.options.functions,
            base_path: self.options.base_environment.get("PATH").map_or("", String::as_str),
        };
        let mut wave = Vec::with_capacity(WAVE.min(attempts.len()));
        for attempt in attempts {
            self.send_environment(&attempt);
            let work = function::prepare(&attempt, &context);
            wave.push(launch_of(&attempt, work, self.options.grace_ms, &self.options.home));
            if wave.len() == WAVE {
                self.send(&ToKeeper::Launch { wave: std::mem::take(&mut wave) });
            }
        }
        if !wave.is_empty() {
            self.send(&ToKeeper::Launch { wave });
        }
    }

    fn send_environment(&self, attempt: &Attempt) {
        let id = attempt.environment.id;
        if self.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            let mut variables = self.options.base_environment.clone();
            variables.extend(attempt.environment.variables.iter().map(|(n, v)| (n.clone(), v.clone())));
            self.send(&ToKeeper::Environment { id, variables });
        }
    }

    /// Sets how many attempts may have a slot, and how many of each function. Returns when it holds.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn set_caps(&self, cap: u32, functions: &BTreeMap<String, u32>) -> Result<(), Gone> {
        self.ask(|request| ToKeeper::Caps { request, cap, functions: functions.clone() }).await.map(drop)
    }

    /// Starts nothing more; gives back what had not started.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn hold(&self) -> Result<Vec<ClaimId>, Gone> {
        self.ask(|request| ToKeeper::Hold { request }).await.map(claims)
    }

    /// Starts again.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn resume(&self) -> Result<(), Gone> {
        self.ask(|request| ToKeeper::Resume { request }).await.map(drop)
    }

    /// Gives back those of the claims that have not started.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn take_back(&self, wanted: Vec<ClaimId>) -> Result<Vec<ClaimId>, Gone> {
        self.ask(|request| ToKeeper::TakeBack { request, claims: wanted }).await.map(claims)
    }

    /// Ends attempts; none: all that run. Every event from before an answer is on its way before the answer.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn end(
        &self,
        claims: Option<Vec<ClaimId>>,
        order: Order,
        grace_ms: i64,
    ) -> Result<Vec<(ClaimId, EndAnswer)>, Gone> {
        match self.ask(|request| ToKeeper::End { request, claims, order, grace_ms }).await? {
            Answer::Ending(answers) => Ok(answers),
            Answer::Done | Answer::Claims(_) => Ok(Vec::new()),
        }
    }

    /// From now on the attempt's output is in its file at once, and its growth is told.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn follow(&self, claim: ClaimId) -> Result<(), Gone> {
        self.ask(|request| ToKeeper::Follow { request, claim }).await.map(drop)
    }

    /// The reverse of [`Self::follow`]; the file stays.
    pub fn unfollow(&self, claim: ClaimId) {
        self.send(&ToKeeper::Unfollow { claim });
    }

    /// Every event up to this one is on the disk.
    pub fn taken(&self, upto: u64) {
        self.send(&ToKeeper::Taken { upto });
    }

    fn send(&self, message: &ToKeeper) {
        match encode(message) {
            // A keeper that is gone is told of by `Signal::Lost`.
            Ok(bytes) => drop(self.to_keeper.send(bytes)),
            Err(error) => tracing::error!(err = %error, "a message to the keeper cannot be encoded"),
        }
    }

    async fn ask(&self, message: impl FnOnce(u64) -> ToKeeper) -> Result<Answer, Gone> {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(request, reply);
        if self.to_keeper.is_closed() {
            return Err(Gone);
        }
        self.send(&message(request));
        answer.await.map_err(|_| Gone)
    }
}

fn claims(answer: Answer) -> Vec<ClaimId> {
    match answer {
        Answer::Claims(claims) => claims,
        Answer::Done | Answer::Ending(_) => Vec::new(),
    }
}

fn launch_of(attempt: &Attempt, work: Work, grace_ms: i64, home: &Home) -> Launch {
    let mut timeout_ms = attempt.timeout_ms;
    let work = match work {
        Work::Simulate { duration_ms, fails } => LaunchWork::Simulate { duration_ms, fails },
        Work::Unrunnable { error } => LaunchWork::Unrunnable { error },
        Work::Process(process) => {
            timeout_ms = [timeout_ms, process.timeout_ms].into_iter().flatten().min();
            let (stdin, stdin_file) = stdin_of(attempt, process.stdin, home);
            LaunchWork::Process(Box::new(LaunchProcess {
                program: process.program.display().to_string(),
                argv: process.argv,
                cwd: process.cwd.display().to_string(),
                environment: attempt.environment.id,
                variables: process.env,
                stdin,
                stdin_file,
                value_pipe: process.value_pipe,
                script: process.script.map(|path| path.display().to_string()),
            }))
        }
    };
    Launch {
        claim: attempt.claim,
        task_id: attempt.task_id,
        attempt: attempt.number,
        priority: attempt.priority,
        function: attempt.function.clone(),
        timeout_ms,
        grace_ms,
        work,
    }
}

/// What a process reads: in the message while it is short, else in a file, so that the keeper stays small.
fn stdin_of(attempt: &Attempt, stdin: Vec<u8>, home: &Home) -> (Vec<u8>, Option<String>) {
    if stdin.len() <= LONG_STDIN {
        return (stdin, None);
    }
    let path = home.run_dir().join(format!("{}-{}.stdin", attempt.task_id, attempt.number));
    let options = File::options().create(true).write(true).truncate(true).mode(0o600).open(&path);
    match options.and_then(|mut file| file.write_all(&stdin)) {
        Ok(()) => (Vec::new(), Some(path.display().to_string())),
        Err(error) => {
            tracing::warn!(path = %path.display(), err = %error, "a long standard input travels in memory");
            (stdin, None)
        }
    }
}

/// A living keeper that has said what it holds.
struct Keeper {
    reading: OwnedReadHalf,
    writing: OwnedWriteHalf,
    inbox: Inbox,
    welcome: Welcome,
}

impl Keeper {
    /// The living keeper, if there is one; of another version it replaces itself by this one first.
    async fn find(options: &Options) -> Result<Option<Self>, BackendError> {
        let Some(mut keeper) = Self::greet(options).await? else { return Ok(None) };
        if keeper.welcome.version == env!("CARGO_PKG_VERSION") {
            return Ok(Some(keeper));
        }
        let path = program_path(&options.program);
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
    async fn greet(options: &Options) -> Result<Option<Self>, BackendError> {
        let Ok(stream) = UnixStream::connect(options.home.keeper_socket()).await else { return Ok(None) };
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

/// Starts a keeper once the old one is proved dead and nothing of it is left; gives the claims that had a process.
async fn start(options: &Arc<Options>) -> Result<Vec<ClaimId>, BackendError> {
    let home = options.home.clone();
    let had_process = tokio::task::spawn_blocking(move || remains::clear(&home))
        .await
        .map_err(|error| BackendError::Io(io::Error::other(error)))??;
    let program = program_path(&options.program);
    let mut child = tokio::process::Command::new(&program)
        .arg("keeper")
        .arg("--home")
        .arg(options.home.root())
        .arg("--log-cap-bytes")
        .arg(options.log_cap_bytes.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| BackendError::Start { program: program.clone(), error })?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).await?;
    }
    if line.as_bytes() != crate::keeper::READY {
        let status = child.wait().await?;
        return Err(BackendError::NotServing { status: status.to_string() });
    }
    // Reaped whenever it leaves while this daemon lives.
    tokio::spawn(async move { child.wait().await });
    Ok(had_process)
}

/// On Termux from the Play store the kernel runs a linker, and the variable has the program's path.
fn program_path(program: &std::path::Path) -> PathBuf {
    std::env::var_os("TERMUX_EXEC__PROC_SELF_EXE").map_or_else(|| program.to_owned(), PathBuf::from)
}

async fn write(mut writing: OwnedWriteHalf, mut outgoing: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(bytes) = outgoing.recv().await {
        if writing.write_all(&bytes).await.is_err() {
            break;
        }
    }
}

/// Reads until the keeper is gone; everything in its order.
async fn read(
    options: Arc<Options>,
    answers: Arc<Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>>,
    mut reading: OwnedReadHalf,
    mut inbox: Inbox,
    signals: mpsc::UnboundedSender<Signal>,
) {
    let mut events = Vec::new();
    let mut upto = 0;
    loop {
        let answer = match inbox.take::<FromKeeper>() {
            Ok(Some(FromKeeper::Event { seq, event })) => {
                upto = seq;
                events.push(judged(&options, event));
                if events.len() < GATHERED {
                    continue;
                }
                None
            }
            Ok(Some(FromKeeper::Done { request })) => Some((request, Answer::Done)),
            Ok(Some(FromKeeper::Yielded { request, claims })) => Some((request, Answer::Claims(claims))),
            Ok(Some(FromKeeper::Ending { request, answers })) => Some((request, Answer::Ending(answers))),
            Ok(Some(FromKeeper::Grew { claim })) => {
                // Nobody may be listening any more.
                drop(signals.send(Signal::Grew { claim }));
                continue;
            }
            Ok(Some(FromKeeper::Welcome(_) | FromKeeper::Refused { .. })) => continue,
            Ok(None) => None,
            Err(error) => {
                tracing::error!(err = %error, "the keeper sent what is no message");
                break;
            }
        };
        if !events.is_empty() {
            let gathered = Signal::Events { upto, events: std::mem::take(&mut events) };
            if signals.send(gathered).is_err() {
                break;
            }
        }
        match answer {
            Some((request, answer)) => {
                let waiting = answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&request);
                if let Some(waiting) = waiting {
                    // Who asked may have gone.
                    drop(waiting.send(answer));
                }
            }
            None => {
                let space = inbox.space();
                space.reserve(READ_AT_ONCE);
                match reading.read_buf(space).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        }
    }
    answers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    drop(signals.send(Signal::Lost));
}
