//! The main thread: what comes from the others goes into the model, what the model asks for goes to them, and what changed is drawn.

use std::io::{self, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use batch_executor::client::Client;
use batch_executor::task::BatchId;
use batch_executor::time::wall_ms;
use nix::sys::signal::Signal;
use ratatui::crossterm::event::{Event, KeyEventKind};

use super::act::Ask;
use super::draw::{self, Places};
use super::follower::{self, Piece};
use super::hand::{self, Done, Errand};
use super::keys::intent;
use super::look::Look;
use super::model::page::{Page, TaskPage};
use super::model::{Model, News};
use super::source::Source;
use super::terminal::Taken;
use super::wires;
use crate::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::screen;

/// Between two drawings of what changed by itself; what the user does is drawn at once.
const FRAME: Duration = Duration::from_millis(250);
/// Between two drawings of what only the clock changes.
const TICK: Duration = Duration::from_secs(1);
/// What was looked for is looked for anew after so many times as long as it took.
const REST: i64 = 20;
/// Messages that wait at most: who has more waits.
const WAITING: usize = 256;

/// How it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// This batch alone.
    pub batch: Option<BatchId>,
    /// Whether clicks and the wheel are taken.
    pub mouse: bool,
}

/// What the other threads tell.
#[derive(Debug)]
pub enum Message {
    Input(Event),
    Signal(Signal),
    News(News),
    /// The batch that is shown alone is not there.
    NoBatch(String),
    Done(Done),
    /// A part of the log with this number.
    Log(u64, Piece),
    /// It cannot go on.
    Failed(Failure),
}

/// Shows the view until the user has seen enough.
///
/// # Errors
/// Without a terminal or a daemon, and what [`Failure`] says.
pub fn run(context: &Context, options: Options) -> Result<u8, Failure> {
    if context.json || !is_on_a_terminal() {
        return Err(Failure::usage("`top` draws on a terminal and there is none that can be drawn on")
            .hint("the same as text: batch-executor status --detailed"));
    }
    let mut client = context.client()?;
    client.connection()?;
    // Before the first thread is there, so that each has the signals blocked.
    let interrupt = Interrupt::install_with_job_control()?;
    let (to, messages) = mpsc::sync_channel(WAITING);
    wires::lay(interrupt, &to)?;
    let mut app = App::begin(context, client, options, to)?;
    let ended = app.show(&messages);
    drop(app);
    match ended? {
        None => Ok(exit::DONE),
        Some(signal) => Err(Failure::interrupted(signal, "batch-executor top")),
    }
}

/// Starts a thread. Without it the view would lie: a defect in it ends the view.
///
/// # Errors
/// When it cannot be started.
pub fn spawn(name: &'static str, to: &SyncSender<Message>, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let to = to.clone();
    let work = move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            let failure = Failure::new(exit::INTERNAL, format!("a defect in the thread `{name}` of `top`"));
            // Where nobody hears, the view has ended.
            let _ = to.send(Message::Failed(failure));
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Whether both the keys and the cells have one that can place a cursor.
fn is_on_a_terminal() -> bool {
    let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    !is_dumb && io::stdin().is_terminal() && screen::is_terminal()
}

struct App {
    model: Model,
    places: Places,
    look: Look,
    taken: Taken,
    to: SyncSender<Message>,
    errands: Sender<Errand>,
    batches: Sender<Option<BatchId>>,
    /// A byte in it wakes the source.
    wake: std::io::PipeWriter,
    /// To read a log with.
    own: Box<dyn Fn() -> Client>,
    /// The log that is read: its number, and what ends the reading when it is dropped.
    log: (u64, Option<OwnedFd>),
}

impl App {
    fn begin(context: &Context, client: Client, options: Options, to: SyncSender<Message>) -> Result<Self, Failure> {
        let home = context.home.clone();
        let own = Box::new(move || Client::new(home.clone(), None));
        let (woken, wake) = io::pipe()?;
        let (batches, told) = mpsc::channel();
        let source = Source::new(client, to.clone(), options.batch, told, woken.into());
        spawn("source", &to, move || source.run())?;
        let (errands, wanted) = mpsc::channel();
        let (hands, tell) = (own(), to.clone());
        spawn("hand", &to, move || hand::run(hands, &wanted, &tell))?;
        let model = Model { now: wall_ms(), batch: options.batch, ..Model::default() };
        let (look, taken) = (Look::of_environment(), Taken::take(options.mouse)?);
        Ok(Self { model, places: Places::default(), look, taken, to, errands, batches, wake, own, log: (0, None) })
    }

    /// Until the user quits; a signal ends it, too, and is given.
    fn show(&mut self, messages: &Receiver<Message>) -> Result<Option<Signal>, Failure> {
        let mut drawn = self.draw()?;
        let mut due: Option<Instant> = None;
        loop {
            let tick = self.model.ticks().then(|| drawn + TICK);
            let first = match [due, tick].into_iter().flatten().min() {
                Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            self.model.now = wall_ms();
            let first = match first {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => {
                    due = Some(Instant::now());
                    None
                }
                // The keys' thread holds on to its end.
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            };
            for message in first.into_iter().chain(messages.try_iter().take(WAITING)) {
                let soon = if matches!(message, Message::Input(_) | Message::Done(_)) {
                    Instant::now()
                } else {
                    drawn + FRAME
                };
                due = Some(due.map_or(soon, |due| due.min(soon)));
                match message {
                    Message::Signal(Signal::SIGTSTP) => self.taken.suspend()?,
                    Message::Signal(Signal::SIGCONT) => self.taken.come_back()?,
                    Message::Signal(signal) => return Ok(Some(signal)),
                    Message::Failed(failure) => return Err(failure),
                    message => {
                        if self.hear(message)? {
                            return Ok(None);
                        }
                    }
                }
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                drawn = self.draw()?;
                due = None;
            }
        }
    }

    fn draw(&mut self) -> Result<Instant, Failure> {
        let (model, places, look) = (&mut self.model, &mut self.places, self.look);
        self.taken.draw(|cells| *places = draw::draw(model, look, cells))?;
        Ok(Instant::now())
    }

    /// Takes a message in. True: the user quits.
    fn hear(&mut self, message: Message) -> Result<bool, Failure> {
        let ask = match message {
            Message::Input(event) => self.input(&event),
            Message::News(news) => self.model.hear(news),
            Message::NoBatch(said) => {
                (self.model.batch, self.model.notice) = (None, Some(said));
                None
            }
            Message::Done(done) => {
                self.done(done);
                None
            }
            Message::Log(number, piece) => {
                if number == self.log.0 {
                    self.model.read(piece);
                }
                None
            }
            Message::Signal(_) | Message::Failed(_) => None,
        };
        match ask {
            Some(ask) => self.carry_out(ask),
            None => Ok(false),
        }
    }

    fn input(&mut self, event: &Event) -> Option<Ask> {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                let intent = intent(key, self.model.mode())?;
                self.model.act(intent)
            }
            Event::Mouse(mouse) => self.places.mouse(*mouse, &mut self.model),
            Event::Paste(text) => {
                self.model.paste(text);
                None
            }
            _ => None,
        }
    }

    fn carry_out(&mut self, ask: Ask) -> Result<bool, Failure> {
        match ask {
            Ask::Quit => return Ok(true),
            Ask::Suspend => self.taken.suspend()?,
            Ask::Redraw => self.taken.redraw()?,
            Ask::Request(request) => self.errand(Errand::Request(request)),
            Ask::Show(id) => self.errand(Errand::Show(id)),
            Ask::Find(sought) => self.errand(Errand::Find(sought)),
            Ask::Batch(batch) => {
                // The source ends only with this thread.
                let _ = self.batches.send(batch);
                self.wake.write_all(b"b")?;
            }
            Ask::Follow(None) => self.log.1 = None,
            Ask::Follow(Some(id)) => {
                self.log.0 += 1;
                self.log.1 = Some(follower::follow((self.own)(), id, self.log.0, self.to.clone())?);
            }
        }
        Ok(false)
    }

    fn errand(&self, errand: Errand) {
        // The hand ends only with this thread.
        let _ = self.errands.send(errand);
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Said { text, failed } => {
                if failed {
                    self.model.cap = None;
                }
                self.model.notice = Some(text);
            }
            Done::Shown(id, shown) => {
                let page = self.model.pages.iter_mut().rev().find_map(|page| match page {
                    Page::Task(page) if page.task_id == id => Some(page),
                    _ => None,
                });
                let Some(page) = page else { return };
                match shown {
                    Ok(task) => {
                        **page = TaskPage { task: Some(*task), said: None, ..std::mem::replace(page, TaskPage::of(id)) }
                    }
                    Err(said) => page.said = Some(said),
                }
            }
            Done::Found { sought, found, took } => {
                let page = self.model.pages.iter_mut().find_map(|page| match page {
                    Page::Found(page) if page.sought == sought => Some(page),
                    _ => None,
                });
                let Some(page) = page else { return };
                page.rest = i64::try_from(took.as_millis()).unwrap_or(i64::MAX).saturating_mul(REST);
                match found {
                    Ok((tasks, total)) => (page.tasks, page.total, page.said) = (tasks, Some(total), None),
                    Err(said) => page.said = Some(said),
                }
            }
        }
    }
}
