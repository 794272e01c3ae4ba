//! What crosses the socket, used by both sides: requests, responses, errors.
//!
//! One JSON object per line each way (`docs/protocol.md`). The structs here are the one description
//! of it: the client builds requests from them, the daemon parses into them (`parse`), and
//! answers are made of `response`'s. Nothing here knows the queue or a process.

mod error;
mod fields;
mod health;
mod hooks;
mod parse;
mod request;
mod response;
pub mod schema;
mod spec;
mod watch;

pub use error::{ErrorCode, Refusal};
pub use fields::task_ref;
pub use health::Health;
pub use hooks::{HookDelivery, HookInfo, HooksData, HooksRequest};
pub use parse::{AUTO_KEY, MAX_REQUEST_KEY_BYTES, Parsed, Unparsed, parse_line};
pub use request::*;
pub use response::*;
pub use spec::{milliseconds, parse_spec};
pub use watch::{Event, Gap, Happened, TaskList, Watch, WatchData, Whose};

/// The revision of this protocol; `status` says it. Raised when an older client or daemon could
/// misread the other.
pub const PROTOCOL: u32 = 1;
