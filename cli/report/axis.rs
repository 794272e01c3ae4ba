//! Time from left to right, in percent of the width. Long stretches in which nothing ran are a narrow break each.

use chrono::{DateTime, Local};

/// The width of a break, in percent.
const BREAK: f64 = 3.0;
/// The most breaks.
const MOST_BREAKS: usize = 8;
/// The least distance of two labels, in percent.
const LABEL: f64 = 15.0;
/// From one label to the next, in seconds.
const STEPS: &[i64] = &[
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
    2_592_000, 31_536_000,
];

/// A stretch of time and its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece {
    pub from: i64,
    pub to: i64,
    pub left: f64,
    pub right: f64,
    /// Nothing ran.
    pub is_break: bool,
}

/// The axis of a report.
#[derive(Debug)]
pub struct Axis {
    pub pieces: Vec<Piece>,
}

impl Axis {
    /// The axis for what ran from when to when, by its begin.
    pub fn new(spans: impl Iterator<Item = (i64, i64)>) -> Option<Self> {
        let mut busy: Vec<(i64, i64)> = Vec::new();
        for (from, to) in spans {
            match busy.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => busy.push((from, to)),
            }
        }
        let (first, last) = (busy.first()?.0, busy.last()?.1.max(busy.first()?.0 + 1));
        let worked: i64 = busy.iter().map(|(from, to)| to - from).sum();
        let mut gaps: Vec<(i64, i64)> = busy.windows(2).map(|pair| (pair[0].1, pair[1].0)).collect();
        gaps.retain(|(from, to)| (to - from) * 5 > worked && to - from > 1000);
        gaps.sort_by_key(|(from, to)| from - to);
        gaps.truncate(MOST_BREAKS);
        gaps.sort_unstable();
        let broken: i64 = gaps.iter().map(|(from, to)| to - from).sum();
        let scale =
            (100.0 - BREAK * float(i64::try_from(gaps.len()).unwrap_or(0))) / float((last - first - broken).max(1));
        let mut axis = Self { pieces: Vec::new() };
        let (mut at, mut left) = (first, 0.0);
        for (from, to) in gaps.into_iter().chain([(last, last)]) {
            let right = left + float(from - at) * scale;
            axis.pieces.push(Piece { from: at, to: from, left, right, is_break: false });
            (at, left) = (to, right + BREAK);
            if to > from {
                axis.pieces.push(Piece { from, to, left: right, right: left, is_break: true });
            }
        }
        Some(axis)
    }

    /// The place of a time.
    pub fn place(&self, at: i64) -> f64 {
        let piece = self.pieces.iter().find(|piece| at <= piece.to).or(self.pieces.last());
        let Some(piece) = piece else { return 0.0 };
        let part = float((at - piece.from).clamp(0, piece.to - piece.from)) / float((piece.to - piece.from).max(1));
        piece.left + part * (piece.right - piece.left)
    }

    /// The time at a place.
    pub fn at(&self, place: f64) -> i64 {
        let piece = self.pieces.iter().find(|piece| place <= piece.right).or(self.pieces.last());
        let Some(piece) = piece else { return 0 };
        let part = (place - piece.left).max(0.0) / (piece.right - piece.left).max(f64::EPSILON);
        piece.from + whole(part * float(piece.to - piece.from))
    }

    /// Round times on the clock of this machine, with what is written at them. The first of a day has the day.
    pub fn labels(&self) -> Vec<(f64, String)> {
        let busy = || self.pieces.iter().filter(|piece| !piece.is_break);
        let worked: i64 = busy().map(|piece| piece.to - piece.from).sum();
        let step = STEPS.iter().map(|step| step * 1000).find(|step| worked / step <= 6).unwrap_or(i64::MAX / 4);
        let mut labels: Vec<(f64, String)> = Vec::new();
        let mut day = None;
        for piece in busy() {
            let offset = i64::from(local(piece.from).offset().local_minus_utc()) * 1000;
            let mut at = (piece.from + offset).div_euclid(step) * step - offset;
            while at <= piece.to {
                let place = self.place(at);
                let fits = labels.last().is_none_or(|(last, _)| place - last >= LABEL) && place < 100.0 - LABEL / 2.0;
                if at >= piece.from && fits {
                    let time = local(at);
                    let text = match (day == Some(time.date_naive()), step < 60_000) {
                        (true, true) => time.format("%H:%M:%S"),
                        (false, true) => time.format("%a %H:%M:%S"),
                        (true, false) => time.format("%H:%M"),
                        (false, false) => time.format("%a %H:%M"),
                    };
                    labels.push((place, text.to_string()));
                    day = Some(time.date_naive());
                }
                at = at.saturating_add(step);
            }
        }
        labels
    }
}

/// On the clock of this machine.
pub fn local(ms: i64) -> DateTime<Local> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().with_timezone(&Local)
}

/// "Fri 27 Nov 02:13", or with seconds.
pub fn day_and_time(ms: i64, seconds: bool) -> String {
    local(ms).format(if seconds { "%a %-d %b %H:%M:%S" } else { "%a %-d %b %H:%M" }).to_string()
}

/// A number for drawing.
#[expect(clippy::cast_precision_loss, reason = "a place on a chart, or below 2^53")]
pub const fn float(number: i64) -> f64 {
    number as f64
}

/// A number that was drawn, or counts.
#[expect(clippy::cast_possible_truncation, reason = "a time or a count, below 2^53")]
pub const fn whole(number: f64) -> i64 {
    number as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_gap_is_a_narrow_break() {
        let axis = Axis::new([(0, 10_000), (5_000, 40_000), (41_000, 50_000), (9_000_000, 9_050_000)].into_iter())
            .expect("work");
        let breaks: Vec<_> = axis.pieces.iter().filter(|piece| piece.is_break).map(|p| (p.from, p.to)).collect();
        assert_eq!(breaks, [(50_000, 9_000_000)]);
        assert!((axis.place(0) - 0.0).abs() < 1e-9 && (axis.place(9_050_000) - 100.0).abs() < 1e-9);
        assert!((axis.place(50_000) - 48.5).abs() < 1e-9 && (axis.place(9_000_000) - 51.5).abs() < 1e-9);
        for at in [0, 25_000, 50_000, 9_025_000] {
            assert_eq!(axis.at(axis.place(at)), at);
        }
    }

    #[test]
    fn labels_do_not_meet() {
        let axis = Axis::new([(0, 3_600_000)].into_iter()).expect("work");
        let labels = axis.labels();
        assert!(labels.len() >= 3 && labels.len() <= 7, "{labels:?}");
        assert!(labels.windows(2).all(|pair| pair[1].0 - pair[0].0 >= LABEL));
        assert!(Axis::new(std::iter::empty()).is_none());
    }
}
