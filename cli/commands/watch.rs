//! `watch`: what happens, a line of JSON each.

use batch_executor::client::{Answer, Client};
use batch_executor::protocol::WatchData;
use batch_executor::task::BatchId;
use clap::Args;
use serde_json::{Map, Value, json};

use super::follow;
use crate::args::insert;
use crate::context::{Context, accepted, data, request};
use crate::exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::screen::Screen;

/// Flags of `watch`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every event has a number, `seq`, and nothing is left out: where one ended, --from with the number after the last one
goes on, also after a restart of the daemon or the machine. Events that are no longer kept (setting keep_events)
are told as one line with \"event\":\"gap\".

Examples:
  batch-executor watch | jq -r 'select(.event == \"ended\" and .status == \"failed\") | .name'
  batch-executor watch --from 1 --once")]
pub struct WatchArgs {
    /// The number of the first event [default: the next that happens]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    from: Option<i64>,
    /// Only of this batch and its tasks
    #[arg(long, value_name = "ID")]
    batch_id: Option<BatchId>,
    /// Print what is there and do not wait for more
    #[arg(long)]
    once: bool,
}

/// Prints events as they happen.
///
/// # Errors
/// An interruption, and what [`Failure`] says.
pub fn run(context: &Context, args: &WatchArgs) -> Result<u8, Failure> {
    let again = |next| match next {
        Some(next) => format!("batch-executor watch --from {next}"),
        None => "batch-executor watch".to_owned(),
    };
    let mut events = Events::new(context, args.from, args.batch_id, again)?;
    loop {
        let page = events.next_page(!args.once)?;
        let mut out = Screen::out();
        if let Some(gap) = page.gap {
            out.json(&json!({"event": "gap", "from": gap.from, "to": gap.to}).to_string())?;
        }
        for event in &page.events {
            out.json(&serde_json::to_string(event).map_err(std::io::Error::from)?)?;
        }
        out.flush()?;
        if args.once && page.events.is_empty() && page.gap.is_none() {
            return Ok(exit::DONE);
        }
    }
}

/// The events of a queue from a number on, over restarts of its daemon.
pub struct Events {
    client: Client,
    interrupt: Interrupt,
    next: Option<i64>,
    batch_id: Option<BatchId>,
    again: fn(Option<i64>) -> String,
}

impl Events {
    /// From a number on; none: from now on. `again` is the command that goes on from a number after an interruption.
    ///
    /// # Errors
    /// When there is no daemon to ask.
    pub fn new(
        context: &Context,
        from: Option<i64>,
        batch_id: Option<BatchId>,
        again: fn(Option<i64>) -> String,
    ) -> Result<Self, Failure> {
        let mut client = context.client()?;
        client.connection()?;
        Ok(Self { client, interrupt: Interrupt::install()?, next: from, batch_id, again })
    }

    /// What has happened since the last page; where that is nothing, and with `follow`, it waits for it.
    ///
    /// # Errors
    /// An interruption, a refusal, or a daemon that does not come back.
    pub fn next_page(&mut self, follow: bool) -> Result<WatchData, Failure> {
        loop {
            let mut parameters = Map::new();
            insert(&mut parameters, "from", self.next);
            insert(&mut parameters, "batch_id", self.batch_id);
            // Where it begins must be known before it is waited for, or what happens meanwhile could be lost with a connection.
            let waits = follow && self.next.is_some();
            parameters.insert("follow".to_owned(), json!(waits));
            let page: WatchData = data(&self.ask("watch", parameters)?)?;
            self.next = Some(page.next);
            if !waits && follow {
                continue;
            }
            if !follow || !page.events.is_empty() || page.gap.is_some() {
                return Ok(page);
            }
        }
    }

    /// Leaves out what has happened and was not told yet.
    ///
    /// # Errors
    /// As [`Self::next_page`].
    pub fn skip_to_now(&mut self) -> Result<(), Failure> {
        self.next = None;
        self.next_page(false).map(drop)
    }

    /// Another request that changes nothing, beside the events.
    ///
    /// # Errors
    /// As [`Self::next_page`].
    pub fn ask(&mut self, action: &str, parameters: Map<String, Value>) -> Result<Answer, Failure> {
        let request = request(action, parameters)?;
        loop {
            let look = (self.again)(self.next);
            if let Some(answer) = follow::ask_patiently(&mut self.client, &request, Some(&self.interrupt), &look)? {
                return accepted(Ok(answer));
            }
        }
    }
}
