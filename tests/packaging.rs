//! The recipe for Termux's packages: sound as a script, and what its steps leave in a prefix works there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_batch-executor");

fn recipe() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/termux/batch-executor/build.sh")
}

/// Runs a script of bash that knows the recipe, as the packages' builder does, in `folder`.
fn build(folder: &Path, script: &str) -> Output {
    let mut command = Command::new("bash");
    command.args(["-euc", &format!("source {}; {script}", recipe().display())]).current_dir(folder);
    command.env("TERMUX_PREFIX", folder.join("usr")).env("TERMUX_PACKAGE_FORMAT", "pacman");
    command.env("CARGO_TARGET_NAME", "aarch64-linux-android");
    let output = command.output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn the_recipe_is_sound_and_of_this_version() {
    let checked = Command::new("shellcheck").arg(recipe()).output().expect("shellcheck");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let folder = tempfile::tempdir().expect("a folder");
    let said = build(folder.path(), r#"echo "$TERMUX_PKG_VERSION"; echo "${TERMUX_PKG_SERVICE_SCRIPT[1]}""#);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(String::from_utf8_lossy(&said.stdout), format!("{version}\nexec batch-executor daemon 2>&1\n"));
    let licences = build(folder.path(), r#"echo "$TERMUX_PKG_LICENSE_FILE""#);
    for licence in String::from_utf8_lossy(&licences.stdout).trim().split(", ") {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(licence).is_file(), "{licence}");
    }
}

#[test]
fn the_installed_package_has_program_pages_and_completions() {
    let folder = tempfile::tempdir().expect("a folder");
    let prefix = folder.path().join("usr");
    std::os::unix::fs::symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs"), folder.path().join("docs"))
        .expect("the pages");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"), folder.path().join("README.md"))
        .expect("a page");
    let built = folder.path().join("target/aarch64-linux-android/release");
    std::fs::create_dir_all(&built).expect("a folder");
    std::fs::copy(PROGRAM, built.join("batch-executor")).expect("the program");
    build(folder.path(), "termux_step_make_install; termux_step_post_make_install; termux_step_create_debscripts");
    assert_eq!(std::fs::read_to_string(folder.path().join("postupg")).expect("a script"), "post_install\n");
    // The package manager runs this on the phone, with the prefix's own shell.
    let postinst = std::fs::read_to_string(folder.path().join("postinst")).expect("a script");
    let (first, script) = postinst.split_once('\n').expect("lines");
    assert_eq!(first, format!("#!{}/bin/sh", prefix.display()));
    let path = format!("{}:{}", prefix.join("bin").display(), std::env::var("PATH").expect("a path"));
    let mut command = Command::new("sh");
    command.args(["-euc", script]).env("PATH", path).env("BATCH_EXECUTOR_HOME", folder.path().join("home"));
    assert!(command.status().expect("sh").success());
    for (shell, file) in [
        ("bash", "share/bash-completion/completions/batch-executor"),
        ("fish", "share/fish/vendor_completions.d/batch-executor.fish"),
        ("zsh", "share/zsh/site-functions/_batch-executor"),
    ] {
        let own = Command::new(PROGRAM).args(["completions", shell]).output().expect("it runs").stdout;
        assert_eq!(std::fs::read(prefix.join(file)).expect("completions"), own, "{shell}");
    }
    assert!(prefix.join("share/doc/batch-executor/termux.md").is_file());
    assert!(!folder.path().join("home").exists(), "no daemon is started by an installation");
}
