//! `daemon` in the foreground: the way into the daemon's own code, where it was built in.

use clap::Args;

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;

/// Flags of the daemon itself; each is a setting.
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
#[cfg(feature = "daemon")]
pub fn run(context: &Context, args: &ServeArgs) -> Result<u8, Failure> {
    use batch_executor::client::this_program;
    use batch_executor::{daemon, logging};

    context.home.create()?;
    let destination = if args.detached {
        // Fails only for a session's leader, which has no terminal to leave.
        let _ = nix::unistd::setsid();
        logging::Destination::File { path: context.home.log(), most_bytes: context.settings.daemon_log_bytes }
    } else {
        logging::Destination::Stderr
    };
    logging::init(&context.settings.log_level, destination)
        .map_err(|error| Failure::file("open", &context.home.log().to_string_lossy(), &error))?;
    let program = this_program().map_err(|error| Failure::file("find", "this program", &error))?;
    let setup =
        daemon::Setup { home: context.home.clone(), settings: context.settings.clone(), program, check: check_config };
    match daemon::run(setup) {
        Ok(()) => Ok(exit::DONE),
        Err(error) => Err(Failure::new(error.exit_code(), error.to_string())),
    }
}

/// Whether the configuration can be loaded now, as this process was told to.
#[cfg(feature = "daemon")]
fn check_config() -> Result<(), String> {
    use batch_executor::config::{Loaded, Overrides};
    use clap::Parser;
    let flag = crate::args::Cli::try_parse().ok().and_then(|cli| cli.global.config);
    Loaded::load(flag.as_deref(), &Overrides::default()).map(drop).map_err(|error| error.to_string())
}

/// # Errors
/// Always: the daemon was left out.
#[cfg(not(feature = "daemon"))]
pub fn run(_context: &Context, _args: &ServeArgs) -> Result<u8, Failure> {
    Err(Failure::new(exit::INTERNAL, "this program was built without the daemon"))
}
