//! `read-secrets`: the process that reads the secrets of one attempt. Started by the keeper, never by a person.

use crate::failure::Failure;

/// Answers the question on standard input.
///
/// # Errors
/// What [`Failure`] says.
#[cfg(feature = "daemon")]
pub fn run() -> Result<u8, Failure> {
    batch_executor::secret::serve()?;
    Ok(crate::exit::DONE)
}

/// # Errors
/// Always: the keeper was left out.
#[cfg(not(feature = "daemon"))]
pub fn run() -> Result<u8, Failure> {
    Err(Failure::new(crate::exit::INTERNAL, "this program was built without the keeper"))
}
