//! A daemon that a client starts in a login outlives it: with a real `systemd --user`, and without what it takes. The
//! login and its end are played, by a control group that is killed.

use std::path::Path;
use std::process::Command;

#[test]
fn a_daemon_that_a_client_starts_outlives_the_login() {
    let folder = tempfile::tempdir().expect("a folder");
    // The user must reach both.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("ours");
    let program = folder.path().join("program");
    std::fs::copy(env!("CARGO_BIN_EXE_batch-executor"), &program).expect("a copy");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/logins.sh");
    let output = Command::new("timeout")
        .args(["120", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(script)
        .args([&program, folder.path()])
        .env_remove("BATCH_EXECUTOR_HOME")
        .output()
        .expect("unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    if said.contains("not run: ") || why.contains("unshare failed") {
        eprintln!("not run: no control groups of our own can be made here: {said}{why}");
        return;
    }
    assert_eq!(
        said,
        "== lingers\n\
         daemon in /app.slice/batch-executor-N.scope\n\
         it went on\n\
         == lingers-without-scopes\n\
         warning: the daemon was started in this login, and may end with it, for systemd-run could not put it elsewhere: \
         Failed to start transient scope unit\n\
         daemon in /user.slice/session-lingers-without-scopes.scope\n\
         it was ended\n\
         == is-ended\n\
         warning: when you log out, this machine ends the daemon and what runs; to let them go on: loginctl enable-linger\n\
         daemon in /app.slice/batch-executor-N.scope\n\
         it went on\n\
         == is-left\n\
         daemon in /user.slice/session-is-left.scope\n\
         it went on\n",
        "{why}"
    );
}
