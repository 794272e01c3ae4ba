//! `metrics`: how the queue stands, as OpenMetrics text.

use std::collections::HashMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};
use serde_json::json;

use super::Reply;
use crate::protocol::{Counts, ErrorCode, Refusal};
use crate::queue::finished::Finished;
use crate::server::Shared;
use crate::task::{Cause, Outcome, RunState};
use crate::time;
use crate::version::VERSION;

/// What the text is, for who passes it on (the specification's media type).
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn metrics(service: &Shared) -> Result<Reply, Refusal> {
    Reply::new(text(service).await?, &json!({ "content_type": CONTENT_TYPE }))
}

/// The text, with its end.
///
/// # Errors
/// When the queue cannot be read.
pub async fn text(service: &Shared) -> Result<String, Refusal> {
    let oldest = service.queue.oldest_ready().await?;
    let snapshot = service.queue.snapshot();
    let standings = service.executor.gates().borrow().clone();
    let gates = standings
        .iter()
        .map(|standing| (standing.gate.name.clone(), standing.verdict.as_ref().is_none_or(|verdict| verdict.open)));
    let seen = Seen {
        counts: snapshot.tally.counts(),
        finished: snapshot.finished,
        causes: snapshot.causes.counted().collect(),
        slots: snapshot.run.max_concurrent,
        runs: snapshot.run.state == RunState::Running,
        paused: snapshot.run.paused.is_some(),
        oldest_ms: oldest.map(|at| (time::wall_ms() - at).max(0)),
        database_bytes: super::database_bytes(service),
        free_bytes: crate::space::free(service.home.root()),
        gates: gates.collect(),
        started_ms: time::wall_ms() - i64::try_from(service.started.elapsed().as_millis()).unwrap_or(0),
    };
    let mut registry = Registry::with_prefix("batch_executor");
    registry.register_collector(Box::new(seen));
    let mut text = String::new();
    encode(&mut text, &registry)
        .map_err(|error| Refusal::new(ErrorCode::Internal, format!("the metrics cannot be written: {error}")))?;
    Ok(text)
}

/// What the metrics are made of.
#[derive(Debug)]
struct Seen {
    counts: Counts,
    finished: Finished,
    causes: Vec<(Cause, i64)>,
    slots: u32,
    runs: bool,
    paused: bool,
    oldest_ms: Option<i64>,
    database_bytes: i64,
    free_bytes: Option<u64>,
    gates: Vec<(String, bool)>,
    started_ms: i64,
}

type NoExemplar<'e> = Option<&'e Exemplar<NoLabelSet, f64>>;
const NO_EXEMPLAR: NoExemplar<'static> = None;
const NO_EXEMPLARS: Option<&HashMap<usize, Exemplar<NoLabelSet, f64>>> = None;

impl Collector for Seen {
    #[expect(clippy::cast_precision_loss, reason = "sizes and times to look at")]
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = Family(&mut encoder);
        family.gauges("tasks", "Tasks in the queue, by status", None, "status", &self.statuses())?;
        family.gauge("slots", "Tasks that may run at once", f64::from(self.slots))?;
        family.gauge("running", "Whether the executor runs", f64::from(u8::from(self.runs)))?;
        family.gauge("paused", "Whether the executor is paused", f64::from(u8::from(self.paused)))?;
        let open: Vec<(&str, f64)> =
            self.gates.iter().map(|(name, open)| (name.as_str(), f64::from(u8::from(*open)))).collect();
        if !open.is_empty() {
            family.gauges("gate_open", "Whether a gate is open, or was not looked at yet", None, "gate", &open)?;
        }
        let oldest = self.oldest_ms.map_or(0.0, time::seconds);
        let help = "Age of the oldest task that is due; 0 where none is";
        family.gauges("oldest_due", help, Some(&Unit::Seconds), "", &[("", oldest)])?;
        let database = [("", self.database_bytes as f64)];
        family.gauges("database", "Size of the queue's files", Some(&Unit::Bytes), "", &database)?;
        if let Some(free) = self.free_bytes {
            family.gauges("disk_free", "Free on the home's disk", Some(&Unit::Bytes), "", &[("", free as f64)])?;
        }
        let outcomes: Vec<(&str, u64)> =
            self.finished.outcomes().map(|(outcome, count)| (Outcome::as_str(outcome), count)).collect();
        family.counters("attempts", "Attempts that have ended since the daemon began", "outcome", &outcomes)?;
        let causes: Vec<(&str, u64)> = self
            .causes
            .iter()
            .map(|(cause, count)| (Cause::as_str(*cause), u64::try_from(*count).unwrap_or(0)))
            .collect();
        family.counters("interruptions", "Attempts that were ended from outside, by cause", "cause", &causes)?;
        let (sum_ms, count, buckets) = self.finished.run_times();
        let buckets: Vec<(f64, u64)> = buckets.collect();
        family
            .begin(
                "attempt",
                "Run time of attempts since the daemon began",
                Some(&Unit::Seconds),
                MetricType::Histogram,
            )?
            .encode_histogram(time::seconds(sum_ms), count, &buckets, NO_EXEMPLARS)?;
        let started = [("", time::seconds(self.started_ms))];
        family.gauges("start_time", "When the daemon began, since 1970", Some(&Unit::Seconds), "", &started)?;
        family.begin("build", "The daemon's version", None, MetricType::Info)?.encode_info(&[("version", VERSION)])
    }
}

impl Seen {
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    fn statuses(&self) -> [(&'static str, f64); 5] {
        let c = &self.counts;
        [
            ("queued", c.queued),
            ("running", c.running),
            ("completed", c.completed),
            ("failed", c.failed),
            ("cancelled", c.cancelled),
        ]
        .map(|(status, count)| (status, count as f64))
    }
}

/// Writes families of metrics.
struct Family<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Family<'_, '_> {
    fn begin<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, kind)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.gauges(name, help, None, "", &[("", value)])
    }

    /// One for each value of the label; an empty label: one alone.
    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        label: &str,
        values: &[(&str, f64)],
    ) -> fmt::Result {
        let mut metric = self.begin(name, help, unit, MetricType::Gauge)?;
        for (of, value) in values {
            if label.is_empty() {
                metric.encode_gauge(value)?;
            } else {
                metric.encode_family(&[(label, *of)])?.encode_gauge(value)?;
            }
        }
        Ok(())
    }

    fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) -> fmt::Result {
        let mut metric = self.begin(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            metric.encode_family(&[(label, *of)])?.encode_counter(value, NO_EXEMPLAR)?;
        }
        Ok(())
    }
}
