//! `metrics`: how the queue stands, for Prometheus.

use clap::Args;
use serde_json::Map;

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;

/// `metrics` has no flags of its own.
#[derive(Debug, Args)]
#[command(after_help = "\
OpenMetrics text, as Prometheus reads it. For node_exporter let the daemon keep a file, in the configuration:
  metrics_file = \"/var/lib/prometheus/node-exporter/batch-executor.prom\"")]
pub struct MetricsArgs {}

/// Prints the metrics.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, _args: &MetricsArgs) -> Result<u8, Failure> {
    let answer = context.ask_until_answered("metrics", Map::new())?;
    context.print(&answer, |out| Ok(write!(out, "{}", answer.response.message)?))?;
    Ok(exit::DONE)
}
