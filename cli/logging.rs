//! `-v`: what the client does, on standard error. The daemon and the keeper set up their own log.

use tracing_subscriber::EnvFilter;

use crate::args::Command;
use crate::screen::Screen;

/// Writes the client's own events to standard error when asked to.
pub fn start(verbose: u8, command: &Command) {
    let level = match verbose {
        0 => return,
        1 => "debug",
        _ => "trace",
    };
    if !matches!(command, Command::Daemon(_) | Command::Keeper(_)) {
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(level))
            .with_ansi(false)
            .with_writer(Screen::err)
            .init();
    }
}
