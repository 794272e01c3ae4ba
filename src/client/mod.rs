//! The client's side of the socket: connect, start a daemon when none answers, call.
//!
//! All that `cli/` and the tests use. Blocking, without a runtime: a client is one conversation.
//! Nothing here knows a command line, a table or an exit code.

mod connection;
mod error;
pub mod process;
mod session;
mod start;

pub use connection::{Answer, Connection, Received, Until};
pub use error::ClientError;
pub use session::Client;
pub use start::{Starter, passed_environment, spawn_unblocked};
