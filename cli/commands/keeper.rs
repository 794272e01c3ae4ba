//! `keeper`: the process that owns the tasks' processes. Started by the daemon, never by a person.

use batch_executor::home::Home;

use crate::args::Global;
use crate::exit;
use crate::failure::Failure;

/// Keeps until nothing is left to keep.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(global: &Global) -> Result<u8, Failure> {
    let _home = Home::locate(global.home.as_deref())?;
    Err(Failure::new(exit::INTERNAL, "this program was built without the keeper"))
}
