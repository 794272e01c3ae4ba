//! `export`: the results in a file, or on standard output.

use std::fs::File;
use std::io;
use std::path::Path;

use batch_executor::client::Answer;
use batch_executor::protocol::Exported;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::args::insert;
use crate::context::{Context, data};
use crate::exit;
use crate::failure::Failure;
use crate::screen::Screen;

/// Flags of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// json, csv or jsonl [default: by the file's extension, else json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The file to write, - for standard output [default: batch_results_DATE_TIME.EXT]
    #[arg(long, short, value_name = "FILE")]
    output_file: Option<String>,
    /// Only tasks in this state
    #[arg(long, value_name = "STATUS")]
    filter_status: Option<String>,
    /// Of this batch alone
    #[arg(long, value_name = "ID")]
    batch_id: Option<i64>,
    /// Only tasks that match, such as "status=failed and runtime>30s" (`results --help` has the fields)
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// With every attempt of every task
    #[arg(long)]
    attempts: bool,
    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
}

/// Writes the results to a file; with `--quiet` prints nothing.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &ExportArgs) -> Result<u8, Failure> {
    if let Some(file) = args.output_file.as_deref() {
        check_target(context, file)?;
    }
    let mut request = Map::new();
    let by_name = args.output_file.as_deref().and_then(format_of);
    insert(&mut request, "format", args.format.as_deref().or(by_name));
    insert(&mut request, "filter_status", args.filter_status.as_deref());
    insert(&mut request, "batch_id", args.batch_id);
    insert(&mut request, "filter", args.filter.as_deref());
    request.insert("attempts".to_owned(), json!(args.attempts));
    request.insert("overwrite".to_owned(), json!(args.overwrite));
    match args.output_file.as_deref() {
        Some("-") => to_stdout(context, request)?,
        file => {
            insert(&mut request, "output_file", file);
            context.print_message(&context.ask("export", request)?)?;
        }
    }
    Ok(exit::DONE)
}

/// Whether it makes sense to export to `file`, before there is anything to export.
///
/// # Errors
/// A missing folder, and a standard output that is already taken.
pub fn check_target(context: &Context, file: &str) -> Result<(), Failure> {
    if file == "-" {
        let both = "--json and an export to `-` both want standard output";
        return if context.json { Err(Failure::usage(both).hint("export to a file")) } else { Ok(()) };
    }
    let folder = Path::new(file).parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => {
            let said = format!("cannot write `{file}`: there is no folder `{}`", folder.display());
            Err(Failure::new(exit::REFUSED, said).hint("make it, or name another file"))
        }
        _ => Ok(()),
    }
}

/// The format that a file's extension means.
pub fn format_of(file: &str) -> Option<&'static str> {
    match Path::new(file).extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "json" => Some("json"),
        "csv" => Some("csv"),
        "jsonl" | "ndjson" => Some("jsonl"),
        _ => None,
    }
}

/// Copies the export to standard output.
///
/// # Errors
/// What [`Failure`] says.
pub fn to_stdout(context: &Context, request: Map<String, Value>) -> Result<(), Failure> {
    let (mut file, answer) = written(context, request)?;
    let mut out = Screen::out();
    io::copy(&mut file, out.data())?;
    out.flush()?;
    drop(out);
    context.warn(answer.response.warnings.as_deref().unwrap_or_default());
    Ok(())
}

/// The daemon writes a file, this program reads it: neither holds it in memory, and a reader that
/// takes all night holds up nothing. The file is in the home, which both see alike, and has no name any more.
///
/// # Errors
/// What [`Failure`] says.
pub fn written(context: &Context, mut request: Map<String, Value>) -> Result<(File, Answer), Failure> {
    context.client()?.connection()?;
    let unusable = |error: &io::Error| Failure::file("write in", &context.home.root().to_string_lossy(), error);
    let folder =
        tempfile::Builder::new().prefix("export-").tempdir_in(context.home.root()).map_err(|error| unusable(&error))?;
    request.insert("output_file".to_owned(), json!(folder.path().join("export").to_string_lossy()));
    let answer = context.ask("export", request)?;
    let exported: Exported = data(&answer)?;
    let file = File::open(&exported.file).map_err(|error| Failure::file("read", &exported.file, &error))?;
    folder.close().map_err(|error| unusable(&error))?;
    Ok((file, answer))
}
