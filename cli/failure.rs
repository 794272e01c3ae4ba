//! How a command fails: what is said, and with which exit code.

use std::io;

use batch_executor::client::{Answer, ClientError};
use batch_executor::config::ConfigError;
use batch_executor::home::HomeError;
use batch_executor::protocol::{ErrorCode, Refusal, Response};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::exit;

/// What to do about a daemon that does not know what this program knows.
const OLDER: &str = "the daemon is older than this program: batch-executor daemon restart";

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The daemon's refusal.
    Refused(Box<Answer>),
    /// No answer.
    Client(ClientError),
    /// The program's own: a file that cannot be read, a timeout, an interruption.
    Own(Box<Own>),
    /// Nobody reads our output any more; not an error.
    OutputClosed,
}

/// A failure of the program's own.
#[derive(Debug)]
pub struct Own {
    pub exit: u8,
    pub message: String,
    /// What to do about it: an exact command where there is one.
    pub hint: Option<String>,
    /// For programs.
    pub details: Value,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: u8, message: impl Into<String>) -> Self {
        Self::Own(Box::new(Own { exit, message: message.into(), hint: None, details: json!({}) }))
    }

    /// A value on the command line that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message)
    }

    /// A file of the user's that cannot be read or written.
    pub fn file(doing: &str, path: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        let exit = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => exit::REFUSED,
            io::ErrorKind::PermissionDenied => exit::NOT_ALLOWED,
            _ => exit::STORAGE,
        };
        Self::new(exit, format!("cannot {doing} `{path}`: {error}"))
    }

    /// An answer whose data are not what this version expects.
    pub fn unexpected(action: &str, error: &serde_json::Error) -> Self {
        Self::new(exit::VERSION, format!("the daemon's answer to `{action}` is not understood: {error}"))
            .hint("the daemon may be of another version: batch-executor daemon restart")
    }

    /// A daemon that knows less than this program and ignored a part of the request.
    pub fn ignored(warning: &str) -> Self {
        Self::new(exit::VERSION, format!("the daemon did a part only: {warning}")).hint(OLDER)
    }

    /// The client was told to end by a signal.
    pub fn interrupted(signal: Signal, look: &str) -> Self {
        let exit = if signal == Signal::SIGTERM { exit::TERMINATED } else { exit::INTERRUPTED };
        Self::new(exit, "interrupted; the tasks go on without this command")
            .hint(format!("look at them with: {look}"))
            .details(json!({"reason": "interrupted", "signal": signal.as_str()}))
    }

    /// The same failure with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Own(own) = &mut self {
            own.hint = Some(hint.into());
        }
        self
    }

    /// The same failure with details for a program.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        if let Self::Own(own) = &mut self {
            own.details = details;
        }
        self
    }

    /// The exit code.
    pub fn exit(&self) -> u8 {
        match self {
            // The commands send only what this version knows; `call` does not come through here.
            Self::Refused(answer) if is_unknown_action(&answer.response) => exit::VERSION,
            Self::Refused(answer) => exit::of_response(&answer.response),
            Self::Client(error) => exit::of_client_error(error),
            Self::Own(own) => own.exit,
            Self::OutputClosed => exit::DONE,
        }
    }

    /// What is said to a person: the message, and what to do.
    pub fn text(&self) -> (String, Option<String>) {
        match self {
            Self::Refused(answer) => {
                let hint = is_unknown_action(&answer.response).then(|| OLDER.to_owned());
                (answer.response.message.clone(), hint)
            }
            Self::Client(error) => (error.to_string(), client_hint(error)),
            Self::Own(own) => (own.message.clone(), own.hint.clone()),
            Self::OutputClosed => (String::new(), None),
        }
    }

    /// The response object for `--json`: the daemon's own line, or one made here.
    pub fn json(&self) -> String {
        match self {
            Self::Refused(answer) if !is_unknown_action(&answer.response) => return answer.line.clone(),
            _ => {}
        }
        let (message, hint) = self.text();
        let mut details = match self {
            Self::Refused(answer) => answer.response.error.as_ref().map_or(json!({}), |error| error.details.clone()),
            Self::Own(own) if own.details.is_object() => own.details.clone(),
            _ => json!({}),
        };
        if let Some(fields) = details.as_object_mut() {
            fields.insert("exit_code".to_owned(), json!(self.exit()));
            fields.extend(hint.map(|hint| ("hint".to_owned(), json!(hint))));
        }
        let refusal = Refusal { code: self.code(), message: message.clone(), details };
        let response =
            Response { ok: false, id: None, action: None, message, data: None, warnings: None, error: Some(refusal) };
        serde_json::to_string(&response).unwrap_or_else(|_| r#"{"ok":false}"#.to_owned())
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(answer) => answer.response.error.as_ref().map_or(ErrorCode::Internal, |error| error.code),
            _ => exit::nearest_code(self.exit()),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(exit::CONFIG, error.to_string())
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        let exit = match &error {
            HomeError::NotOurs { .. } => exit::NOT_ALLOWED,
            HomeError::Create { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => exit::NOT_ALLOWED,
            HomeError::Create { error, .. }
                if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) =>
            {
                exit::CONFIG
            }
            HomeError::Create { .. } => exit::STORAGE,
            _ => exit::CONFIG,
        };
        Self::new(exit, error.to_string())
    }
}

/// A failed write to standard output, the only writing that commands leave to `?`.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::file("write", "standard output", &error)
    }
}

fn is_unknown_action(response: &Response) -> bool {
    response.error.as_ref().is_some_and(|refusal| refusal.code == ErrorCode::UnknownAction)
}

fn client_hint(error: &ClientError) -> Option<String> {
    match error {
        ClientError::StartFailed { hint, .. } => hint.clone(),
        ClientError::Unreachable { .. } => Some("start one with: batch-executor daemon".to_owned()),
        ClientError::NotAllowed { .. } => {
            Some("only the user whose home it is may use it; choose another with --home".to_owned())
        }
        ClientError::Lost(_) => Some("look at what is there with: batch-executor status".to_owned()),
        ClientError::Garbled(_) => {
            Some("the daemon may be of another version: batch-executor daemon restart".to_owned())
        }
        _ => None,
    }
}
