//! Text that is safe and short enough to show.

use batch_executor::protocol::Task;
use batch_executor::task::Status;
use batch_executor::time;
use batch_executor::visible::{self, visible_line};
use chrono::{DateTime, Local, TimeDelta};
use serde_json::Value;

/// The longest text in a cell, in characters.
const CELL_CHARS: usize = 80;

/// The first line that is not blank, shortened to a cell.
pub fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    shortened(&visible_line(line))
}

/// At most a cell's length.
pub fn shortened(text: &str) -> String {
    visible::clipped(text, CELL_CHARS).into_owned()
}

/// Why a task failed, in one line of at most a cell's length.
pub fn reason(error: &str) -> String {
    first_line(&visible::reason(error))
}

/// What was wrong rather than the exit code, where there is no room for both.
pub fn short_reason(reason: &str) -> &str {
    let told = reason.strip_prefix("exit code ").and_then(|rest| rest.split_once(": "));
    told.map_or(reason, |(_, telling)| telling)
}

/// What a task came to, in one line: why it failed or waits, else what it wrote, else its value.
pub fn outcome(task: &Task) -> String {
    if task.status == Status::Queued || task.status == Status::Running {
        let error = || task.error.as_deref().map(reason);
        return task.reason.as_deref().map(first_line).or_else(error).unwrap_or_default();
    }
    if let Some(error) = &task.error {
        return reason(error);
    }
    let Some(result) = &task.result else {
        return task.reason.as_deref().map(first_line).unwrap_or_default();
    };
    let written = |stream: &str| result.get(stream).and_then(Value::as_str).map(first_line).filter(|l| !l.is_empty());
    if result.get("exit_code").is_some() {
        return written("stdout").or_else(|| written("stderr")).unwrap_or_default();
    }
    match result {
        Value::String(text) => first_line(text),
        other => first_line(&other.to_string()),
    }
}

/// Seconds as a person says them.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 99.5 => format!("{s:.0} s"),
        s => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds, above 99")]
            let whole = s.round() as u64;
            let (days, hours, minutes, rest) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
            match (days, hours) {
                (0, 0) => format!("{minutes} min {rest} s"),
                (0, _) => format!("{hours} h {minutes} min"),
                _ => format!("{days} d {hours} h"),
            }
        }
    }
}

/// When something was, for a person: how long ago, and the hour, with the day where it is another.
pub fn when(at: &str) -> String {
    let Ok(at) = DateTime::parse_from_rfc3339(at) else { return at.to_owned() };
    let (at, now) = (at.with_timezone(&Local), Local::now());
    let hour = if at.date_naive() == now.date_naive() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    format!("{} ago, {}", span(now - at), at.format(hour))
}

/// How long it was from one time to another, where both are known.
pub fn between(from: Option<&str>, to: Option<&str>) -> Option<String> {
    let [from, to] = [from?, to?].map(DateTime::parse_from_rfc3339);
    Some(span(to.ok()? - from.ok()?))
}

/// A time between two; none where a clock was set back.
fn span(between: TimeDelta) -> String {
    seconds(time::seconds(between.num_milliseconds().max(0)))
}

/// The text in lines of at most so many characters, cut between words where that is possible.
pub fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        while let Some((most, _)) = rest.char_indices().nth(room) {
            let (within, beyond) = rest.split_at(most);
            let between = within.rfind(' ').filter(|at| !within[..*at].trim().is_empty());
            let cut = if beyond.starts_with(' ') { most } else { between.unwrap_or(most) };
            lines.push(rest[..cut].trim_end().to_owned());
            rest = rest[cut..].trim_start();
        }
        lines.push(rest.to_owned());
    }
    lines
}

/// "1 task", "2 tasks".
pub fn tasks(count: u64) -> String {
    if count == 1 { "1 task".to_owned() } else { format!("{count} tasks") }
}

/// "once", "3 times".
pub fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// Bytes as a person says them.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let step = (count.checked_ilog2().unwrap_or(0) / 10).min(4);
    let unit = UNITS.get(step as usize).copied().unwrap_or("bytes");
    let tenths = u128::from(count) * 10 / (1 << (10 * step));
    if step == 0 { format!("{count} {unit}") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

/// A number where there is one.
pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_say_them() {
        let cases = [(0.04, "0.0 s"), (1.25, "1.2 s"), (59.6, "60 s"), (125.0, "2 min 5 s"), (7260.0, "2 h 1 min")];
        for (value, expected) in cases {
            assert_eq!(seconds(value), expected);
        }
        assert_eq!(seconds(200_000.0), "2 d 7 h");
    }

    #[test]
    fn a_time_is_told_by_how_long_ago_it_was() {
        let past = (Local::now() - chrono::TimeDelta::hours(50)).to_rfc3339();
        let said = when(&past);
        assert!(said.starts_with("2 d 2 h ago, 2"), "{said}");
        let future = (Local::now() + chrono::TimeDelta::hours(1)).to_rfc3339();
        assert!(when(&future).starts_with("0.0 s ago, "), "a clock that was set back");
        assert_eq!(when("never"), "never");
    }

    #[test]
    fn sizes_as_people_say_them() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
    }

    #[test]
    fn long_text_is_cut_between_words() {
        assert_eq!(wrapped("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrapped("abcdefgh i\nj", 4), ["abcd", "efgh", "i", "j"]);
        assert_eq!(wrapped("äöü äöü", 3), ["äöü", "äöü"]);
        assert_eq!(wrapped("", 4), Vec::<String>::new());
    }

    #[test]
    fn a_hostile_name_moves_no_cursor() {
        assert_eq!(first_line("\n  \u{1b}[2Jgone\r\nsecond"), "\\x1b[2Jgone");
        assert_eq!(shortened(&"x".repeat(81)).chars().count(), 81);
    }
}
