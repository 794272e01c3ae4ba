#!/bin/bash
# A machine with systemd as one of its users sees it: a real `systemd --user`, a real journald, and control groups of its own. It
# says `ready PID` (others come in by that) and ends, with all that it brought, when its standard input does.
# No `systemd --system`: the files are the machine's own, and what it starts first (sysinit.target) empties /tmp.
# usage: unshare --mount --pid --fork --kill-child systemd.sh PROGRAM FOLDER, as root
set -eu
program=$1 folder=$2 uid=1000
if [ "${3:-}" != inside ]; then
    mkdir "$folder/all"
    mount -t cgroup2 none "$folder/all" 2>"$folder/why" || { echo "not run: $(cat "$folder/why")"; exit 0; }
    own="$folder/all/systemd-of-$(basename "$folder")"
    mkdir "$own"
    (
        echo $BASHPID >"$own/cgroup.procs"
        exec unshare --cgroup --mount --pid --fork "$0" "$program" "$folder" inside </dev/null
    ) &
    exec >/dev/null
    cat
    echo 1 >"$own/cgroup.kill"
    wait
    while grep -q 'populated 1' "$own/cgroup.events"; do sleep 0.01; done
    find "$own" -depth -type d -exec rmdir {} +
    exit 0
fi
# This /proc is still that of the namespace outside, and so is the pid.
read -r pid _ </proc/self/stat
mount -t proc proc /proc
umount "$folder/all"
umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
for fresh in /run /var/lib/systemd /var/log /opt; do mount -t tmpfs none "$fresh"; done
mkdir -p /run/systemd/system /run/systemd/journal /run/user/$uid /var/lib/systemd/linger /var/log/journal
printf 'root:x:0:0::/root:/bin/sh\nuser:x:%s:%s::%s:/bin/sh\n' $uid $uid "$folder" >"$folder/passwd"
mount --bind "$folder/passwd" /etc/passwd
touch /opt/batch-executor
mount --bind "$program" /opt/batch-executor
mkdir "$folder/bin"
chown -R $uid:$uid "$folder"
slice="/sys/fs/cgroup/user.slice/user-$uid.slice" service="user@$uid.service"
mkdir -p "$slice/$service/init.scope"
# More than `user@.service` is the user's, for there is no system manager here that moves a login's process into it.
chown -R $uid:$uid "$slice" /run/user/$uid
# The user's own journal is kept apart, as on a machine that keeps it on disk.
touch /run/systemd/journal/flushed
/lib/systemd/systemd-journald >"$folder/journald.log" 2>&1 &
# Not this shell: where the first process is, there all groups begin for journald.
(
    echo $BASHPID >"$slice/$service/init.scope/cgroup.procs"
    exec env -i PATH="$folder/bin:$PATH" HOME="$folder" USER=user XDG_RUNTIME_DIR=/run/user/$uid SYSTEMD_LOG_TARGET=journal \
        setpriv --reuid=$uid --regid=$uid --clear-groups /lib/systemd/systemd --user >"$folder/systemd.log" 2>&1
) &
for there in /run/systemd/journal/io.systemd.journal /run/user/$uid/systemd/private; do
    for _ in $(seq 500); do
        [ -e "$there" ] && break
        sleep 0.02
    done
    [ -e "$there" ] || { cat "$folder"/*.log; exit 1; }
done
echo "ready $pid"
wait
