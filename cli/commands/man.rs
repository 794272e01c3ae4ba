//! `man`: the manual's pages, made of the definitions of the commands. Needs neither home nor configuration.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::completions::for_people;
use crate::args::Cli;
use crate::exit;
use crate::failure::Failure;
use crate::screen::Screen;

/// Flags of `man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  batch-executor man | man -l -
  batch-executor man ~/.local/share/man/man1 && man batch-executor-run")]
pub struct ManArgs {
    /// A page for each command into this folder [default: print the page of the program]
    folder: Option<PathBuf>,
}

/// Prints a page, or writes all.
///
/// # Errors
/// When they cannot be written.
pub fn run(args: &ManArgs) -> Result<u8, Failure> {
    let definition = for_people(&Cli::command()).version(batch_executor::version::VERSION);
    if let Some(folder) = &args.folder {
        let failed = |error| Failure::file("write", &folder.to_string_lossy(), &error);
        std::fs::create_dir_all(folder).map_err(failed)?;
        clap_mangen::generate_to(definition, folder).map_err(failed)?;
        return Ok(exit::DONE);
    }
    let mut page = Vec::new();
    Man::new(definition).render(&mut page)?;
    let mut out = Screen::out();
    out.data().write_all(&page)?;
    out.flush()?;
    Ok(exit::DONE)
}
