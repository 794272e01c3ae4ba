//! `keeper`: the process that owns the tasks' processes. Started by the daemon, never by a person.

use clap::Args;

use crate::args::Global;
use crate::failure::Failure;

/// Flags of the keeper.
#[derive(Debug, Args)]
pub struct KeeperArgs {
    /// The cap of an attempt's log file, in bytes
    #[arg(long, default_value_t = 1 << 30)]
    log_cap_bytes: u64,
    /// What must stay free on the disk, in bytes
    #[arg(long, default_value_t = 64 << 20)]
    floor_bytes: u64,
    /// How long it waits for the next daemon before it stores what nobody took and leaves, in ms
    #[arg(long, default_value_t = 30_000)]
    patience_ms: i64,
    /// The descriptor with what an earlier program in this process left
    #[arg(long)]
    adopt: Option<i32>,
}

/// Keeps until nothing is left to keep.
///
/// # Errors
/// What [`Failure`] says.
#[cfg(feature = "daemon")]
pub fn run(global: &Global, args: &KeeperArgs) -> Result<u8, Failure> {
    use batch_executor::{home::Home, keeper, logging};

    // A daemon that takes another one's process over has them blocked until it serves.
    nix::sys::signal::SigSet::all().thread_unblock().map_err(std::io::Error::from)?;
    let home = Home::locate(global.home.as_deref())?;
    logging::init_keeper(home.keeper_log());
    let options = keeper::Options {
        log_cap_bytes: args.log_cap_bytes,
        floor_bytes: args.floor_bytes,
        patience_ms: args.patience_ms,
        adopt: args.adopt,
    };
    Ok(keeper::run(&home, options))
}

/// # Errors
/// Always: the keeper was left out.
#[cfg(not(feature = "daemon"))]
pub fn run(_global: &Global, _args: &KeeperArgs) -> Result<u8, Failure> {
    Err(Failure::new(crate::exit::INTERNAL, "this program was built without the keeper"))
}
