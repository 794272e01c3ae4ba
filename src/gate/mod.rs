//! Gates: conditions of the machine under which nothing starts. What a rule says of a reading is here, pure; where readings
//! come from is `source`, and what follows from a closed gate is the executor's.

#[cfg(feature = "daemon")]
mod battery;
#[cfg(feature = "daemon")]
mod network;
#[cfg(feature = "daemon")]
mod source;
mod window;

use std::fmt;
use std::time::Duration;

use crate::task::Hold;

#[cfg(feature = "daemon")]
pub use source::Sources;
pub use window::Window;

/// A declared gate.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    pub name: String,
    pub rule: Rule,
    /// What becomes of what runs while it is closed.
    pub running: Hold,
    /// How often it is looked at, while that can change anything.
    pub every: Duration,
}

/// When a gate is open.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// The battery has so many percent or more.
    Battery(Threshold),
    /// The machine is plugged in.
    Charging,
    /// Nothing is hotter, °C.
    Temperature(Threshold),
    /// There is a network; and none that is paid for by its traffic.
    Network { unmetered: bool },
    /// It is one of these times of the day.
    Window(Window),
    /// So many bytes of memory are available.
    FreeMemory(Threshold),
    /// So many bytes of the home's disk are free.
    FreeDisk(Threshold),
    /// The load of the last minute is no higher (getloadavg(3)).
    Load(Threshold),
    /// Nobody has typed into a terminal for so many seconds.
    Idle(Threshold),
    /// The program, with its arguments, ends with exit code 0.
    Command(Vec<String>),
}

/// Where a gate closes, and from where on it is open again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    pub at: f64,
    pub until: f64,
}

/// What was found on the machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    Number(f64),
    Yes,
    /// Why not.
    No(String),
    /// Why nothing can be said.
    Unknown(String),
}

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub open: bool,
    /// What was found, in a few words.
    pub found: String,
    /// It could not be read, and is open for that.
    pub unknown: bool,
}

impl Rule {
    /// The verdict on a reading. `was_open`: the one before; `yes_before`: the reading before said yes, or there was none.
    pub fn judge(&self, reading: &Reading, was_open: bool, yes_before: bool) -> Verdict {
        let (open, found) = match reading {
            Reading::Unknown(why) => return Verdict { open: true, found: why.clone(), unknown: true },
            Reading::No(why) => (false, why.clone()),
            Reading::Yes => {
                // What may flap opens when it has said so twice.
                let open = was_open || yes_before || !self.may_flap();
                (open, if open { "yes".to_owned() } else { "yes, for less than a moment".to_owned() })
            }
            Reading::Number(value) => self.judge_number(*value, was_open),
        };
        Verdict { open, found, unknown: false }
    }

    const fn may_flap(&self) -> bool {
        matches!(self, Self::Charging | Self::Network { .. })
    }

    fn judge_number(&self, value: f64, was_open: bool) -> (bool, String) {
        let Some((threshold, is_floor)) = self.threshold() else { return (true, value.to_string()) };
        let limit = if was_open { threshold.at } else { threshold.until };
        let open = if is_floor { value >= limit } else { value <= limit };
        let shown = self.shown(value);
        if open {
            return (true, shown);
        }
        let side = if is_floor { "below" } else { "above" };
        (false, format!("{shown}, {side} {}", self.shown(limit)))
    }

    /// Its threshold, if it has one, and whether it is a floor.
    pub const fn threshold(&self) -> Option<(Threshold, bool)> {
        match self {
            Self::Battery(floor) | Self::FreeMemory(floor) | Self::FreeDisk(floor) | Self::Idle(floor) => {
                Some((*floor, true))
            }
            Self::Temperature(ceiling) | Self::Load(ceiling) => Some((*ceiling, false)),
            Self::Charging | Self::Network { .. } | Self::Window(_) | Self::Command(_) => None,
        }
    }

    fn shown(&self, value: f64) -> String {
        const MIB: f64 = 1_048_576.0;
        match self {
            Self::Battery(_) => format!("{value:.0} %"),
            Self::Temperature(_) => format!("{value:.0} °C"),
            Self::FreeMemory(_) | Self::FreeDisk(_) => format!("{:.0} MiB", value / MIB),
            Self::Load(_) => format!("{value:.2}"),
            Self::Idle(_) => format!("{value:.0} s"),
            Self::Charging | Self::Network { .. } | Self::Window(_) | Self::Command(_) => value.to_string(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Charging => f.write_str("charging"),
            Self::Network { unmetered: false } => f.write_str("any network"),
            Self::Network { unmetered: true } => f.write_str("an unmetered network"),
            Self::Window(window) => window.fmt(f),
            Self::Command(argv) => f.write_str(&argv.join(" ")),
            rule => match rule.threshold() {
                Some((Threshold { at, until }, is_floor)) => {
                    let side = if is_floor { "at least" } else { "at most" };
                    write!(f, "{side} {}, again from {}", self.shown(at), self.shown(until))
                }
                None => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_opens_higher_than_it_closes() {
        let rule = Rule::Battery(Threshold { at: 20.0, until: 25.0 });
        let judge = |value, was_open| rule.judge(&Reading::Number(value), was_open, true);
        assert!(judge(20.0, true).open);
        assert_eq!(judge(19.0, true).found, "19 %, below 20 %");
        assert!(!judge(24.0, false).open);
        assert!(judge(25.0, false).open);
    }

    #[test]
    fn a_ceiling_opens_lower_than_it_closes() {
        let rule = Rule::Load(Threshold { at: 4.0, until: 3.0 });
        assert!(rule.judge(&Reading::Number(4.0), true, true).open);
        assert!(!rule.judge(&Reading::Number(3.5), false, true).open);
        assert!(rule.judge(&Reading::Number(3.0), false, true).open);
    }

    #[test]
    fn what_flaps_opens_at_the_second_yes() {
        assert!(!Rule::Charging.judge(&Reading::Yes, false, false).open);
        assert!(Rule::Charging.judge(&Reading::Yes, false, true).open);
        assert!(Rule::Charging.judge(&Reading::Yes, true, false).open);
        assert!(Rule::Command(Vec::new()).judge(&Reading::Yes, false, false).open);
    }

    #[test]
    fn what_cannot_be_read_is_open_and_says_so() {
        let verdict = Rule::Charging.judge(&Reading::Unknown("no battery".into()), false, false);
        assert!(verdict.open && verdict.unknown);
    }
}
