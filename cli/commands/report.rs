//! `report`: how it went, as one page that needs nothing else, or as Markdown.

use std::io::{self, Write};
use std::path::Path;

use batch_executor::task::BatchId;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::export::check_target;
use crate::context::{Context, OwnAnswer};
use crate::exit;
use crate::failure::Failure;
use crate::report::{self, collect, compare};
use crate::screen::Screen;

/// Flags of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Of these batches [default: all]
    #[arg(value_name = "BATCH")]
    batches: Vec<BatchId>,
    /// The file to write, - for standard output [default: report.html; Markdown: -]
    #[arg(long, short, visible_alias = "output-file", value_name = "FILE")]
    output: Option<String>,
    /// html or md [default: by the file's extension, else html]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    format: Option<Format>,
    /// What changed from one batch to another: by the tasks' names
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "batches")]
    compare: Option<Vec<BatchId>>,
    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
}

/// What a report is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Html,
    #[value(alias = "markdown")]
    Md,
}

/// Writes the report; says where it is.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &ReportArgs) -> Result<u8, Failure> {
    let by_name = args
        .output
        .as_deref()
        .and_then(|file| Path::new(file).extension())
        .map(|extension| if extension.eq_ignore_ascii_case("md") { Format::Md } else { Format::Html });
    let format = args.format.or(by_name).unwrap_or(Format::Html);
    let default = if format == Format::Md { "-" } else { "report.html" };
    let file = args.output.as_deref().unwrap_or(default);
    check_target(context, file)?;
    check_is_new(file, args.overwrite)?;
    let (text, tasks) = match args.compare.as_deref() {
        Some([one, other]) => {
            let runs = compare::runs(context, *one, *other)?;
            let text = if format == Format::Md { runs.markdown() } else { runs.page()? };
            (text, runs.total())
        }
        _ => {
            let night = collect::night(context, &args.batches)?;
            let text = if format == Format::Md { report::markdown(&night) } else { report::page(&night)? };
            (text, night.counts.total)
        }
    };
    if file == "-" {
        let mut out = Screen::out();
        out.data().write_all(text.as_bytes())?;
        out.flush()?;
        return Ok(exit::DONE);
    }
    let path = std::path::absolute(file).map_err(|error| Failure::file("write", file, &error))?;
    write(&path, &text, args.overwrite).map_err(|error| refused(file, &error))?;
    let message = format!("the report of {} is in {}", crate::report::tasks(tasks), path.display());
    let data = json!({"file": path, "tasks": tasks, "bytes": text.len()});
    context.print_own(&OwnAnswer::new("report", message.clone(), data), |out| writeln!(out, "{message}"))?;
    Ok(exit::DONE)
}

/// Before there is anything to write.
fn check_is_new(file: &str, overwrite: bool) -> Result<(), Failure> {
    let is_there = file != "-" && !overwrite && Path::new(file).symlink_metadata().is_ok();
    if is_there { Err(refused(file, &io::ErrorKind::AlreadyExists.into())) } else { Ok(()) }
}

fn refused(file: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return Failure::new(exit::REFUSED, format!("`{file}` exists"))
            .hint("name another file with -o, or --overwrite");
    }
    Failure::file("write", file, error)
}

/// A file that appears whole or not at all, for its owner alone.
fn write(path: &Path, text: &str, overwrite: bool) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::Builder::new().prefix(".report-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    let named = if overwrite { file.persist(path) } else { file.persist_noclobber(path) };
    named.map(drop).map_err(|error| error.error)
}
