//! The report as Markdown, for chats and issues: what others wrote stands in code, which no fence of theirs ends.

use std::fmt::Write;

use super::night::Night;
use super::words;

/// The most groups of failures with an example.
const MOST_GROUPS: usize = 10;
/// The most functions.
const MOST_FUNCTIONS: usize = 20;

/// The report.
pub fn markdown(night: &Night) -> String {
    let mut text = format!("# Report: {}\n\n**{}**", code(&words::title(night)), words::headline(night));
    for sentence in words::sentences(night) {
        text.push(' ');
        text += &sentence_of(&sentence);
    }
    text += "\n";
    functions(&mut text, night);
    failures(&mut text, night);
    tops(&mut text, night);
    interruptions(&mut text, night);
    text
}

fn functions(text: &mut String, night: &Night) {
    if night.functions.is_empty() {
        return;
    }
    *text += "\n## By function\n\n| function | tasks | median | 90 % | longest | CPU | peak memory |\n\
     | --- | --- | ---: | ---: | ---: | ---: | ---: |\n";
    for function in words::by_work(night).into_iter().take(MOST_FUNCTIONS) {
        let time = |percent| words::percentile(&function.runs, percent).map_or_else(|| "–".to_owned(), words::duration);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.1} s | {} |",
            code(&function.name),
            words::counts(&function.counts),
            time(50),
            time(90),
            time(100),
            function.cpu,
            function.peak.map_or_else(|| "–".to_owned(), |(bytes, _)| words::bytes(bytes))
        );
    }
    if night.functions.len() > MOST_FUNCTIONS {
        let _ = writeln!(text, "\n… and {} functions more.", night.functions.len() - MOST_FUNCTIONS);
    }
}

fn failures(text: &mut String, night: &Night) {
    let groups = night.groups.by_size();
    if groups.is_empty() {
        return;
    }
    *text += "\n## Failures\n";
    for group in groups.iter().take(MOST_GROUPS) {
        let ids: Vec<String> = group.ids.iter().take(10).map(ToString::to_string).collect();
        let more = if group.count > 10 { ", …" } else { "" };
        let _ = writeln!(
            text,
            "\n### {} of {}: {}\n\n{}\n\n{} {}{more}; try them again: `batch-executor retry {}`",
            words::tasks(words::signed(group.count)),
            code(night.function(group.function)),
            code(&group.line),
            block(&group.error),
            if group.count == 1 { "Task" } else { "Tasks" },
            ids.join(", "),
            night.retry(group)
        );
    }
    if groups.len() > MOST_GROUPS {
        let _ = writeln!(text, "\n… and {} kinds more.", groups.len() - MOST_GROUPS);
    }
}

fn tops(text: &mut String, night: &Night) {
    if night.counts.total > 1 && !night.slowest.is_empty() {
        *text += "\n## Slowest\n\n| task | name | function | ran |\n| ---: | --- | --- | ---: |\n";
        for top in &night.slowest {
            let (name, function) = (code(&top.name), code(night.function(top.function)));
            let _ = writeln!(text, "| {} | {name} | {function} | {} |", top.task, words::duration(top.run_ms));
        }
    }
    if !night.retried.is_empty() {
        *text += "\n## Most retries\n\n| task | name | retries | came to |\n| ---: | --- | ---: | --- |\n";
        for top in &night.retried {
            let _ = writeln!(text, "| {} | {} | {} | {} |", top.task, code(&top.name), top.retries, top.status);
        }
    }
}

fn interruptions(text: &mut String, night: &Night) {
    if night.causes.is_empty() {
        return;
    }
    *text += "\n## Ended from outside\n\n| cause | attempts | time lost |\n| --- | ---: | ---: |\n";
    for (cause, sum) in &night.causes {
        let (attempts, lost) = (words::number(words::signed(sum.attempts)), words::duration(sum.lost_ms));
        let _ = writeln!(text, "| {} (`{cause}`) | {attempts} | {lost} |", words::cause(*cause));
    }
}

/// A sentence whose pieces between backticks are others' text.
fn sentence_of(sentence: &str) -> String {
    match (sentence.find('`'), sentence.rfind('`')) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{}{}", &sentence[..from], code(&sentence[from + 1..to]), &sentence[to + 1..])
        }
        _ => sentence.to_owned(),
    }
}

/// In a line: fenced by more backticks than it has in a row; in a table too.
pub fn code(text: &str) -> String {
    let fence = "`".repeat(longest_run(text) + 1);
    let room = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{room}{}{room}{fence}", text.replace('\n', " ").replace('|', "\\|"))
}

/// Lines of their own.
fn block(text: &str) -> String {
    let fence = "`".repeat((longest_run(text) + 1).max(3));
    format!("{fence}\n{}\n{fence}", text.trim_end())
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_others_leaves_its_code() {
        assert_eq!(code("a|b"), "`a\\|b`");
        assert_eq!(code("`x`` y"), "``` `x`` y ```");
        assert_eq!(block("a\n```\n<b>"), "````\na\n```\n<b>\n````");
        assert_eq!(sentence_of("often: `it's ``odd`."), "often: ```it's ``odd```.");
    }
}
