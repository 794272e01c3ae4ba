//! Charts as SVG. Places across are percents, so that a chart fills a phone and a desk alike and its text keeps its size; each says
//! what it shows in a title and a description.

use std::fmt::Write;

use batch_executor::task::Outcome;

use super::axis::{Axis, day_and_time, float};
use super::night::{Night, Span};
use super::plain::markup;
use super::slots::{self, Loss, MOST_SLOTS, Mark};
use super::words;

/// The height of the labels below.
const FOOT: usize = 18;
/// The height of the labels above the slots.
const HEAD: usize = 16;
/// The height of a chart of columns.
const HEIGHT: f64 = 64.0;
/// The width of a label above, in percent of a phone's.
const LABEL: f64 = 23.0;
/// The bars of a histogram.
const BARS: usize = 24;

/// Who ran when: a line for each slot, with what was lost and when nothing ran.
pub fn timeline(night: &Night, axis: &Axis) -> String {
    let found = slots::slots(&night.spans, axis);
    let losses = slots::losses(&night.spans);
    let shown = found.used.min(MOST_SLOTS);
    let line = match shown {
        0..=8 => 18,
        9..=16 => 12,
        17..=32 => 8,
        _ => 5,
    };
    let bottom = HEAD + shown * line;
    let mut said = format!(
        "{} in {} from {}; each line is a slot",
        words::plural(night.spans.len() as u64, "attempt", "attempts"),
        words::plural(found.used as u64, "slot", "slots"),
        axis.pieces.first().map(|piece| day_and_time(piece.from, false)).unwrap_or_default(),
    );
    for loss in losses.iter().take(20) {
        let _ = write!(said, "; {}", loss_text(night, loss));
    }
    let mut svg = opened("slots", bottom + FOOT, "Who ran when", &said);
    svg += "<defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
            <rect class=\"hatch-ground\" width=\"6\" height=\"6\"/>\
             <rect class=\"hatch-line\" width=\"2.5\" height=\"6\"/></pattern></defs>";
    for piece in axis.pieces.iter().filter(|piece| piece.is_break) {
        let width = piece.right - piece.left;
        let _ = write!(
            svg,
            "<rect class=\"break\" x=\"{:.2}%\" y=\"{HEAD}\" width=\"{width:.2}%\" height=\"{}\">\
             <title>nothing ran for {}, from {} to {}</title></rect>",
            piece.left,
            bottom - HEAD,
            words::duration(piece.to - piece.from),
            day_and_time(piece.from, true),
            day_and_time(piece.to, true),
        );
    }
    for mark in &found.marks {
        svg += &drawn(night, mark, HEAD + mark.slot * line, line);
    }
    let mut labelled = 0.0;
    for loss in &losses {
        let at = axis.place(loss.at);
        let _ = write!(
            svg,
            "<g class=\"loss\"><title>{}</title><line x1=\"{at:.2}%\" x2=\"{at:.2}%\" y1=\"{}\" y2=\"{bottom}\"/>",
            loss_text(night, loss),
            HEAD - 4
        );
        let (begin, anchor) = if at > 100.0 - LABEL { (at - LABEL, "end") } else { (at, "start") };
        if begin >= labelled {
            labelled = begin + LABEL;
            let _ = write!(svg, "<text x=\"{at:.2}%\" y=\"10\" text-anchor=\"{anchor}\">▾ interrupted</text>");
        }
        svg += "</g>";
    }
    svg + &labels(axis, bottom) + "</svg>"
}

fn loss_text(night: &Night, loss: &Loss) -> String {
    let why = night.spans[loss.span].cause.map_or("interrupted", words::cause);
    let count = words::plural(u64::from(loss.count), "attempt was", "attempts were");
    format!("{}: {count} lost: {why}", day_and_time(loss.at, true))
}

/// A mark with what it is. One attempt leads to its task; of several, what did not complete has its share of the height.
fn drawn(night: &Night, mark: &Mark, top: usize, line: usize) -> String {
    let span = &night.spans[mark.span];
    let width = (mark.right - mark.left).max(0.15);
    let height = float(words::signed(line as u64)) - if line > 8 { 3.0 } else { 1.0 };
    let top = float(words::signed(top as u64));
    let rect = |class: &str, from: f64, height: f64| {
        let left = mark.left;
        format!(
            "<rect class=\"{class}\" x=\"{left:.2}%\" y=\"{from:.1}\" width=\"{width:.2}%\" height=\"{height:.1}\"/>"
        )
    };
    if mark.count == 1 {
        let (shape, said) = (rect(class(mark.outcome), top, height), attempt_text(night, span));
        return if width > 0.4 {
            format!("<a href=\"#task-{}\"><title>{said}</title>{shape}</a>", span.task)
        } else {
            format!("<g><title>{said}</title>{shape}</g>")
        };
    }
    let share = match (mark.others, mark.count) {
        (0, _) => 0.0,
        (others, count) => (height * f64::from(others) / f64::from(count)).max(1.5).min(height),
    };
    let completed = if share < height { rect("completed", top, height - share) } else { String::new() };
    let others = if share > 0.0 { rect(class(mark.outcome), top + height - share, share) } else { String::new() };
    let (count, others_said, begun) = (mark.count, mark.others, day_and_time(span.start, true));
    format!(
        "<g><title>{count} attempts from {begun}, {others_said} of them did not complete</title>{completed}{others}</g>"
    )
}

fn attempt_text(night: &Night, span: &Span) -> String {
    format!(
        "task {}, attempt {} of {}: {} after {}, begun {}",
        span.task,
        span.number,
        markup(night.function(span.function)),
        words::outcome(span.outcome),
        words::duration(span.end - span.start),
        day_and_time(span.start, true)
    )
}

/// The class of a colour.
pub const fn class(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        None => "running",
        Some(other) => other.as_str(),
    }
}

/// How many tasks waited for a slot; and how many at most, in words.
pub fn waiting(night: &Night, axis: &Axis) -> (String, String) {
    let columns: Vec<(f64, f64)> = slots::waiting(night, axis).into_iter().map(|tasks| (tasks, 0.0)).collect();
    let most = columns.iter().map(|(tasks, _)| *tasks).fold(0.0, f64::max);
    let said = format!("at most {}", words::tasks(super::axis::whole(most.ceil())));
    let svg = columns_chart(axis, "What waited", &said, &columns, ("waiting", "waiting"), |(tasks, _)| {
        format!("{tasks:.1} tasks waited")
    });
    (svg, said)
}

/// How many attempts ended, by whether they completed; and how many at most, in words.
pub fn throughput(night: &Night, axis: &Axis) -> (String, String) {
    let columns: Vec<(f64, f64)> =
        slots::ends(&night.spans, axis).into_iter().map(|(good, bad)| (f64::from(good), f64::from(bad))).collect();
    let minutes = |column: usize| {
        let left = slots::width() * float(words::signed(column as u64));
        float((axis.at(left + slots::width()) - axis.at(left)).max(1)) / 60_000.0
    };
    let rates: Vec<(f64, f64)> =
        columns.iter().enumerate().map(|(at, (good, bad))| (good / minutes(at), bad / minutes(at))).collect();
    let peak = rates.iter().map(|(good, bad)| good + bad).fold(0.0, f64::max);
    let said = format!("attempts that ended, at most {} a minute", rate(peak));
    let svg = columns_chart(axis, "What ended", &said, &rates, ("completed", "failed"), |(good, bad)| {
        format!("{} a minute completed, {} did not", rate(good), rate(bad))
    });
    (svg, said)
}

fn rate(count: f64) -> String {
    if count < 10.0 { format!("{count:.1}") } else { words::number(super::axis::whole(count.round())) }
}

fn columns_chart(
    axis: &Axis,
    title: &str,
    said: &str,
    columns: &[(f64, f64)],
    classes: (&str, &str),
    text: impl Fn((f64, f64)) -> String,
) -> String {
    let most = columns.iter().map(|(one, other)| one + other).fold(f64::MIN_POSITIVE, f64::max);
    let mut svg = opened("columns", 82, title, said);
    for (place, column) in columns.iter().enumerate() {
        let (one, other) = (column.0 / most * HEIGHT, column.1 / most * HEIGHT);
        let left = slots::width() * float(words::signed(place as u64));
        if one + other == 0.0 {
            continue;
        }
        let begun = day_and_time(axis.at(left), true);
        let width = slots::width() - 0.25;
        let _ = write!(svg, "<g><title>from {begun}: {}</title>", text(*column));
        for (height, top, class) in [(one, HEIGHT - one, classes.0), (other, HEIGHT - one - other, classes.1)] {
            if height > 0.0 {
                let _ = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{left:.2}%\" y=\"{top:.1}\" width=\"{width:.2}%\" height=\"{:.1}\"/>",
                    height.max(1.0)
                );
            }
        }
        svg += "</g>";
    }
    svg + &labels(axis, 64) + "</svg>"
}

fn labels(axis: &Axis, top: usize) -> String {
    let mut svg = format!("<line class=\"ground\" x1=\"0\" x2=\"100%\" y1=\"{top}\" y2=\"{top}\"/>");
    for (place, text) in axis.labels() {
        let y = top + 13;
        let _ = write!(
            svg,
            "<line class=\"ground\" x1=\"{place:.2}%\" x2=\"{place:.2}%\" y1=\"{top}\" y2=\"{}\"/>\
             <text x=\"{place:.2}%\" dx=\"3\" y=\"{y}\">{text}</text>",
            top + 5
        );
    }
    svg
}

/// How long the tasks of a function ran: bars of equal ratio from the shortest to the longest, with the median marked.
pub fn histogram(name: &str, runs: &[u32]) -> String {
    let (Some(&least), Some(&most), Some(median)) = (runs.first(), runs.last(), words::percentile(runs, 50)) else {
        return String::new();
    };
    let logarithm = |ms: i64| float(ms.max(1)).ln();
    let (from, to) = (logarithm(i64::from(least)), logarithm(i64::from(most)));
    let place = |ms: i64| if to > from { (logarithm(ms) - from) / (to - from) } else { 0.5 };
    let mut bars = [0_u32; BARS];
    for run in runs {
        let bar = super::axis::whole(place(i64::from(*run)) * float(words::signed(BARS as u64)));
        bars[usize::try_from(bar).unwrap_or(0).min(BARS - 1)] += 1;
    }
    let highest = f64::from(bars.iter().copied().max().unwrap_or(1).max(1));
    let (first, last) = (words::duration(i64::from(least)), words::duration(i64::from(most)));
    let said = format!("from {first} to {last}, half of them at most {}", words::duration(median));
    let mut svg = opened("histogram", 66, &format!("How long {name} ran"), &said);
    let width = 100.0 / float(words::signed(BARS as u64));
    let at =
        |bar: usize| (from + (to - from) * float(words::signed(bar as u64)) / float(words::signed(BARS as u64))).exp();
    for (bar, count) in bars.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = (f64::from(*count) / highest * 46.0).max(1.5);
        let between = [at(bar), at(bar + 1)].map(|ms| words::duration(super::axis::whole(ms.round())));
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{:.2}%\" y=\"{:.1}\" width=\"{:.2}%\" height=\"{height:.1}\">\
             <title>{}: {} to {}</title></rect>",
            width * float(words::signed(bar as u64)),
            48.0 - height,
            width - 0.6,
            words::tasks(i64::from(*count)),
            between[0],
            between[1]
        );
    }
    let half = place(median) * 100.0;
    let _ = write!(
        svg,
        "<line class=\"median\" x1=\"{half:.2}%\" x2=\"{half:.2}%\" y1=\"0\" y2=\"48\"/>\
         <line class=\"ground\" x1=\"0\" x2=\"100%\" y1=\"48\" y2=\"48\"/><text x=\"0\" y=\"62\">{first}</text>\
         <text x=\"100%\" y=\"62\" text-anchor=\"end\">{last}</text>"
    );
    svg + "</svg>"
}

fn opened(class: &str, height: usize, title: &str, said: &str) -> String {
    format!(
        "<svg class=\"{class}\" role=\"img\" width=\"100%\" height=\"{height}\"><title>{}</title><desc>{}</desc>",
        markup(title),
        markup(said)
    )
}
