//! The pages are true: the commands of README.md and of pages in docs/ are run as written, and print what the pages show; those for
//! Termux in a prefix as Termux has it, with a real runit, where Android's own programs are played.
//!
//! A `console` block is run: what follows `$ ` (and `> `, which continues it) in bash, all of a page in one home and one
//! folder. Other blocks are not. `UPDATE_DOCS=1 cargo test --test docs` puts the real output into the pages.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use batch_executor::config::SETTINGS;
use batch_executor::filter::FIELDS;
use stand_ins::StandIns;

#[path = "support/stand_ins.rs"]
mod stand_ins;

/// Left as they are where the program is missing; `make setup` installs them.
const OPTIONAL: &[&str] = &["jq", "nc"];

#[test]
fn the_readme_is_true() {
    let desk = Desk::new();
    check("README.md", &run_blocks(&read("README.md"), &desk));
}

#[test]
fn the_guide_is_true() {
    let desk = Desk::new();
    check("docs/guide.md", &run_blocks(&read("docs/guide.md"), &desk));
}

#[test]
fn the_page_for_agents_is_true() {
    let desk = Desk::new();
    check("docs/agents.md", &run_blocks(&read("docs/agents.md"), &desk));
}

#[test]
fn the_page_for_termux_is_true() {
    let desk = Desk::phone();
    check("docs/termux.md", &run_blocks(&read("docs/termux.md"), &desk));
}

#[test]
fn the_guide_lists_every_setting() {
    let desk = Desk::new();
    let effective = desk.bash("batch-executor config");
    let rows = SETTINGS.iter().map(|setting| {
        let line = effective.lines().find(|line| line.split(' ').next() == Some(setting.name));
        let value = line.and_then(|line| line[setting.name.len()..].trim().strip_suffix("[default]"));
        let value = value.unwrap_or_else(|| panic!("`{}` is not in\n{effective}", setting.name)).trim();
        format!("| `{}` | {value} | {} | {} |\n", setting.name, setting.allowed, setting.description)
    });
    let guide = read("docs/guide.md");
    let (before, rest) = guide.split_once("| --- | --- | --- | --- |\n").expect("the table of settings");
    let after = rest.find("\n\n").map_or("", |end| &rest[end + 1..]);
    let rows: String = rows.collect();
    check("docs/guide.md", &format!("{before}| --- | --- | --- | --- |\n{rows}{after}"));
}

#[test]
fn the_guide_lists_every_field_of_filters() {
    let rows: String =
        FIELDS.iter().map(|field| format!("| `{}` | {} | {} |\n", field.name, field.allowed(), field.about)).collect();
    let guide = read("docs/guide.md");
    let head = "| field | value | what |\n| --- | --- | --- |\n";
    let (before, rest) = guide.split_once(head).expect("the table of fields");
    let after = rest.find("\n\n").map_or("", |end| &rest[end + 1..]);
    check("docs/guide.md", &format!("{before}{head}{rows}{after}"));
}

fn source(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(page)
}

fn read(page: &str) -> String {
    std::fs::read_to_string(source(page)).expect("the page")
}

/// The page as it is must be the page as it should be.
fn check(page: &str, should: &str) {
    let is = read(page);
    if is == should {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(source(page), should).expect("the page is written");
        return;
    }
    let line = is.lines().zip(should.lines()).take_while(|(is, should)| is == should).count();
    let part = |text: &str| text.lines().skip(line).take(12).collect::<Vec<_>>().join("\n");
    panic!("{page}:{}: the page says\n{}\n\nbut it should be\n{}", line + 1, part(&is), part(should));
}

/// The page with what its commands print now, where that differs in more than what changes from run to run.
fn run_blocks(page: &str, desk: &Desk) -> String {
    let mut lines = page.lines().peekable();
    let mut result = String::new();
    let mut runs = false;
    while let Some(line) = lines.next() {
        result += line;
        result += "\n";
        runs = line == "```console" || (runs && line != "```");
        let Some(first) = line.strip_prefix("$ ").filter(|_| runs) else { continue };
        let mut command = first.to_owned();
        while let Some(line) = lines.next_if(|line| line.starts_with("> ")) {
            result += line;
            result += "\n";
            command += "\n";
            command += &line[2..];
        }
        let mut shown = String::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("$ ") && *line != "```") {
            shown += line;
            shown += "\n";
        }
        if desk.lacks(&command) {
            result += &shown;
            continue;
        }
        let printed = desk.bash(&command);
        result += if steady(&shown) == steady(&printed) { &shown } else { &printed };
    }
    result
}

/// Without what changes from run to run: fractions, times, pids, sizes, and the widths of columns that follow from them.
fn steady(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let spaced = line.replace("\":", "\": ").replace(",\"", ", \"");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let word = |at: usize| {
            let bare = words[at].trim_matches(|c: char| !c.is_ascii_alphanumeric());
            let fraction = bare.contains('.') && bare.starts_with(|c: char| c.is_ascii_digit());
            let before = if at > 0 { words[at - 1].trim_matches(['{', '"', ':']) } else { "" };
            let process = matches!(before, "pid" | "keeper" | "max_rss" | "bytes");
            let size = words.get(at + 1).is_some_and(|unit| unit.contains("iB") || unit.contains("bytes"))
                && bare.parse::<u64>().is_ok();
            let ago = words[at..].iter().take(3).any(|word| word.starts_with("ago,")) && bare.parse::<u64>().is_ok();
            let hour = bare.split(':').count() == 3 && bare.split(':').all(|part| part.parse::<u8>().is_ok());
            if fraction || process || size || ago || hour { "#" } else { words[at] }
        };
        lines.push((0..words.len()).map(word).collect::<Vec<_>>().join(" "));
    }
    lines.join("\n").trim_end().to_owned()
}

/// Where a page's commands are typed: a user with an empty home.
struct Desk {
    root: tempfile::TempDir,
    /// The user's folder, and the one in which commands are typed.
    home: PathBuf,
    work: PathBuf,
    /// What the pages call the root.
    called: &'static str,
    environment: Vec<(&'static str, String)>,
    runsvdir: Option<Child>,
}

impl Desk {
    fn new() -> Self {
        let root = tempfile::Builder::new().prefix("bx-").tempdir().expect("a temporary folder");
        let (home, work) = (root.path().to_owned(), root.path().join("work"));
        std::fs::create_dir(&work).expect("a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        Self { root, home, work, called: "/home/me", environment: vec![("PATH", path)], runsvdir: None }
    }

    /// A phone with Android 14 and what Termux has on it; termux-services runs.
    fn phone() -> Self {
        let mut desk = Self::new();
        let [home, prefix] = ["home", "usr"].map(|name| desk.root.path().join(name));
        let stand_ins = StandIns::new(&prefix);
        stand_ins.put("getprop", "case $1 in *.sdk) echo 34;; *.release) echo 14;; esac");
        for program in ["settings", "termux-wake-lock", "termux-wake-unlock"] {
            stand_ins.put(program, "exit 0");
        }
        std::os::unix::fs::symlink("/bin/sh", prefix.join("bin/sh")).expect("a shell");
        let services = StandIns::new(&prefix.join("share/termux-services"));
        services.put("svlogger", "log=$PREFIX/var/log/sv/batch-executor; mkdir -p $log; exec svlogd -tt $log");
        let bin = prefix.join("share/termux-services/bin");
        std::fs::rename(bin.join("svlogger"), prefix.join("share/termux-services/svlogger")).expect("in its place");
        let watched = prefix.join("var/service");
        for folder in [&home, &watched] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        let environment = vec![
            ("PATH", stand_ins.path()),
            ("PREFIX", prefix.display().to_string()),
            ("TERMUX_VERSION", "0.118.3".to_owned()),
            ("LD_PRELOAD", String::new()),
        ];
        (desk.home, desk.work, desk.called) = (home.clone(), home, "/data/data/com.termux/files");
        desk.environment = environment;
        let mut runsvdir = desk.user("runsvdir");
        desk.runsvdir = Some(runsvdir.args(["-P"]).arg(watched).spawn().expect("runsvdir"));
        desk
    }

    /// A program that the user runs.
    fn user(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let ours = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("BATCH_EXECUTOR_"));
        for name in ours.chain(["XDG_DATA_HOME", "XDG_CONFIG_HOME", "COLUMNS", "RUST_LOG"].map(str::to_owned)) {
            command.env_remove(name);
        }
        command.current_dir(&self.work).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("HOME", &self.home).env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// What a command prints, on both streams, with the root called as the page calls it.
    fn bash(&self, command: &str) -> String {
        let program = Path::new(env!("CARGO_BIN_EXE_batch-executor")).parent().expect("a folder");
        let mut bash = self.user("bash");
        bash.args(["-c", &format!("exec 2>&1; PATH={}:$PATH\n{command}", program.display())]);
        let output = bash.output().expect("bash");
        let root = self.root.path().display().to_string();
        let text = String::from_utf8_lossy(&output.stdout).replace(&root, self.called);
        if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" }
    }

    fn lacks(&self, command: &str) -> bool {
        let missing = |program: &&str| self.bash(&format!("command -v {program}")).is_empty();
        OPTIONAL.iter().filter(|program| command.split_whitespace().any(|word| word == **program)).any(missing)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(mut runsvdir) = self.runsvdir.take() {
            // First the services, or the folder would go under them.
            drop(self.bash("sv -w 20 force-shutdown $PREFIX/var/service/*"));
            drop(runsvdir.kill());
            drop(runsvdir.wait());
        }
        self.bash("batch-executor daemon stop --grace 0");
    }
}
