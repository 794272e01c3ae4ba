//! The exit codes: a table that scripts rely on, and what leads to each.

use batch_executor::client::ClientError;
use batch_executor::protocol::{ErrorCode, Response};

/// Done; for `run` and `wait`: every task selected has completed.
pub const DONE: u8 = 0;
/// `run`, `wait`: carried out, and at least one task failed or was cancelled. `doctor`: a promise cannot be kept.
pub const TASKS_FAILED: u8 = 1;
/// Wrong usage of the command line.
pub const USAGE: u8 = 2;
/// No such task or batch, or nothing to wait for.
pub const NOT_FOUND: u8 = 3;
/// The request was refused.
pub const REFUSED: u8 = 4;
/// The daemon cannot be reached.
pub const UNREACHABLE: u8 = 69;
/// A defect of ours.
pub const INTERNAL: u8 = 70;
/// Disk full or a damaged queue; also a file of the user's that cannot be read or written.
pub const STORAGE: u8 = 74;
/// Try again.
pub const TRY_AGAIN: u8 = 75;
/// The daemon is of another version.
pub const VERSION: u8 = 76;
/// Not allowed.
pub const NOT_ALLOWED: u8 = 77;
/// Bad configuration.
pub const CONFIG: u8 = 78;
/// The client's own `--timeout` ran out.
pub const TIMED_OUT: u8 = 124;
/// SIGINT.
pub const INTERRUPTED: u8 = 130;
/// SIGTERM.
pub const TERMINATED: u8 = 143;

/// What the refusal of a request means to a script.
pub fn of_code(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::NotFound => NOT_FOUND,
        ErrorCode::InvalidJson
        | ErrorCode::InvalidRequest
        | ErrorCode::UnknownAction
        | ErrorCode::Conflict
        | ErrorCode::TooLarge => REFUSED,
        ErrorCode::Busy | ErrorCode::ShuttingDown => TRY_AGAIN,
        ErrorCode::Storage => STORAGE,
        ErrorCode::Internal => INTERNAL,
    }
}

/// The exit code of an answer.
pub fn of_response(response: &Response) -> u8 {
    match &response.error {
        _ if response.ok => DONE,
        Some(refusal) if refusal.details.get("reason").is_some_and(|reason| reason == "not_allowed") => NOT_ALLOWED,
        Some(refusal) => of_code(refusal.code),
        None => INTERNAL,
    }
}

/// The exit code of a request that had no answer.
pub fn of_client_error(error: &ClientError) -> u8 {
    match error {
        ClientError::Unreachable { .. }
        | ClientError::Lost(_)
        | ClientError::Spawn { .. }
        | ClientError::StartTimeout { .. } => UNREACHABLE,
        ClientError::NotAllowed { .. } => NOT_ALLOWED,
        ClientError::Garbled(_) => VERSION,
        ClientError::Unwritable(_) => INTERNAL,
        ClientError::StartFailed { code, .. } => match code {
            Some(code @ (INTERNAL | STORAGE | TRY_AGAIN | VERSION | NOT_ALLOWED | CONFIG)) => *code,
            _ => UNREACHABLE,
        },
    }
}

/// The code on the wire that is nearest to a failure of the client's own.
pub fn nearest_code(exit: u8) -> ErrorCode {
    match exit {
        USAGE | REFUSED | NOT_ALLOWED | VERSION | CONFIG => ErrorCode::InvalidRequest,
        NOT_FOUND => ErrorCode::NotFound,
        TASKS_FAILED | TIMED_OUT | INTERRUPTED | TERMINATED => ErrorCode::Conflict,
        UNREACHABLE => ErrorCode::ShuttingDown,
        TRY_AGAIN => ErrorCode::Busy,
        STORAGE => ErrorCode::Storage,
        _ => ErrorCode::Internal,
    }
}

/// The worse of two: of several answers, the exit code that says most.
pub fn worst(one: u8, other: u8) -> u8 {
    one.max(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_the_table() {
        let table = [
            (ErrorCode::NotFound, 3),
            (ErrorCode::InvalidJson, 4),
            (ErrorCode::InvalidRequest, 4),
            (ErrorCode::UnknownAction, 4),
            (ErrorCode::Conflict, 4),
            (ErrorCode::TooLarge, 4),
            (ErrorCode::Busy, 75),
            (ErrorCode::ShuttingDown, 75),
            (ErrorCode::Storage, 74),
            (ErrorCode::Internal, 70),
        ];
        for (code, exit) in table {
            assert_eq!(of_code(code), exit, "{code:?}");
        }
    }

    #[test]
    fn a_daemon_that_did_not_start_passes_its_code_on() {
        let failed = |code| of_client_error(&ClientError::StartFailed { code, message: String::new(), hint: None });
        assert_eq!(failed(Some(78)), 78);
        assert_eq!(failed(Some(1)), 69);
        assert_eq!(failed(None), 69);
    }
}
