//! How it went, in sentences: the same for the page and for Markdown. A piece between backticks is code.

use std::collections::BTreeSet;

use batch_executor::protocol::{BatchInfo, Counts};
use batch_executor::task::{Cause, Outcome};
use batch_executor::time;

use super::axis::{day_and_time, local};
use super::night::{Function, MOST_ROWS, Night};
use super::{plain, slots};
use crate::views::text;

/// The report's title: the name of the batch, of several the one that all have.
pub fn title(night: &Night) -> String {
    let name = |info: &Option<BatchInfo>| info.as_ref().and_then(|info| info.name.clone()).unwrap_or_default();
    let names: BTreeSet<String> = night.batches.values().map(name).collect();
    let shared = names.first().filter(|name| names.len() == 1 && !name.is_empty()).map(|name| plain::line(name, 80));
    match (night.batches.len(), night.batches.first_key_value(), shared) {
        (1, _, Some(name)) => name,
        (1, Some((id, _)), None) => format!("batch {id}"),
        (more, _, Some(name)) => format!("{name} ({more} batches)"),
        (more, ..) => format!("{more} batches"),
    }
}

/// What it came to, in one sentence.
pub fn headline(night: &Night) -> String {
    let counts = &night.counts;
    if counts.total == 0 {
        return "There are no tasks.".to_owned();
    }
    let mut parts = Vec::new();
    let of = if counts.total == counts.completed { "All " } else { "" };
    let completed = match (of, counts.total) {
        ("All ", 1) => "The task completed".to_owned(),
        ("All ", total) => format!("All {} tasks completed", number(total)),
        (_, total) => format!("{} of {} completed", number(counts.completed), tasks(total)),
    };
    parts.push(completed);
    for (count, what) in [(counts.failed, "failed"), (counts.cancelled, "cancelled")] {
        if count > 0 {
            parts.push(format!("{} {what}", number(count)));
        }
    }
    let mut sentence = format!("{}.", parts.join(", "));
    if !counts.is_over() {
        let (running, queued) = (number(counts.running), number(counts.queued));
        sentence += &format!(" It is not over: {running} running, {queued} queued.");
    }
    sentence
}

/// The sentences after that.
pub fn sentences(night: &Night) -> Vec<String> {
    let mut said = Vec::new();
    if let Some((begun, ended)) = night.period() {
        let took = duration(ended - begun);
        let is_short = ended - begun < 600_000;
        let until = if night.counts.is_over() { until(night, begun, ended, is_short) } else { "now".to_owned() };
        let work: i64 = night.spans.iter().map(|span| span.end - span.start).sum();
        said.push(format!(
            "It took {took}, from {} to {until}, with at most {} at once: {} of work.",
            day_and_time(begun, is_short),
            number(most_at_once(night)),
            duration(work)
        ));
    }
    let (again, recovered) = night.tried_again;
    if again > 0 {
        let (tries, retried) = (plural(night.retries, "retry", "retries"), tasks(signed(again)));
        said.push(format!("{retried} had {tries} in all; {} of them completed in the end.", number(signed(recovered))));
    }
    let losses = slots::losses(&night.spans);
    if !losses.is_empty() {
        let lost: u32 = losses.iter().map(|loss| loss.count).sum();
        said.push(format!(
            "It was interrupted {}, and {} lost and begun again.",
            text::times(u32::try_from(losses.len()).unwrap_or(u32::MAX)),
            plural(u64::from(lost), "attempt was", "attempts were")
        ));
    }
    let groups = night.groups.by_size();
    match groups.as_slice() {
        [] => {}
        [only] if only.count == 1 => said.push(format!("The failure: `{}`.", only.line)),
        [only] => said.push(format!("The failures are all alike: `{}`.", only.line)),
        [first, ..] if first.count == 1 => {
            said.push(format!("The failures are of {} kinds; one is: `{}`.", groups.len(), first.line));
        }
        [first, ..] => said.push(format!(
            "The failures are of {} kinds; most often ({}): `{}`.",
            groups.len(),
            text::times(u32::try_from(first.count).unwrap_or(u32::MAX)),
            first.line
        )),
    }
    if let [first, ..] = night.slowest.as_slice()
        && night.counts.total > 1
    {
        said.push(format!("The slowest task, `{}`, ran for {}.", first.name, duration(first.run_ms)));
    }
    if night.rows.len() == MOST_ROWS && night.counts.total > signed(MOST_ROWS as u64) {
        said.push(format!("The sums are over all; the first {} are listed.", tasks(signed(MOST_ROWS as u64))));
    }
    said
}

/// The end, without the day where it is that of the begin, and how long ago it was.
fn until(night: &Night, begun: i64, ended: i64, seconds: bool) -> String {
    let at = if local(begun).date_naive() == local(ended).date_naive() {
        local(ended).format(if seconds { "%H:%M:%S" } else { "%H:%M" }).to_string()
    } else {
        day_and_time(ended, seconds)
    };
    let ago = night.made.timestamp_millis() - ended;
    if ago < 60_000 { at } else { format!("{at} ({} before this report)", duration(ago)) }
}

/// The most attempts that ran at the same time.
pub fn most_at_once(night: &Night) -> i64 {
    let mut changes: Vec<(i64, i64)> = night.spans.iter().flat_map(|s| [(s.start, 1), (s.end, -1)]).collect();
    changes.sort_unstable();
    let running = changes.iter().scan(0, |running, (_, change)| {
        *running += change;
        Some(*running)
    });
    running.max().unwrap_or(0).max(i64::from(!changes.is_empty()))
}

/// Milliseconds of a share of the run times: 50 is the median. They are sorted.
pub fn percentile(runs: &[u32], percent: usize) -> Option<i64> {
    let rank = (runs.len() * percent).div_ceil(100).max(1);
    runs.get(rank - 1).map(|run| i64::from(*run))
}

/// The functions, the most work first.
pub fn by_work(night: &Night) -> Vec<&Function> {
    let work = |function: &Function| function.runs.iter().map(|run| i64::from(*run)).sum::<i64>();
    let mut functions: Vec<&Function> = night.functions.iter().collect();
    functions.sort_by_cached_key(|function| std::cmp::Reverse(work(function)));
    functions
}

/// What ended attempts from outside, for a person.
pub const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::KeeperLost => "the process that owns the tasks died",
        Cause::Reboot => "the machine was restarted",
        Cause::Killed => "killed by somebody else",
        Cause::Stopped => "stopped by request",
        Cause::Deadline => "the run's deadline passed",
        Cause::OutOfMemory => "the memory ran out",
        Cause::Cancelled => "cancelled by request",
        Cause::TimedOut => "timed out",
    }
}

/// An outcome for a person.
pub const fn outcome(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        None => "running",
        Some(Outcome::TimedOut) => "timed out",
        Some(other) => other.as_str(),
    }
}

/// "412 completed, 3 failed": what is not 0.
pub fn counts(counts: &Counts) -> String {
    let all = [
        (counts.completed, "completed"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.running, "running"),
        (counts.queued, "queued"),
    ];
    let some = all.iter().filter(|(count, _)| *count > 0);
    some.map(|(count, what)| format!("{} {what}", number(*count))).collect::<Vec<_>>().join(", ")
}

/// Milliseconds as a person says them.
pub fn duration(ms: i64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { text::seconds(time::seconds(ms)) }
}

/// Bytes as a person says them.
pub fn bytes(count: i64) -> String {
    text::bytes(u64::try_from(count).unwrap_or(0))
}

/// "1 task", "12,345 tasks".
pub fn tasks(count: i64) -> String {
    plural(u64::try_from(count).unwrap_or(0), "task", "tasks")
}

/// With its noun.
pub fn plural(count: u64, one: &str, more: &str) -> String {
    format!("{} {}", number(signed(count)), if count == 1 { one } else { more })
}

/// "12,345".
pub fn number(count: i64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count of ours.
pub fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            ["7", "1,000", "50,000", "1,234,567"],
            [7, 1000, 50_000, 1_234_567].map(number).each_ref().map(String::as_str)
        );
        assert_eq!((tasks(1), tasks(1200)), ("1 task".to_owned(), "1,200 tasks".to_owned()));
        assert_eq!((duration(20), duration(1500)), ("20 ms".to_owned(), "1.5 s".to_owned()));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let runs: Vec<u32> = (1..=100).collect();
        assert_eq!([50, 90, 99, 100].map(|p| percentile(&runs, p)), [Some(50), Some(90), Some(99), Some(100)]);
        assert_eq!(percentile(&[7], 50), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }
}
