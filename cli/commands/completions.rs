//! `completions`: a script for a shell. Needs neither home nor configuration.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::complete;
use crate::exit;
use crate::failure::Failure;
use crate::screen::Screen;

/// Flags of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  batch-executor completions bash > ~/.local/share/bash-completion/completions/batch-executor
  batch-executor completions zsh > \"${fpath[1]}/_batch-executor\"
  batch-executor completions fish > ~/.config/fish/completions/batch-executor.fish

The script asks this program, so that it offers the tasks, batches and functions of the running daemon. It starts none.")]
pub struct CompletionsArgs {
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut out = Screen::out();
    out.data().write_all(&complete::script(args.shell)?)?;
    out.flush()?;
    Ok(exit::DONE)
}

/// The definition without what is hidden, which completions and the manual would offer.
pub fn for_people(definition: &Command) -> Command {
    let about = definition.get_about().cloned().unwrap_or_default();
    let after = definition.get_after_help().cloned().unwrap_or_default();
    Command::new(definition.get_name().to_owned())
        .about(about)
        .after_help(after)
        .args(definition.get_arguments().filter(|argument| !argument.is_hide_set()))
        .subcommands(definition.get_subcommands().filter(|command| !command.is_hide_set()).map(for_people))
        .disable_help_subcommand(true)
}
