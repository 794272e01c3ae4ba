#!/bin/bash
# Logins of a user on a machine with systemd: a real `systemd --user` and a control group for each login, which is killed at
# its end, as logind does. As root, in mount and pid namespaces of its own; what it makes of control groups is in one of its own.
# usage: logins.sh PROGRAM FOLDER
set -eu
program=$1 folder=$2
if [ "${3:-}" != inside ]; then
    mkdir "$folder/all"
    mount -t cgroup2 none "$folder/all" 2>"$folder/why" || { echo "not run: $(cat "$folder/why")"; exit 0; }
    own="$folder/all/logins-of-$(basename "$folder")"
    mkdir "$own"
    echo $$ >"$own/cgroup.procs"
    unshare --cgroup --mount "$0" "$program" "$folder" inside || echo "failed"
    echo $$ >"$folder/all/cgroup.procs"
    echo 1 >"$own/cgroup.kill"
    while grep -q 'populated 1' "$own/cgroup.events"; do sleep 0.01; done
    find "$own" -depth -type d -exec rmdir {} +
    exit 0
fi
umount "$folder/all"
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run/systemd
mkdir /run/systemd/system
mount -t tmpfs none /var/lib/systemd
mkdir /var/lib/systemd/linger
mkdir -p "$folder/run" "$folder/bin" /sys/fs/cgroup/init.scope
echo $$ >/sys/fs/cgroup/init.scope/cgroup.procs
chown -R nobody /sys/fs/cgroup "$folder"
export PATH="$folder/bin:$PATH" XDG_RUNTIME_DIR="$folder/run" HOME="$folder"
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
as_nobody /lib/systemd/systemd --user >"$folder/systemd.log" 2>&1 &
for _ in $(seq 200); do
    [ -e "$folder/run/systemd/private" ] && break
    sleep 0.05
done

# A login in which a client starts the daemon of a fresh home, and what became of the daemon when it was over.
login() { # NAME ends|leaves: what becomes of the login's processes
    local group="/sys/fs/cgroup/user.slice/session-$1.scope" home="$folder/$1"
    mkdir -p "$group"
    chown -R nobody /sys/fs/cgroup/user.slice
    echo "== $1"
    (echo 0 >"$group/cgroup.procs" && as_nobody "$program" --home "$home" add -- sleep 1000 >"$folder/added" 2>"$folder/warned")
    cat "$folder/warned"
    local pid
    pid=$(as_nobody "$program" --home "$home" --json daemon status | sed 's/.*"pid":\([0-9]*\).*/\1/')
    sed -n "s/^0::/daemon in /p" "/proc/$pid/cgroup" | sed 's/executor-[0-9]*\./executor-N./'
    if [ "$2" = ends ]; then
        echo 1 >"$group/cgroup.kill"
        while grep -q 'populated 1' "$group/cgroup.events"; do sleep 0.01; done
    fi
    if as_nobody "$program" --home "$home" --no-autostart daemon stop --grace 0 >/dev/null 2>&1; then
        echo "it went on"
    else
        echo "it was ended"
    fi
}
put() { printf '#!/bin/sh\n%s\n' "$2" >"$folder/bin/$1"; chmod 755 "$folder/bin/$1"; }

touch /var/lib/systemd/linger/nobody
login lingers ends
put systemd-run 'echo "Failed to start transient scope unit" >&2; exit 1'
login lingers-without-scopes ends
rm "$folder/bin/systemd-run" /var/lib/systemd/linger/nobody
put loginctl '[ "$*" = "show-user --property=KillUserProcesses" ] && echo KillUserProcesses=yes'
login is-ended ends
put loginctl '[ "$*" = "show-user --property=KillUserProcesses" ] && echo KillUserProcesses=no'
login is-left leaves
