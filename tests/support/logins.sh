#!/bin/bash
# Logins of the user of `systemd.sh`: a control group for each, which is killed at its end, as logind does.
# usage: logins.sh PROGRAM, as root
set -eu
program=$1 uid=1000
slice=/sys/fs/cgroup/user.slice/user-$uid.slice
as_user() { setpriv --reuid=$uid --regid=$uid --clear-groups "$@"; }

# A login in which a client starts the daemon of a fresh home, and what became of the daemon when it was over.
login() { # NAME ends|leaves: what becomes of the login's processes
    local group="$slice/session-$1.scope" home="$HOME/$1"
    mkdir "$group"
    chown -R $uid "$group"
    echo "== $1"
    (echo 0 >"$group/cgroup.procs" && as_user "$program" --home "$home" add -- sleep 1000 >"$HOME/added" 2>"$HOME/warned")
    cat "$HOME/warned"
    local pid
    pid=$(as_user "$program" --home "$home" --json daemon status | sed 's/.*"pid":\([0-9]*\).*/\1/')
    sed -n "s/^0::/daemon in /p" "/proc/$pid/cgroup" |
        sed "s|/user.slice/user-$uid.slice||; s|/user@$uid.service||; s/executor-[0-9]*\./executor-N./"
    if [ "$2" = ends ]; then
        echo 1 >"$group/cgroup.kill"
        while grep -q 'populated 1' "$group/cgroup.events"; do sleep 0.01; done
    fi
    if as_user "$program" --home "$home" --no-autostart daemon stop --grace 0 >/dev/null 2>&1; then
        echo "it went on"
    else
        echo "it was ended"
    fi
}
put() { printf '#!/bin/sh\n%s\n' "$2" >"$HOME/bin/$1"; chmod 755 "$HOME/bin/$1"; }

touch /var/lib/systemd/linger/user
login lingers ends
put systemd-run 'echo "Failed to start transient scope unit" >&2; exit 1'
login lingers-without-scopes ends
rm "$HOME/bin/systemd-run" /var/lib/systemd/linger/user
put loginctl '[ "$*" = "show-user --property=KillUserProcesses" ] && echo KillUserProcesses=yes'
login is-ended ends
put loginctl '[ "$*" = "show-user --property=KillUserProcesses" ] && echo KillUserProcesses=no'
login is-left leaves
