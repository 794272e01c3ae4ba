//! `functions`: what tasks may name.

use batch_executor::protocol::Functions;
use clap::Args;
use serde_json::Map;

use crate::context::{Context, data};
use crate::exit;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::views;

/// `functions` has no flags of its own.
#[derive(Debug, Args)]
pub struct FunctionsArgs {}

/// Prints the known functions; their names alone with `--quiet`.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, _args: &FunctionsArgs) -> Result<u8, Failure> {
    let answer = context.ask_until_answered("functions", Map::new())?;
    let known: Functions = data(&answer)?;
    if context.quiet && !context.json {
        let mut out = Screen::out();
        for function in &known.functions {
            writeln!(out, "{}", function.name)?;
        }
        out.flush()?;
        return Ok(exit::DONE);
    }
    context.print(&answer, |out| Ok(views::functions::write(out, &known.functions)?))?;
    Ok(exit::DONE)
}
