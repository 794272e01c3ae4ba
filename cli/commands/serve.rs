//! `daemon` in the foreground: the way into the daemon's own code, where it was built in.

use clap::Args;

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;

/// Flags of the daemon itself.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Leave the terminal and write HOME/daemon.log
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// Serves until it is told to end.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(_context: &Context, _args: &ServeArgs) -> Result<u8, Failure> {
    Err(Failure::new(exit::INTERNAL, "this program was built without the daemon"))
}
