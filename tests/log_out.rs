//! A daemon that a client starts in a login outlives it: with a real `systemd --user`, and without what it takes. The
//! login and its end are played, by a control group that is killed.

#[path = "support/systemd.rs"]
mod systemd;

use systemd::{PROGRAM, Systemd, support};

#[test]
fn a_daemon_that_a_client_starts_outlives_the_login() {
    let Some(manager) = Systemd::of_a_user() else { return };
    let output = manager.as_root(&support("logins.sh")).arg(PROGRAM).output().expect("nsenter");
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        said,
        "== lingers\n\
         daemon in /app.slice/batch-executor-N.scope\n\
         it went on\n\
         == lingers-without-scopes\n\
         warning: the daemon was started in this login, and may end with it, for systemd-run could not put it elsewhere: \
         Failed to start transient scope unit\n\
         daemon in /session-lingers-without-scopes.scope\n\
         it was ended\n\
         == is-ended\n\
         warning: when you log out, this machine ends the daemon and what runs; to let them go on: loginctl enable-linger\n\
         daemon in /app.slice/batch-executor-N.scope\n\
         it went on\n\
         == is-left\n\
         daemon in /session-is-left.scope\n\
         it went on\n",
        "{why}"
    );
}
