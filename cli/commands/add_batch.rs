//! `add-batch`: the tasks of a file.

use batch_executor::protocol::StatusData;
use batch_executor::task::RunState;
use clap::Args;
use serde_json::Map;

use super::adding::{self, Plan};
use crate::args::{EnvironmentArgs, SecretArgs, insert};
use crate::context::{Context, OwnAnswer, accepted, data, print_id, request};
use crate::exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::params::params;
use crate::request_key;
use crate::tasks_file::{Format, Input};

/// Flags of `add-batch`.
#[derive(Debug, Args)]
#[command(after_help = "\
With some bad tasks the rest is added, the bad ones are listed, and the exit code is 4.

Examples:
  batch-executor add-batch tasks.csv
  generate | batch-executor add-batch - --format jsonl --name nightly
  batch=$(batch-executor add-batch tasks.json --quiet) && batch-executor wait --batch-id $batch")]
pub struct AddBatchArgs {
    /// JSON (a list, or {"tasks": […]}), JSON Lines, or CSV with a header; - for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// How it is written [default: by the extension, else by the content]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    batch: BatchArgs,
    /// Append to this earlier batch
    #[arg(long, value_name = "ID")]
    batch_id: Option<i64>,
    /// Sent again with the same key, it adds nothing twice and completes what is missing
    #[arg(long, value_name = "KEY")]
    request_key: Option<String>,
}

/// Flags that `run` has too.
#[derive(Debug, Args)]
pub struct BatchArgs {
    /// The batch's name
    #[arg(long)]
    name: Option<String>,
    /// Fields for every task that does not set them, as a JSON object
    #[arg(long, value_name = "JSON")]
    defaults: Option<String>,
    /// One bad task refuses all
    #[arg(long)]
    atomic: bool,
    #[command(flatten)]
    pub environment: EnvironmentArgs,
    #[command(flatten)]
    secrets: SecretArgs,
}

impl BatchArgs {
    /// As fields of the request.
    ///
    /// # Errors
    /// Defaults that are no JSON object.
    pub fn fields(&self) -> Result<Map<String, serde_json::Value>, Failure> {
        let mut fields = Map::new();
        insert(&mut fields, "name", self.name.as_deref());
        if let Some(defaults) = self.defaults.as_deref() {
            let defaults =
                params(Some(defaults), &[]).map_err(|said| Failure::usage(said.replace("--params", "--defaults")))?;
            insert(&mut fields, "defaults", Some(defaults));
        }
        Ok(fields)
    }

    /// What goes over the file's own fields: `atomic`, and secrets in the `env` of its defaults.
    ///
    /// # Errors
    /// A secret that is not `VARIABLE=SECRET`.
    pub fn complete(&self, plan: &mut Plan) -> Result<(), Failure> {
        plan.atomic |= self.atomic;
        let mut defaults = plan.defaults();
        if self.secrets.insert_into(&mut defaults)? {
            plan.fields.insert("defaults".to_owned(), defaults.into());
        }
        Ok(())
    }
}

/// Adds the tasks of a file; with `--quiet` prints the batch's id alone.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, args: &AddBatchArgs) -> Result<u8, Failure> {
    let mut fields = args.batch.fields()?;
    insert(&mut fields, "batch_id", args.batch_id);
    insert(&mut fields, "request_key", args.request_key.as_deref());
    let environment = context.environment(&args.batch.environment)?;
    let input = Input::open(&args.file, args.format)?;
    let mut plan = Plan::new(&input, fields, &environment, request_key::random(request_key::OWN));
    args.batch.complete(&mut plan)?;
    let mut client = context.client()?;
    client.connection()?;
    let interrupt = Interrupt::install()?;
    let added = adding::add(context, &mut client, &input, &plan, &interrupt)?;
    if let (Some(batch), true, false) = (added.batch_id, context.quiet, context.json) {
        print_id(batch)?;
    } else {
        let status: StatusData = data(&accepted(client.call_until_answered(&request("status", Map::new())?))?)?;
        let next = if status.state == RunState::Stopped { ". Nothing runs until: batch-executor start" } else { "" };
        let mut answer = OwnAnswer::new("add_batch", added.message() + next, added.data());
        answer.warnings.clone_from(&added.warnings);
        context.print_own(&answer, |out| writeln!(out, "{}", answer.message))?;
        context.warn(&added.warnings);
        added.tell_bad(context);
    }
    Ok(if added.bad > 0 { exit::REFUSED } else { exit::DONE })
}
