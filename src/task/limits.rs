//! What a task may take of the machine: reading it, writing it, telling that it was too little.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The limits of a task; none: what the daemon's own processes have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of data (heap, private mappings) of each process: `RLIMIT_DATA`; of all of it together where it has a control group
    /// with `memory`.
    pub memory: Option<u64>,
    /// Seconds of each process: `RLIMIT_CPU`.
    pub cpu: Option<u64>,
    /// Of each process: `RLIMIT_NOFILE`.
    pub open_files: Option<u64>,
    /// From -20 to 19.
    pub nice: Option<i32>,
    pub ionice: Option<IoNice>,
    /// Mode bits that new files do not get.
    pub umask: Option<u32>,
    /// Processors' time that all of it gets together, in thousandths of one; only by a control group.
    pub cpus: Option<u32>,
    /// Processes and threads at once; only by a control group.
    pub processes: Option<u64>,
}

/// A place among those who wait for the disk (ioprio_set(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IoNice {
    /// When nobody else wants it.
    Idle,
    /// Best effort, from 0 (first) to 7.
    Level(u8),
}

/// The names of the limits.
pub const LIMITS: &[&str] = &["memory", "cpu", "open_files", "nice", "ionice", "umask", "cpus", "processes"];
/// The most characters of a value that a message repeats.
const SHOWN: usize = 80;
/// With less no program starts.
const LEAST_MEMORY: u64 = 1 << 20;
/// With fewer no program reads its libraries.
const FEWEST_FILES: u64 = 8;
/// What programs say when they get no more memory; not what they say of a graphics card's.
const OUT_OF_MEMORY: &[&str] = &[
    "Cannot allocate memory",
    "cannot allocate",
    "can't allocate memory",
    "Unable to allocate",
    "\nMemoryError",
    "bad_alloc",
    "memory allocation of ",
    "runtime: out of memory",
    "heap out of memory",
    "virtual memory exhausted",
    "ENOMEM",
];

const SIGNALS_OF_LACK: &[i32] = &[6, 7, 9, 11];
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// User and system, with its children's, µs.
    pub cpu_us: i64,
    /// Bytes.
    pub max_rss: i64,
}

/// A number of bytes: `1048576`, `1MiB`, `1 MiB`.
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

impl Limits {
    /// Reads an object. Gives the names that are none of [`LIMITS`] too; null is none.
    ///
    /// # Errors
    /// One sentence that names the limit, its value and what is allowed.
    pub fn read(map: &Map<String, Value>) -> Result<(Self, Vec<&str>), String> {
        let (mut limits, mut unknown) = (Self::default(), Vec::new());
        for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            let (set, allowed) = match name.as_str() {
                "memory" => (
                    of_memory(value).map(|v| limits.memory = Some(v)),
                    "a number of bytes from 1 MiB, or a text such as \"512MiB\"",
                ),
                "cpu" => (
                    whole(value, 1, 1_000_000_000).map(|v| limits.cpu = Some(v)),
                    "a whole number of seconds from 1 to 1e9",
                ),
                "open_files" => {
                    let read = whole(value, FEWEST_FILES, 1 << 30);
                    (read.map(|v| limits.open_files = Some(v)), "a whole number from 8 to 1073741824")
                }
                "nice" => (of_nice(value).map(|v| limits.nice = Some(v)), "a whole number from -20 to 19"),
                "ionice" => (of_ionice(value).map(|v| limits.ionice = Some(v)), "\"idle\", or a level from 0 to 7"),
                "umask" => (of_umask(value).map(|v| limits.umask = Some(v)), "an octal text from \"000\" to \"777\""),
                "cpus" => (of_cpus(value).map(|v| limits.cpus = Some(v)), "a number of processors from 0.01 to 10000"),
                "processes" => {
                    (whole(value, 1, 1 << 22).map(|v| limits.processes = Some(v)), "a whole number from 1 to 4194304")
                }
                other => {
                    unknown.push(other);
                    continue;
                }
            };
            set.ok_or_else(|| {
                let shown: String = value.to_string().chars().take(SHOWN).collect();
                format!("`limits.{name}` is {shown}, but must be {allowed}")
            })?;
        }
        Ok((limits, unknown))
    }

    /// As [`Self::read`] reads it; none when there is none.
    pub fn written(&self) -> Option<Map<String, Value>> {
        if *self == Self::default() {
            return None;
        }
        let fields = [
            self.memory.map(|v| json!(v)),
            self.cpu.map(|v| json!(v)),
            self.open_files.map(|v| json!(v)),
            self.nice.map(|v| json!(v)),
            self.ionice.map(|io| match io {
                IoNice::Idle => json!("idle"),
                IoNice::Level(level) => json!(level),
            }),
            self.umask.map(|mask| json!(format!("{mask:03o}"))),
            self.cpus.map(|thousandths| json!(f64::from(thousandths) / 1000.0)),
            self.processes.map(|v| json!(v)),
        ];
        let set = LIMITS.iter().zip(fields).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
        Some(set.collect())
    }

    /// Whether only a control group can give it.
    pub const fn needs_a_group(&self) -> bool {
        self.cpus.is_some() || self.processes.is_some()
    }

    /// These, and where one is not set that of `beneath`.
    #[must_use]
    pub fn over(&self, beneath: &Self) -> Self {
        Self {
            memory: self.memory.or(beneath.memory),
            cpu: self.cpu.or(beneath.cpu),
            open_files: self.open_files.or(beneath.open_files),
            nice: self.nice.or(beneath.nice),
            ionice: self.ionice.or(beneath.ionice),
            umask: self.umask.or(beneath.umask),
            cpus: self.cpus.or(beneath.cpus),
            processes: self.processes.or(beneath.processes),
        }
    }

    /// Why a process failed, where it was for one of these; `said` is the end of what it wrote on standard error. For a
    /// shell that lost a child so, too: it exits with 128 and the signal.
    pub fn exceeded(&self, exit: &Exit, said: &str) -> Option<String> {
        let signal = exit.signal.or(exit.code.filter(|code| *code > 128).map(|code| code - 128));
        if let (Some(cpu), Some(signal)) = (self.cpu, signal) {
            let used_up = i64::try_from(cpu.saturating_mul(1_000_000)).is_ok_and(|limit| exit.cpu_us >= limit);
            if signal == SIGXCPU || (signal == SIGKILL && used_up) {
                return Some(format!("exceeded its limit of {cpu} s CPU time"));
            }
        }
        let memory = self.memory?;
        let nearly = i64::try_from(memory / 10 * 9).is_ok_and(|most| exit.max_rss >= most);
        let lacked = OUT_OF_MEMORY.iter().any(|words| said.contains(words))
            || (nearly && signal.is_some_and(|signal| SIGNALS_OF_LACK.contains(&signal)));
        lacked.then(|| format!("exceeded its limit of {} memory", size(memory)))
    }
}

/// Bytes as a person writes them.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.into_iter().find(|(shift, _)| bytes >= 1 << shift && bytes.is_multiple_of(1 << shift));
    whole.map_or_else(|| format!("{bytes} bytes of"), |(shift, unit)| format!("{} {unit}", bytes >> shift))
}

fn whole(value: &Value, low: u64, high: u64) -> Option<u64> {
    value.as_u64().filter(|n| (low..=high).contains(n))
}

fn of_memory(value: &Value) -> Option<u64> {
    value.as_str().map_or_else(|| value.as_u64(), bytes).filter(|n| (LEAST_MEMORY..=i64::MAX as u64).contains(n))
}

fn of_nice(value: &Value) -> Option<i32> {
    value.as_i64().filter(|n| (-20..=19).contains(n)).and_then(|n| i32::try_from(n).ok())
}

fn of_ionice(value: &Value) -> Option<IoNice> {
    if value == "idle" {
        return Some(IoNice::Idle);
    }
    whole(value, 0, 7).and_then(|level| u8::try_from(level).ok()).map(IoNice::Level)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 1e7, above 0")]
fn of_cpus(value: &Value) -> Option<u32> {
    value.as_f64().filter(|cpus| (0.01..=10_000.0).contains(cpus)).map(|cpus| (cpus * 1000.0).round() as u32)
}

fn of_umask(value: &Value) -> Option<u32> {
    let text = value.as_str().filter(|text| (3..=4).contains(&text.len()))?;
    let digits = text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    u32::from_str_radix(text, 8).ok().filter(|mask| digits && *mask <= 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(limits: Value) -> Result<Limits, String> {
        let Value::Object(map) = limits else { panic!("an object") };
        let (limits, unknown) = Limits::read(&map)?;
        assert_eq!(unknown, Vec::<&str>::new());
        Ok(limits)
    }

    #[test]
    fn what_is_read_is_written_and_read_again() {
        let all = json!({"memory": "512MiB", "cpu": 2, "open_files": 64, "nice": -5, "ionice": "idle", "umask": "0027", "cpus": 1.5, "processes": 9});
        let limits = read(all).expect("good");
        let written = limits.written().expect("some");
        let plain = json!({"memory": 536_870_912, "cpu": 2, "open_files": 64, "nice": -5, "ionice": "idle", "umask": "027", "cpus": 1.5, "processes": 9});
        assert_eq!(Value::Object(written.clone()), plain);
        assert_eq!(read(Value::Object(written)), Ok(limits));
        let level = read(json!({"ionice": 0, "cpu": null})).expect("good");
        assert_eq!(level.written().map(Value::Object), Some(json!({"ionice": 0})));
        assert_eq!(read(json!({})).expect("good").written(), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (wrong, said) in [
            (json!({"memory": 5}), "`limits.memory` is 5, but must be a number of bytes from 1 MiB"),
            (json!({"memory": "5 MB"}), "`limits.memory` is \"5 MB\""),
            (json!({"memory": u64::MAX}), "`limits.memory`"),
            (json!({"cpu": 0}), "`limits.cpu` is 0, but must be a whole number of seconds from 1"),
            (json!({"cpu": 1.5}), "`limits.cpu` is 1.5"),
            (json!({"open_files": 7}), "`limits.open_files` is 7, but must be a whole number from 8"),
            (json!({"nice": 20}), "`limits.nice` is 20, but must be a whole number from -20 to 19"),
            (json!({"ionice": 8}), "`limits.ionice` is 8, but must be \"idle\", or a level from 0 to 7"),
            (json!({"umask": 22}), "`limits.umask` is 22, but must be an octal text"),
            (json!({"umask": "1777"}), "`limits.umask` is \"1777\""),
            (json!({"umask": "+22"}), "`limits.umask` is \"+22\""),
            (json!({"umask": "089"}), "`limits.umask` is \"089\""),
            (json!({"cpus": 0}), "`limits.cpus` is 0, but must be a number of processors from 0.01 to 10000"),
            (json!({"processes": 0}), "`limits.processes` is 0, but must be a whole number from 1 to 4194304"),
        ] {
            let error = read(wrong).expect_err("refused");
            assert!(error.starts_with(said), "{error}");
        }
        let Value::Object(map) = json!({"mem": 1}) else { panic!("an object") };
        assert_eq!(Limits::read(&map).expect("unknown is no error").1, ["mem"]);
    }

    #[test]
    fn a_task_s_own_limit_comes_before_its_function_s() {
        let own = read(json!({"cpu": 1, "nice": 3})).expect("good");
        let beneath = read(json!({"cpu": 9, "memory": 1_048_576})).expect("good");
        assert_eq!(own.over(&beneath), read(json!({"cpu": 1, "nice": 3, "memory": 1_048_576})).expect("good"));
    }

    #[test]
    fn a_limit_is_named_only_where_it_was_the_reason() {
        let limits = read(json!({"cpu": 2, "memory": "64MiB"})).expect("good");
        let exit = |code, signal, cpu_us| Exit { code, signal, cpu_us, max_rss: 0 };
        let cpu = Some("exceeded its limit of 2 s CPU time".to_owned());
        let memory = Some("exceeded its limit of 64 MiB memory".to_owned());
        assert_eq!(limits.exceeded(&exit(None, Some(SIGXCPU), 2_000_000), ""), cpu);
        assert_eq!(limits.exceeded(&exit(Some(152), None, 2_000_000), ""), cpu);
        assert_eq!(limits.exceeded(&exit(None, Some(SIGKILL), 2_000_000), ""), cpu);
        assert_eq!(limits.exceeded(&exit(None, Some(SIGKILL), 1_000_000), ""), None);
        assert_eq!(limits.exceeded(&exit(Some(1), None, 9_000_000), "no"), None);
        assert_eq!(limits.exceeded(&exit(Some(1), None, 0), "Traceback\nMemoryError"), memory);
        assert_eq!(limits.exceeded(&exit(Some(1), None, 0), "\ntorch.OutOfMemoryError: CUDA out of memory"), None);
        let near = |signal| Exit { max_rss: 63 << 20, ..exit(None, Some(signal), 0) };
        assert_eq!(limits.exceeded(&near(11), ""), memory);
        assert_eq!(limits.exceeded(&near(15), ""), None);
        assert_eq!(Limits::default().exceeded(&exit(None, Some(SIGXCPU), 0), "MemoryError"), None);
    }
}
