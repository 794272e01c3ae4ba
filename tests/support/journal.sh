#!/bin/bash
# A real journald, in mount and pid namespaces of its own (as root), and daemons that run under it; prints what it kept.
# usage: journal.sh PROGRAM FOLDER
set -eu
program=$1 folder=$2
mount -t tmpfs none /run
mkdir -p /run/systemd/journal
if [ -e /var/log/journal ]; then mount -t tmpfs none /var/log/journal; fi
/lib/systemd/systemd-journald >"$folder/journald" 2>&1 &
for _ in $(seq 200); do
    [ -e /run/systemd/journal/io.systemd.journal ] && break
    sleep 0.05
done
if [ ! -e /run/systemd/journal/stdout ]; then
    echo "not run: no journald: $(cat "$folder/journald")"
    exit 0
fi
client() { "$program" --home "$folder/home" --no-autostart --quiet "$@"; }

# A day of a daemon: one task completes, one fails, one is killed by somebody else.
day() {
    for _ in $(seq 200); do
        client status 2>"$folder/not-yet" && break
        sleep 0.05
    done
    client add -- true >"$folder/ids"
    client add --max-retries 0 -- sh -c 'echo one >&2; echo two >&2; exit 3' >>"$folder/ids"
    # shellcheck disable=SC2016
    client add --max-retries 0 -- sh -c 'kill -KILL $$' >>"$folder/ids"
    client start
    client wait || true
    client daemon stop
    wait "$1"
}
# A service's standard error, and what systemd says of it.
cat >"$folder/service" <<'END'
JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)
export JOURNAL_STREAM
exec "$@"
END
systemd-cat sh "$folder/service" "$program" --home "$folder/home" daemon &
day $!
# Here it leads elsewhere.
# shellcheck disable=SC2016
systemd-cat sh "$folder/service" sh -c 'exec "$0" "$@" 2>"$LINES_TO"' "$program" --home "$folder/home" daemon &
day $!
journalctl --sync
journalctl --no-pager --output=json SYSLOG_IDENTIFIER=batch-executor
