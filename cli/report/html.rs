//! The report as one page: no network, no framework. All that the browser may run is the one script that carries this page's nonce;
//! what others wrote is text in the markup, or a string in the data, which the script shows as text.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};

use serde::Serialize;

use super::axis::{Axis, day_and_time};
use super::likeness::Group;
use super::night::{Function, Night, Row, Top};
use super::plain::markup;
use super::{chart, slots, words};
use crate::failure::Failure;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The most functions, and kinds of failures, that are shown.
const MOST: usize = 30;

/// The report.
///
/// # Errors
/// Without `/dev/urandom`, and when the data cannot be written as JSON.
pub fn page(night: &Night) -> Result<String, Failure> {
    let mut body = header(night);
    if let Some(axis) = Axis::new(night.spans.iter().map(|span| (span.start, span.end))) {
        when(&mut body, night, &axis);
    }
    failures(&mut body, night);
    functions(&mut body, night);
    tops(&mut body, night);
    interruptions(&mut body, night);
    tasks(&mut body);
    let data = serde_json::to_string(&Data::of(night)).map_err(io::Error::from)?;
    framed(&words::title(night), &body, Some(&data))
}

/// The page around a body; with data there is the script.
///
/// # Errors
/// Without `/dev/urandom`.
pub fn framed(title: &str, body: &str, data: Option<&str>) -> Result<String, Failure> {
    let nonce = nonce().map_err(|error| Failure::file("read", "/dev/urandom", &error))?;
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'nonce-{nonce}'; \
         script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{} · report</title>\n<style nonce=\"{nonce}\">\n{STYLE}</style>\n</head>\n<body>\n{body}",
        markup(title)
    );
    if let Some(data) = data {
        // Within a script element `<` alone can end it.
        let data = data.replace('<', "\\u003c");
        let _ = write!(
            page,
            "<script type=\"application/json\" id=\"data\">{data}</script>\n<script nonce=\"{nonce}\">\n{SCRIPT}</script>\n"
        );
    }
    page += "</body>\n</html>\n";
    Ok(page)
}

/// What nobody knew when the tasks wrote what they wrote.
fn nonce() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn header(night: &Night) -> String {
    let made = night.made.timestamp_millis();
    let mut body = format!(
        "<header>\n<p class=\"kind\">Report</p>\n<h1>{}</h1>\n<p class=\"made\">made {} \
         <span class=\"zone\">(UTC{})</span></p>\n</header>\n<main>\n<section class=\"summary\">\n\
         <p class=\"headline\">{}</p>\n<p>",
        markup(&words::title(night)),
        time(made),
        night.made.format("%:z"),
        markup(&words::headline(night)),
    );
    for sentence in words::sentences(night) {
        body += &in_code(&sentence);
        body.push(' ');
    }
    body += "</p>\n";
    body += "<dl class=\"tiles\">";
    let cpu: f64 = night.functions.iter().map(|function| function.cpu).sum();
    let took = night.period().map(|(begun, ended)| words::duration(ended - begun));
    let tiles = [
        ("completed", Some(words::number(night.counts.completed))),
        ("failed", Some(words::number(night.counts.failed))),
        ("cancelled", (night.counts.cancelled > 0).then(|| words::number(night.counts.cancelled))),
        ("running", (night.counts.running > 0).then(|| words::number(night.counts.running))),
        ("queued", (night.counts.queued > 0).then(|| words::number(night.counts.queued))),
        ("took", took),
        ("retries", Some(words::number(words::signed(night.retries)))),
        ("CPU time", (cpu > 0.0).then(|| crate::views::text::seconds(cpu))),
        ("peak memory", night.peak.map(|(bytes, _)| words::bytes(bytes))),
    ];
    for (label, value) in tiles {
        if let Some(value) = value {
            let _ = write!(
                body,
                "<div class=\"tile {}\"><dt>{label}</dt><dd>{value}</dd></div>",
                label.split(' ').next().unwrap_or_default()
            );
        }
    }
    body + "</dl>\n</section>\n"
}

fn when(body: &mut String, night: &Night, axis: &Axis) {
    let (used, drawn) = (words::most_at_once(night), words::signed(slots::MOST_SLOTS as u64));
    let part = if used > drawn { format!("the first {drawn} of {} slots", words::number(used)) } else { String::new() };
    let _ = write!(
        body,
        "<section id=\"when\">\n<h2>Who ran when <span class=\"note\">{part}</span></h2>\n<p class=\"legend\">"
    );
    let seen = |class: &str| night.spans.iter().any(|span| chart::class(span.outcome) == class);
    for (class, label) in [
        ("completed", "completed"),
        ("failed", "failed"),
        ("timed_out", "timed out"),
        ("interrupted", "interrupted"),
        ("stopped", "stopped, back to the queue"),
        ("cancelled", "cancelled"),
        ("running", "running"),
    ] {
        if seen(class) {
            let _ = write!(body, "<span><i class=\"{class}\"></i>{label}</span> ");
        }
    }
    if axis.pieces.iter().any(|piece| piece.is_break) {
        *body += "<span><i class=\"break\"></i>nothing ran (shortened)</span>";
    }
    let _ = writeln!(body, "</p>\n<figure>{}</figure>", chart::timeline(night, axis));
    for (title, (svg, said)) in
        [("Waiting for a slot", chart::waiting(night, axis)), ("Throughput", chart::throughput(night, axis))]
    {
        let _ = writeln!(body, "<h3>{title} <span class=\"note\">{said}</span></h3>\n<figure>{svg}</figure>");
    }
    *body += "</section>\n";
}

fn failures(body: &mut String, night: &Night) {
    let groups = night.groups.by_size();
    if groups.is_empty() {
        return;
    }
    *body += "<section id=\"failures\">\n<h2>What failed, and why</h2>\n";
    for (place, group) in groups.iter().take(MOST).enumerate() {
        failure(body, night, group, place < 3);
    }
    if groups.len() > MOST {
        let _ = writeln!(body, "<p class=\"note\">… and {} kinds more.</p>", groups.len() - MOST);
    }
    *body += "</section>\n";
}

fn failure(body: &mut String, night: &Night, group: &Group, open: bool) {
    let _ = write!(
        body,
        "<details class=\"group\"{}><summary><b>{}</b> <span class=\"function\">{}</span> <code>{}</code>\
         </summary>\n<pre>{}</pre>\n",
        if open { " open" } else { "" },
        words::number(words::signed(group.count)),
        markup(night.function(group.function)),
        markup(&group.line),
        markup(group.error.trim_end())
    );
    let first = group.ids.first().copied().unwrap_or_default();
    let example = group.example.text.trim_end();
    if !example.is_empty() && !group.error.contains(example) {
        let _ = write!(body, "<p class=\"note\">What task {first} wrote last:</p><pre>{}</pre>", markup(example));
    }
    *body += if group.count == 1 { "<p class=\"ids\">Task " } else { "<p class=\"ids\">Tasks " };
    for id in group.ids.iter().take(20) {
        let _ = write!(body, "<a href=\"#task-{id}\">{id}</a> ");
    }
    if group.count > 20 {
        let _ = write!(body, "and {} more", words::number(words::signed(group.count) - 20));
    }
    let again = night.retry(group);
    let is_part = group.count > group.ids.len() as u64 && !again.starts_with('-');
    let part = if is_part { format!(" (the first {})", group.ids.len()) } else { String::new() };
    let _ = writeln!(
        body,
        "</p>\n<p class=\"hint\">try them again{part}: <code class=\"command\">batch-executor retry {again}</code>\
         </p></details>"
    );
}

fn functions(body: &mut String, night: &Night) {
    let functions = words::by_work(night);
    if functions.is_empty() {
        return;
    }
    *body += "<section id=\"functions\">\n<h2>How long it took, by function</h2>\n<div class=\"cards\">\n";
    for function in functions.iter().take(MOST) {
        card(body, function);
    }
    *body += "</div>\n";
    if functions.len() > MOST {
        let _ = writeln!(body, "<p class=\"note\">… and {} functions more.</p>", functions.len() - MOST);
    }
    *body += "</section>\n";
}

fn card(body: &mut String, function: &Function) {
    let _ = write!(
        body,
        "<article class=\"card\"><h3>{}</h3>\n<p class=\"note\">{}</p>\n<figure>{}</figure>\n<dl>",
        markup(&function.name),
        words::counts(&function.counts),
        chart::histogram(&function.name, &function.runs)
    );
    let total: i64 = function.runs.iter().map(|run| i64::from(*run)).sum();
    let percentile = |percent| words::percentile(&function.runs, percent).map(words::duration);
    let figures = [
        ("median", percentile(50)),
        ("90 %", percentile(90)),
        ("99 %", percentile(99)),
        ("longest", percentile(100)),
        ("in all", (!function.runs.is_empty()).then(|| words::duration(total))),
        ("CPU", (function.cpu > 0.0).then(|| crate::views::text::seconds(function.cpu))),
    ];
    for (label, value) in figures {
        if let Some(value) = value {
            let _ = write!(body, "<div><dt>{label}</dt><dd>{value}</dd></div>");
        }
    }
    if let Some((bytes, task)) = function.peak {
        let _ = write!(
            body,
            "<div><dt>peak memory</dt><dd><a href=\"#task-{task}\" title=\"task {task}\">{}</a></dd></div>",
            words::bytes(bytes)
        );
    }
    *body += "</dl></article>\n";
}

fn tops(body: &mut String, night: &Night) {
    let mut lists = String::new();
    if night.counts.total > 1 && !night.slowest.is_empty() {
        top(&mut lists, night, "Slowest", "ran", &night.slowest, |top| words::duration(top.run_ms));
    }
    if !night.retried.is_empty() {
        top(&mut lists, night, "Most retries", "retries", &night.retried, |top| {
            format!("{}, {}", top.retries, top.status)
        });
    }
    if !lists.is_empty() {
        let _ = write!(body, "<section class=\"tops\">\n{lists}</section>\n");
    }
}

fn top(body: &mut String, night: &Night, title: &str, figure: &str, tops: &[Top], text: impl Fn(&Top) -> String) {
    let _ = write!(
        body,
        "<div><h2>{title}</h2>\n<table><thead><tr><th>task</th><th>name</th><th class=\"figure\">{figure}</th></tr>\
         </thead><tbody>\n"
    );
    for task in tops {
        let _ = writeln!(
            body,
            "<tr><td><a href=\"#task-{0}\">{0}</a></td><td><bdi>{1}</bdi> <span class=\"function\">{2}</span></td>\
             <td class=\"figure\">{3}</td></tr>",
            task.task,
            markup(&task.name),
            markup(night.function(task.function)),
            text(task)
        );
    }
    *body += "</tbody></table></div>\n";
}

fn interruptions(body: &mut String, night: &Night) {
    if night.causes.is_empty() {
        return;
    }
    *body += "<section id=\"causes\">\n<h2>Ended from outside</h2>\n<table><thead><tr><th>cause</th>\
     <th class=\"figure\">attempts</th><th class=\"figure\">time lost</th></tr></thead><tbody>\n";
    for (cause, sum) in &night.causes {
        let _ = writeln!(
            body,
            "<tr><td>{} <span class=\"function\">{cause}</span></td><td class=\"figure\">{}</td>\
             <td class=\"figure\">{}</td></tr>",
            words::cause(*cause),
            words::number(words::signed(sum.attempts)),
            words::duration(sum.lost_ms)
        );
    }
    *body += "</tbody></table>\n</section>\n";
}

/// What the script fills.
fn tasks(body: &mut String) {
    *body += include_str!("tasks.html");
    *body += "</main>\n";
}

/// The moment, exact in its title.
fn time(ms: i64) -> String {
    let exact = super::axis::local(ms).to_rfc3339_opts(chrono::SecondsFormat::Millis, false);
    format!("<time datetime=\"{exact}\" title=\"{exact}\">{}</time>", day_and_time(ms, false))
}

/// A sentence whose piece between backticks is others' text.
pub fn in_code(sentence: &str) -> String {
    match (sentence.find('`'), sentence.rfind('`')) {
        (Some(from), Some(to)) if from < to => format!(
            "{}<code>{}</code>{}",
            markup(&sentence[..from]),
            markup(&sentence[from + 1..to]),
            markup(&sentence[to + 1..])
        ),
        _ => markup(sentence),
    }
}

/// What the script shows: rows as lists, in the order of its constants.
#[derive(Serialize)]
struct Data<'n> {
    begun: i64,
    total: i64,
    functions: Vec<&'n str>,
    tasks: Vec<Listed<'n>>,
}

/// id, batch, name, function, status, started, ran, waited, CPU, peak, said, outputs, tries.
type Listed<'n> = (
    i64,
    i64,
    &'n str,
    usize,
    &'static str,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    i64,
    Option<i64>,
    &'n str,
    Vec<(&'static str, &'n str, usize)>,
    Vec<(Option<i64>, Option<i64>, &'static str, &'static str, &'n str)>,
);

impl<'n> Data<'n> {
    fn of(night: &'n Night) -> Self {
        let begun = night.period().map_or_else(|| night.made.timestamp_millis(), |(begun, _)| begun);
        Self {
            begun,
            total: night.counts.total,
            functions: night.functions.iter().map(|function| function.name.as_str()).collect(),
            tasks: night.rows.iter().map(|row| listed(row, begun)).collect(),
        }
    }
}

/// Times are from the begin: half the bytes.
fn listed(row: &Row, begun: i64) -> Listed<'_> {
    let from_begin = |time: Option<i64>| time.map(|time| time - begun);
    let outputs = row.outputs.iter().map(|(stream, tail)| (*stream, tail.text.as_str(), tail.before)).collect();
    let tries = row.tries.iter().map(|a| {
        let cause = a.cause.map_or("", words::cause);
        (from_begin(a.start), from_begin(a.end), words::outcome(a.outcome), cause, a.error.as_str())
    });
    (
        row.task,
        row.batch,
        &row.name,
        row.function,
        row.status.as_str(),
        from_begin(row.started),
        row.run_ms,
        row.wait_ms,
        row.cpu_ms,
        row.peak,
        &row.said,
        outputs,
        tries.collect(),
    )
}
