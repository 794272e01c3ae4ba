//! Who ran when: attempts in slots, what waited, what ended, over the axis of a report.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use batch_executor::task::Outcome;

use super::axis::{Axis, float, whole};
use super::night::{Night, Span};

/// The most slots that are drawn.
pub const MOST_SLOTS: usize = 64;
/// The most marks in all slots together.
const MOST_MARKS: usize = 4000;
/// The columns in which is counted what waits and what ends.
pub const COLUMNS: usize = 60;
/// What is nearer together than this, in ms, was interrupted together.
const TOGETHER: i64 = 2000;

/// A mark in a slot: an attempt, or several that are too short to be seen.
#[derive(Debug, Clone)]
pub struct Mark {
    pub slot: usize,
    pub left: f64,
    pub right: f64,
    pub count: u32,
    /// How many of them did not complete.
    pub others: u32,
    /// Of several the most serious.
    pub outcome: Option<Outcome>,
    /// The first of them, by its place in the night's spans.
    pub span: usize,
}

/// Attempts that were lost at one moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Loss {
    pub at: i64,
    pub count: u32,
    /// Into the night's spans: one of them.
    pub span: usize,
}

/// The attempts in as many slots as ran at once.
#[derive(Debug)]
pub struct Slots {
    pub used: usize,
    pub marks: Vec<Mark>,
}

/// Gives each attempt the lowest free slot. The spans are in the order of their starts.
pub fn slots(spans: &[Span], axis: &Axis) -> Slots {
    let mut free = BinaryHeap::new();
    let mut busy = BinaryHeap::new();
    let mut used = 0;
    let mut places = Vec::with_capacity(spans.len());
    for span in spans {
        while let Some(&Reverse((end, slot))) = busy.peek()
            && end <= span.start
        {
            busy.pop();
            free.push(Reverse(slot));
        }
        let slot = free.pop().map_or(used, |Reverse(slot)| slot);
        used = used.max(slot + 1);
        busy.push(Reverse((span.end, slot)));
        places.push(slot);
    }
    let columns = (MOST_MARKS / used.clamp(1, MOST_SLOTS)).clamp(80, 600);
    let least = 100.0 / float(i64::try_from(columns).unwrap_or(1));
    let mut latest: Vec<Option<usize>> = vec![None; used.min(MOST_SLOTS)];
    let mut marks: Vec<Mark> = Vec::new();
    for (place, (span, slot)) in spans.iter().zip(places).enumerate() {
        let Some(latest) = latest.get_mut(slot) else { continue };
        let (left, right) = (axis.place(span.start), axis.place(span.end));
        let other = u32::from(span.outcome != Some(Outcome::Completed));
        if let Some(mark) = latest.map(|at| &mut marks[at])
            && right - mark.left < least
        {
            mark.right = mark.right.max(right);
            mark.count += 1;
            mark.others += other;
            if seriousness(span.outcome) > seriousness(mark.outcome) {
                mark.outcome = span.outcome;
            }
        } else {
            *latest = Some(marks.len());
            marks.push(Mark { slot, left, right, count: 1, others: other, outcome: span.outcome, span: place });
        }
    }
    Slots { used, marks }
}

/// Of those that did not complete the one with the highest gives its colour.
fn seriousness(outcome: Option<Outcome>) -> u8 {
    match outcome {
        Some(Outcome::Failed) => 6,
        Some(Outcome::TimedOut) => 5,
        Some(Outcome::Interrupted) => 4,
        Some(Outcome::Cancelled) => 3,
        Some(Outcome::Stopped) => 2,
        None => 1,
        Some(Outcome::Completed) => 0,
    }
}

/// The moments at which attempts were lost, in order.
pub fn losses(spans: &[Span]) -> Vec<Loss> {
    let mut lost: Vec<(i64, usize)> = spans
        .iter()
        .enumerate()
        .filter(|(_, span)| span.outcome == Some(Outcome::Interrupted))
        .map(|(place, span)| (span.end, place))
        .collect();
    lost.sort_unstable();
    let mut losses: Vec<Loss> = Vec::new();
    for (at, span) in lost {
        match losses.last_mut() {
            Some(last) if at - last.at <= TOGETHER => last.count += 1,
            _ => losses.push(Loss { at, count: 1, span }),
        }
    }
    losses
}

/// How many tasks waited for an attempt, on average over each column.
pub fn waiting(night: &Night, axis: &Axis) -> Vec<f64> {
    let mut sums = vec![0.0; COLUMNS];
    let now = night.made.timestamp_millis();
    let begun = night.spans.iter().map(|span| (span.ready, span.start));
    for (from, to) in begun.chain(night.waiting.iter().map(|ready| (*ready, now))) {
        let (left, right) = (axis.place(from), axis.place(to));
        for (column, part) in parts(left, right) {
            sums[column] += part;
        }
    }
    sums
}

/// How many attempts completed, and how many ended otherwise, in each column.
pub fn ends(spans: &[Span], axis: &Axis) -> Vec<(u32, u32)> {
    let mut ends = vec![(0, 0); COLUMNS];
    for span in spans {
        let column = usize::try_from(whole(axis.place(span.end) / width())).unwrap_or(0).min(COLUMNS - 1);
        match span.outcome {
            Some(Outcome::Completed) => ends[column].0 += 1,
            Some(_) => ends[column].1 += 1,
            None => {}
        }
    }
    ends
}

/// The width of a column, in percent.
pub fn width() -> f64 {
    100.0 / float(i64::try_from(COLUMNS).unwrap_or(1))
}

/// The columns from one place to another, and which part of each.
fn parts(left: f64, right: f64) -> impl Iterator<Item = (usize, f64)> {
    let column = |place: f64| usize::try_from(whole(place / width())).unwrap_or(0).min(COLUMNS - 1);
    (column(left)..=column(right)).map(move |column| {
        let begin = float(i64::try_from(column).unwrap_or(0)) * width();
        (column, ((right.min(begin + width()) - left.max(begin)) / width()).max(0.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: i64, end: i64, outcome: Outcome) -> Span {
        Span { task: start, number: 1, function: 0, ready: 0, start, end, outcome: Some(outcome), cause: None }
    }

    #[test]
    fn an_attempt_has_the_lowest_free_slot() {
        let spans = [(0, 100_000), (0, 40_000), (40_000, 90_000), (50_000, 100_000)];
        let spans = spans.map(|(start, end)| span(start, end, Outcome::Completed));
        let axis = Axis::new(spans.iter().map(|s| (s.start, s.end))).expect("work");
        let found = slots(&spans, &axis);
        assert_eq!(found.used, 3);
        assert_eq!(found.marks.iter().map(|mark| mark.slot).collect::<Vec<_>>(), [0, 1, 1, 2]);
    }

    #[test]
    fn what_is_too_short_to_be_seen_is_one_mark_that_says_how_many_did_not_complete() {
        let mut spans: Vec<Span> = (0..10_000).map(|n| span(n * 10, n * 10 + 10, Outcome::Completed)).collect();
        spans[5_000].outcome = Some(Outcome::Failed);
        let axis = Axis::new(spans.iter().map(|s| (s.start, s.end))).expect("work");
        let found = slots(&spans, &axis);
        assert!(found.marks.len() <= 1200, "{}", found.marks.len());
        assert_eq!(found.marks.iter().map(|mark| mark.count).sum::<u32>(), 10_000);
        let failed: Vec<_> = found.marks.iter().filter(|mark| mark.outcome == Some(Outcome::Failed)).collect();
        assert_eq!(failed.iter().map(|mark| mark.others).collect::<Vec<_>>(), [1]);
        assert_eq!(ends(&spans, &axis).iter().map(|(good, bad)| good + bad).sum::<u32>(), 10_000);
    }

    #[test]
    fn what_was_lost_together_is_one_loss() {
        let spans = [(10, 5_000), (20, 5_900), (30, 60_000)].map(|(s, e)| span(s, e, Outcome::Interrupted));
        let found = losses(&spans);
        assert_eq!(found, [Loss { at: 5_000, count: 2, span: 0 }, Loss { at: 60_000, count: 1, span: 2 }]);
    }
}
