//! The engine of batch-executor: a persistent job daemon with a SQLite queue.
//!
//! The rooms, in the order in which a task meets them:
//!
//! - [`task`]: the domain, without I/O: specifications, states, outcomes, the retry rule.
//! - `attempt`: an attempt on its way between queue, executor and backend.
//! - [`protocol`]: what crosses the socket: requests, responses, errors, framing.
//! - [`client`]: connect, start a daemon when none answers, call; all that `cli/` and the tests use.
//! - [`filter`]: which tasks are meant: the small language of `filter` and `sort`.
//! - [`secret`]: secrets by reference: where a value comes from, how it is read, how output is masked.
//! - [`config`], [`home`], [`time`], [`json`], [`version`]: the settings, the folder that the daemon owns, clocks,
//!   nesting, which program this is.
//! - [`cgroup`]: control groups of tasks, where the system delegates some.
//! - [`gate`]: conditions of the machine under which nothing starts.
//! - [`hooks`]: who is told when a batch ends, a task fails and so on, and how.
//! - [`tasks_file`]: files of tasks, cut into tasks as a stream.
//! - [`visible`]: text of others, made fit to be shown. `words`: the nearest known word. [`platform`]: what differs from one platform to the next.
//! - `server`: the socket: peer check, connections, dispatch of requests.
//! - `failpoint`: where tests end the process.
//! - `space`: the floor of free disk below which nothing new is begun.
//! - `queue`: the only code that knows SQL: one writer, many readers, claims, recovery.
//! - `executor`: run state and scheduling: decides what runs next, never how.
//! - `function`: what the named functions mean: checks at `add`, the process to start, the result to keep.
//! - `backend`: where attempts run: the local one, through the keeper.
//! - `output`: what an attempt wrote: the framed log, and the result made from it.
//! - `keeper`: the small process that owns the children and outlives the daemon.
//! - `export`: JSON, JSON Lines and CSV from a stream of rows.
//! - `command`: running an outside command for the daemon, bounded.
//! - `presence`: whether the home is still there. `defect`: what a panic does. `logging`: the daemon's log, `journal`: systemd's. `sys`: the
//!   only unsafe code of this library.
//! - `daemon`: wires the parts; lifetime and signals.
//!
//! Arrows go one way: `cli → client → protocol → task`, `server → executor → backend → keeper`,
//! `server, executor → queue → task`. `tests/arrows.rs` keeps them.

pub mod cgroup;
pub mod client;
pub mod config;
pub mod filter;
pub mod gate;
pub mod home;
pub mod hooks;
pub mod json;
pub mod platform;
pub mod protocol;
pub mod secret;
pub mod task;
pub mod tasks_file;
pub mod time;
pub mod version;
pub mod visible;
mod words;

#[cfg(feature = "daemon")]
pub mod attempt;
#[cfg(feature = "daemon")]
pub mod backend;
#[cfg(feature = "daemon")]
mod command;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
mod defect;
#[cfg(feature = "daemon")]
pub mod executor;
#[cfg(feature = "daemon")]
pub mod export;
#[cfg(feature = "daemon")]
pub mod failpoint;
#[cfg(feature = "daemon")]
pub mod function;
#[cfg(feature = "daemon")]
mod journal;
#[cfg(feature = "daemon")]
pub mod keeper;
#[cfg(feature = "daemon")]
pub mod logging;
#[cfg(feature = "daemon")]
pub mod output;
#[cfg(feature = "daemon")]
pub mod presence;
#[cfg(feature = "daemon")]
pub mod queue;
#[cfg(feature = "daemon")]
pub mod server;
pub mod space;
#[cfg(feature = "daemon")]
mod sys;
