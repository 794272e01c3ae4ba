//! How fast it goes, and how long it may still take.

use std::collections::VecDeque;

/// How many measurements are kept, at least a second apart.
const KEPT: usize = 600;
/// Seconds of measurements from which on they say something.
const STEADY: f64 = 10.0;

/// What has ended by when. A measurement is taken whenever the counts are known.
#[derive(Debug, Default)]
pub struct Pace {
    /// Wall clock in milliseconds, and how many tasks had ended.
    measured: VecDeque<(i64, i64)>,
}

impl Pace {
    /// So many had ended at that time. A count that falls (`clear`, `retry`) begins anew.
    pub fn measure(&mut self, at: i64, ended: i64) {
        if self.measured.back().is_some_and(|(then, count)| ended < *count || at < *then) {
            self.measured.clear();
        }
        // Within a second the later one stands for it.
        let before_last = self.measured.len().checked_sub(2).and_then(|at| self.measured.get(at));
        if before_last.is_some_and(|(then, _)| at - then < 1000) {
            self.measured.pop_back();
        }
        self.measured.push_back((at, ended));
        if self.measured.len() > KEPT {
            self.measured.pop_front();
        }
    }

    /// Something else is counted from here on.
    pub fn forget(&mut self) {
        self.measured.clear();
    }

    /// Tasks a second in the last so many seconds; none where too little is known.
    fn rate(&self, seconds: i64) -> Option<f64> {
        let (now, ended) = self.measured.back()?;
        let (then, count) = self.measured.iter().find(|(at, _)| now - at <= seconds * 1000)?;
        #[expect(clippy::cast_precision_loss, reason = "counts and times below 2^53")]
        let (over, ends) = ((now - then) as f64 / 1000.0, (ended - count) as f64);
        (over >= STEADY).then(|| ends / over)
    }

    /// The seconds that `left` tasks may still take, from and to: by the daemon's own guess, the last minute and all that was
    /// seen. None: nobody knows; without the daemon's guess nothing goes on.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub fn eta(&self, left: i64, daemons: Option<f64>) -> Option<(f64, f64)> {
        let daemons = daemons?;
        let rates = [self.rate(60), self.rate(i64::MAX / 1000)];
        let own = rates.into_iter().flatten().filter(|rate| *rate > 0.0).map(|rate| left as f64 / rate);
        Some(own.fold((daemons, daemons), |(low, high), guess| (low.min(guess), high.max(guess))))
    }

    /// Tasks a second in each of the latest `count` spans of so many seconds, the oldest first.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub fn history(&self, count: usize, seconds: i64) -> Vec<f64> {
        let Some((now, _)) = self.measured.back() else { return Vec::new() };
        let known = self.measured.front().map_or(*now, |(at, _)| *at);
        let spans = i64::try_from(count).unwrap_or(0).min((now - known) / (seconds * 1000));
        let at = |time: i64| {
            let after = self.measured.partition_point(|(at, _)| *at <= time);
            let before = after.checked_sub(1).and_then(|at| self.measured.get(at)).copied().unwrap_or((known, 0));
            let next = self.measured.get(after).copied().unwrap_or(before);
            let part = if next.0 > before.0 { (time - before.0) as f64 / (next.0 - before.0) as f64 } else { 0.0 };
            part.mul_add((next.1 - before.1) as f64, before.1 as f64)
        };
        let edges: Vec<f64> = (0..=spans).rev().map(|back| at(now - back * seconds * 1000)).collect();
        edges.windows(2).filter_map(|edge| Some((edge.last()? - edge.first()?).max(0.0) / seconds as f64)).collect()
    }
}

/// From and to as a person says them: "12 to 15 min", "about 40 s".
pub fn span((low, high): (f64, f64)) -> String {
    let (unit, name) = match high {
        high if high < 100.0 => (1.0, "s"),
        high if high < 100.0 * 60.0 => (60.0, "min"),
        high if high < 100.0 * 3600.0 => (3600.0, "h"),
        _ => (86400.0, "d"),
    };
    let digits = usize::from(unit > 1.0 && high / unit < 9.95);
    let said = |seconds: f64| format!("{:.digits$}", seconds / unit);
    let (low, high) = (said(low), said(high));
    if low == high { format!("about {high} {name}") } else { format!("{low} to {high} {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_band_is_as_wide_as_the_rates_differ() {
        let mut pace = Pace::default();
        assert_eq!(pace.eta(100, Some(50.0)), Some((50.0, 50.0)));
        // A minute at 1/s, then a minute at 2/s.
        (0..=60).for_each(|s| pace.measure(s * 1000, s));
        (1..=60).for_each(|s| pace.measure((60 + s) * 1000, 60 + 2 * s));
        let (low, high) = pace.eta(600, Some(310.0)).expect("known");
        assert!((low - 300.0).abs() < 0.01 && (high - 400.0).abs() < 0.01, "{low} {high}");
        assert_eq!(pace.eta(600, None), None, "nothing goes on");
    }

    #[test]
    fn a_few_seconds_say_nothing_and_what_was_taken_away_does_not_count() {
        let mut pace = Pace::default();
        (0..5).for_each(|s| pace.measure(s * 1000, s * 100));
        assert_eq!(pace.rate(60), None);
        (5..20).for_each(|s| pace.measure(s * 1000, s * 100));
        assert_eq!(pace.rate(60), Some(100.0));
        pace.measure(20_000, 3);
        assert_eq!(pace.rate(60), None);
    }

    #[test]
    fn memory_does_not_grow_with_the_measurements() {
        let mut pace = Pace::default();
        (0..100_000).for_each(|n| pace.measure(n * 100, n));
        assert_eq!(pace.measured.len(), KEPT);
        assert!((pace.rate(60).expect("known") - 10.0).abs() < 0.2);
    }

    #[test]
    fn the_history_is_of_whole_spans() {
        let mut pace = Pace::default();
        (0..=10).for_each(|s| pace.measure(s * 1000, if s > 6 { 5 * (s - 6) } else { 0 }));
        assert_eq!(pace.history(4, 2), [0.0, 0.0, 5.0, 5.0]);
        assert_eq!(pace.history(100, 2).len(), 5);
        assert!(Pace::default().history(4, 2).is_empty());
    }

    #[test]
    fn spans_as_people_say_them() {
        assert_eq!(span((40.2, 40.4)), "about 40 s");
        assert_eq!(span((160.0, 190.0)), "2.7 to 3.2 min");
        assert_eq!(span((720.0, 900.0)), "12 to 15 min");
        assert_eq!(span((7200.0, 9000.0)), "2.0 to 2.5 h");
        assert_eq!(span((0.0, 400_000.0)), "0.0 to 4.6 d");
    }
}
