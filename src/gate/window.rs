//! Times of the day, by the wall clock where the daemon is.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Timelike};

/// Some spans of the day: from, up to; where the end is before the begin it is on the next day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window(Vec<(NaiveTime, NaiveTime)>);

impl Window {
    /// Whether a time is in it.
    pub fn holds<Z: TimeZone>(&self, now: &DateTime<Z>) -> bool {
        let now = now.time();
        self.0.iter().any(|(from, to)| if from < to { now >= *from && now < *to } else { now >= *from || now < *to })
    }

    /// When it begins or ends next, after `now`.
    pub fn next_change<Z: TimeZone>(&self, now: &DateTime<Z>) -> DateTime<Z> {
        let zone = now.timezone();
        let today = now.naive_local().date();
        let edges = self.0.iter().flat_map(|(from, to)| [*from, *to]);
        // A time that a change of the clocks leaves out comes an hour later, one that comes twice counts the first time.
        let on_clock = |local: NaiveDateTime| {
            zone.from_local_datetime(&local).earliest().or_else(|| {
                let later = local.checked_add_signed(TimeDelta::hours(1))?;
                zone.from_local_datetime(&later).earliest()
            })
        };
        let days = [Some(today), today.succ_opt(), today.succ_opt().and_then(|day| day.succ_opt())];
        let changes = edges.flat_map(|edge| days.iter().flatten().map(move |day| day.and_time(edge)));
        let next = changes.filter_map(on_clock).filter(|at| at > now).min();
        next.unwrap_or_else(|| now.clone() + TimeDelta::days(1))
    }
}

impl FromStr for Window {
    type Err = ();

    /// `22:00-06:00`, or several with commas between.
    fn from_str(text: &str) -> Result<Self, ()> {
        let time = |text: &str| NaiveTime::parse_from_str(text.trim(), "%H:%M").map_err(drop);
        let span = |text: &str| {
            let (from, to) = text.split_once('-').ok_or(())?;
            let (from, to) = (time(from)?, time(to)?);
            if from == to { Err(()) } else { Ok((from, to)) }
        };
        text.split(',').map(span).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (from, to)) in self.0.iter().enumerate() {
            let between = if place == 0 { "" } else { ", " };
            let [from, to] = [from, to].map(|time| format!("{:02}:{:02}", time.hour(), time.minute()));
            write!(f, "{between}{from}-{to}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::FixedOffset;

    fn at(text: &str) -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339(text).expect("a time")
    }

    #[test]
    fn a_night_goes_over_midnight() {
        let night: Window = "22:00-06:00".parse().expect("a window");
        for (time, holds, next) in [
            ("2026-11-27T21:59:59+01:00", false, "2026-11-27T22:00:00+01:00"),
            ("2026-11-27T22:00:00+01:00", true, "2026-11-28T06:00:00+01:00"),
            ("2026-11-28T05:59:59+01:00", true, "2026-11-28T06:00:00+01:00"),
            ("2026-11-28T06:00:00+01:00", false, "2026-11-28T22:00:00+01:00"),
        ] {
            assert_eq!((night.holds(&at(time)), night.next_change(&at(time))), (holds, at(next)), "{time}");
        }
    }

    #[test]
    fn there_may_be_several() {
        let window: Window = "12:00-13:00, 20:30-23:00".parse().expect("a window");
        assert!(window.holds(&at("2026-11-27T12:30:00Z")));
        assert!(!window.holds(&at("2026-11-27T13:00:00Z")));
        assert_eq!(window.to_string(), "12:00-13:00, 20:30-23:00");
        for wrong in ["", "22:00", "25:00-06:00", "6-7", "06:00-06:00"] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong}");
        }
    }
}
