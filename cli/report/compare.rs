//! Two runs of the same tasks: what fails now, what completes now, what takes longer. Tasks are the same by their names; of several with
//! one name the first of one run is the first of the other.

use std::collections::HashMap;
use std::fmt::Write;

use batch_executor::protocol::Counts;
use batch_executor::task::{BatchId, Status, TaskId};

use super::axis::float;
use super::night::{Line, MOST_ROWS, time};
use super::plain::{self, markup};
use super::{collect, html, likeness, markdown, words};
use crate::context::Context;
use crate::failure::Failure;

/// The most tasks of a list.
const MOST: usize = 50;
/// From this ratio of the run times on a task is slower, or faster: less is chance.
const RATIO: f64 = 1.25;
/// And from this difference on.
const LEAST_MS: i64 = 200;

/// A task, as far as it is compared.
#[derive(Debug, Clone)]
struct Ran {
    task: TaskId,
    name: String,
    status: Status,
    run_ms: i64,
    line: String,
}

/// A run.
#[derive(Debug)]
struct Run {
    batch: BatchId,
    counts: Counts,
    work_ms: i64,
    begun: Option<i64>,
    ended: Option<i64>,
    tasks: Vec<Ran>,
    /// Beyond those that are compared.
    more: bool,
}

/// Two runs and what differs.
#[derive(Debug)]
pub struct Runs {
    one: Run,
    other: Run,
    lists: Vec<List>,
}

/// Tasks that differ in one way.
#[derive(Debug)]
struct List {
    title: &'static str,
    pairs: Vec<(Option<Ran>, Option<Ran>)>,
}

/// Reads both and compares them.
///
/// # Errors
/// A batch that is not there, or no daemon.
pub fn runs(context: &Context, one: BatchId, other: BatchId) -> Result<Runs, Failure> {
    let (one, other) = (run(context, one)?, run(context, other)?);
    let lists = compared(&one.tasks, &other.tasks);
    Ok(Runs { one, other, lists })
}

fn run(context: &Context, batch: BatchId) -> Result<Run, Failure> {
    let mut run =
        Run { batch, counts: Counts::default(), work_ms: 0, begun: None, ended: None, tasks: Vec::new(), more: false };
    collect::tasks(context, Some(batch), |task| run.add(&task))?;
    Ok(run)
}

impl Run {
    fn add(&mut self, task: &Line) {
        super::night::count(&mut self.counts, task.status);
        let run_ms = super::night::ms(task.execution_time.unwrap_or(0.0));
        self.work_ms += run_ms;
        for attempt in task.attempts.iter().flatten() {
            let (start, end) = (time(attempt.started_at.as_ref()), time(attempt.finished_at.as_ref()));
            self.begun = self.begun.into_iter().chain(start).min();
            self.ended = self.ended.max(end);
        }
        if self.tasks.len() == MOST_ROWS {
            self.more = true;
            return;
        }
        let error = task.error.as_deref().map(|error| plain::line(likeness::last_line(error), 160));
        self.tasks.push(Ran {
            task: task.task_id,
            name: plain::line(&task.name, 160),
            status: task.status,
            run_ms,
            line: error.unwrap_or_default(),
        });
    }

    fn took_ms(&self) -> i64 {
        self.ended.unwrap_or(0) - self.begun.unwrap_or(0)
    }

    fn sentence(&self) -> String {
        let took = if self.counts.is_over() { words::duration(self.took_ms()) } else { "not over".to_owned() };
        let counts = words::counts(&self.counts);
        format!("batch {}: {counts}; {took}, {} of work", self.batch, words::duration(self.work_ms))
    }
}

/// The lists, each with the largest difference first.
fn compared(one: &[Ran], other: &[Ran]) -> Vec<List> {
    let mut places: HashMap<&str, Vec<&Ran>> = HashMap::new();
    for ran in one.iter().rev() {
        places.entry(&ran.name).or_default().push(ran);
    }
    let list = |title| List { title, pairs: Vec::new() };
    let mut lists =
        ["Fails now", "Completes now", "Slower", "Faster", "Only in the second", "Only in the first"].map(list);
    for now in other {
        let before = places.get_mut(now.name.as_str()).and_then(Vec::pop);
        let place = match before {
            None => Some(4),
            Some(before) => change(before, now),
        };
        if let Some(place) = place {
            lists[place].pairs.push((before.cloned(), Some(now.clone())));
        }
    }
    let left = places.into_values().flatten().map(|ran| (Some(ran.clone()), None));
    lists[5].pairs.extend(left);
    lists[5].pairs.sort_by_key(|(before, _)| before.as_ref().map(|ran| ran.task));
    for list in &mut lists[2..4] {
        list.pairs.sort_by_key(|pair| std::cmp::Reverse(difference(pair).abs()));
    }
    lists.into_iter().filter(|list| !list.pairs.is_empty()).collect()
}

/// The list to which a task belongs that is in both.
fn change(before: &Ran, now: &Ran) -> Option<usize> {
    match (before.status, now.status) {
        (Status::Completed, Status::Failed) => Some(0),
        (Status::Failed, Status::Completed) => Some(1),
        (Status::Completed, Status::Completed) => {
            let (was, is) = (float(before.run_ms), float(now.run_ms));
            let differs = (now.run_ms - before.run_ms).abs() >= LEAST_MS;
            match () {
                () if differs && is >= was * RATIO => Some(2),
                () if differs && was >= is * RATIO => Some(3),
                () => None,
            }
        }
        _ => None,
    }
}

fn difference((before, now): &(Option<Ran>, Option<Ran>)) -> i64 {
    now.as_ref().map_or(0, |ran| ran.run_ms) - before.as_ref().map_or(0, |ran| ran.run_ms)
}

impl Runs {
    /// The tasks of both.
    pub const fn total(&self) -> i64 {
        self.one.counts.total + self.other.counts.total
    }

    fn title(&self) -> String {
        format!("batch {} and batch {}", self.one.batch, self.other.batch)
    }

    fn sentences(&self) -> Vec<String> {
        let mut said = Vec::new();
        let (was, is) = (self.one.took_ms(), self.other.took_ms());
        if self.one.counts.is_over() && self.other.counts.is_over() && was > 0 && is > 0 {
            let (word, ratio) =
                if is > was { ("slower", float(is) / float(was)) } else { ("faster", float(was) / float(is)) };
            let took = format!("The second took {}, the first {}", words::duration(is), words::duration(was));
            said.push(if ratio < 1.05 {
                format!("{took}: about the same.")
            } else {
                format!("{took}: {ratio:.1} times {word}.")
            });
        }
        let counts = self.lists.iter().map(|list| format!("{}: {}", list.title.to_lowercase(), list.pairs.len()));
        let counts = counts.collect::<Vec<_>>().join("; ");
        said.push(if counts.is_empty() { "No task differs.".to_owned() } else { format!("By task: {counts}.") });
        if self.one.more || self.other.more {
            said.push(format!("The first {} of each are compared.", words::tasks(words::signed(MOST_ROWS as u64))));
        }
        said
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}, compared\n\n{}\n\n", self.title(), self.sentences().join(" "));
        let _ = writeln!(text, "- {}\n- {}", self.one.sentence(), self.other.sentence());
        for list in &self.lists {
            let _ = writeln!(
                text,
                "\n## {} ({})\n\n| task | first | second | error |\n| --- | --- | --- | --- |",
                list.title,
                list.pairs.len()
            );
            for pair in list.pairs.iter().take(MOST) {
                let (name, first, second, line) = cells(pair);
                let line = if line.is_empty() { String::new() } else { markdown::code(line) };
                let _ = writeln!(text, "| {} | {first} | {second} | {line} |", markdown::code(name));
            }
            if list.pairs.len() > MOST {
                let _ = writeln!(text, "\n… and {} more.", list.pairs.len() - MOST);
            }
        }
        text
    }

    /// As a page.
    ///
    /// # Errors
    /// As [`html::framed`].
    pub fn page(&self) -> Result<String, Failure> {
        let said = self.sentences();
        let (first, rest) = said.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        let mut body = format!(
            "<header>\n<p class=\"kind\">Comparison</p>\n<h1>{}</h1>\n</header>\n<main>\n\
             <section class=\"summary\">\n<p class=\"headline\">{}</p>\n<p>{}</p>\n<ul><li>{}</li><li>{}</li>\
             </ul>\n</section>\n",
            self.title(),
            first,
            rest.join(" "),
            self.one.sentence(),
            self.other.sentence()
        );
        for list in &self.lists {
            let _ = write!(
                body,
                "<section>\n<h2>{} <span class=\"note\">{}</span></h2>\n<table><thead><tr><th>task</th>\
                 <th class=\"figure\">first</th><th class=\"figure\">second</th></tr></thead><tbody>\n",
                list.title,
                list.pairs.len()
            );
            for pair in list.pairs.iter().take(MOST) {
                let (name, first, second, line) = cells(pair);
                let line = if line.is_empty() { String::new() } else { format!("<br><code>{}</code>", markup(line)) };
                let _ = writeln!(
                    body,
                    "<tr><td><bdi>{}</bdi>{line}</td><td class=\"figure\">{first}</td><td class=\"figure\">{second}\
                     </td></tr>",
                    markup(name)
                );
            }
            body += "</tbody></table>\n";
            if list.pairs.len() > MOST {
                let _ = writeln!(body, "<p class=\"note\">… and {} more.</p>", list.pairs.len() - MOST);
            }
            body += "</section>\n";
        }
        body += "</main>\n";
        html::framed(&format!("{}, compared", self.title()), &body, None)
    }
}

/// Name, what it came to in each run, and the error of the second, else of the first.
fn cells((before, now): &(Option<Ran>, Option<Ran>)) -> (&str, String, String, &str) {
    let came_to = |ran: &Option<Ran>| match ran {
        None => "–".to_owned(),
        Some(ran) if ran.status == Status::Completed => words::duration(ran.run_ms),
        Some(ran) => format!("{} {}", words::duration(ran.run_ms), ran.status),
    };
    let either = now.iter().chain(before.iter());
    let name = either.clone().map(|ran| ran.name.as_str()).next().unwrap_or_default();
    let line = either.map(|ran| ran.line.as_str()).find(|line| !line.is_empty()).unwrap_or_default();
    (name, came_to(before), came_to(now), line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(task: TaskId, name: &str, status: Status, run_ms: i64) -> Ran {
        Ran { task, name: name.to_owned(), status, run_ms, line: String::new() }
    }

    #[test]
    fn what_differs_by_name() {
        use Status::{Completed, Failed};
        let one = [
            ran(1, "same", Completed, 1000),
            ran(2, "twice", Completed, 1000),
            ran(3, "twice", Failed, 10),
            ran(4, "slow", Completed, 1000),
            ran(5, "gone", Completed, 10),
        ];
        let other = [
            ran(11, "same", Completed, 1100),
            ran(12, "twice", Failed, 1000),
            ran(13, "twice", Completed, 10),
            ran(14, "slow", Completed, 1300),
            ran(15, "new", Completed, 10),
        ];
        let lists = compared(&one, &other);
        let found: Vec<_> = lists
            .iter()
            .map(|list| {
                let ids = list.pairs.iter().map(|(a, b)| (a.as_ref().map(|a| a.task), b.as_ref().map(|b| b.task)));
                (list.title, ids.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(
            found,
            [
                ("Fails now", vec![(Some(2), Some(12))]),
                ("Completes now", vec![(Some(3), Some(13))]),
                ("Slower", vec![(Some(4), Some(14))]),
                ("Only in the second", vec![(None, Some(15))]),
                ("Only in the first", vec![(Some(5), None)]),
            ]
        );
    }
}
