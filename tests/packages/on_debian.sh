#!/bin/sh
# Runs in the clean Debian: /first.deb is this version, /second.deb a higher one.
set -eu

as_user() { (cd /home/someone && setpriv --reuid=someone --regid=someone --clear-groups env HOME=/home/someone "$@"); }
be() { as_user batch-executor "$@"; }
# A field of an answer, where it comes first. COMMAND WORD FIELD
field() { be "$1" "$2" --json | grep -o "\"$3\":[^],}]*" | head -n 1 | cut -d: -f2 | tr -d '"'; }
until_is() { # VALUE COMMAND…: a minute at most
    wanted=$1
    shift
    tries=600
    while [ "$("$@")" != "$wanted" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "never $wanted: $*" >&2; exit 1; }
        sleep 0.1
    done
}
fails() { echo "wrong: $*" >&2; exit 1; }
is() { [ "$1" = "$2" ] || fails "'$1' is not '$2'"; }

useradd --create-home someone
dpkg --install /first.deb
dpkg --listfiles batch-executor | while read -r file; do [ -d "$file" ] || echo "$file"; done >/installed

echo "-- nothing was enabled or started"
if find /etc/systemd /var/lib/systemd -name '*batch-executor*' 2>/dev/null | grep .; then fails enabled; fi
if grep -l batch-executor /proc/[0-9]*/comm; then fails started; fi

echo "-- used by an ordinary user"
be add -- echo hello
be start
be wait
is "$(be logs 1)" hello
be results
gzip -dc /usr/share/man/man1/batch-executor-run.1.gz | grep -q '^.TH batch-executor-run 1'
# shellcheck disable=SC2016
as_user bash -c '. /usr/share/bash-completion/completions/batch-executor
    COMP_WORDS=(batch-executor show ""); COMP_CWORD=2; _batch_executor batch-executor ""; [ "${COMPREPLY[*]}" = 1 ]'
for file in /usr/share/zsh/vendor-completions/_batch-executor /usr/share/fish/vendor_completions.d/batch-executor.fish; do
    grep -q batch-executor "$file"
done
grep -q '^ExecStart=/usr/bin/batch-executor daemon' /usr/lib/systemd/user/batch-executor.service

echo "-- upgraded while a task runs"
be add holder -f code_execution -p runtime=terminal -p code='echo one; while [ ! -e gate ]; do sleep 0.1; done; echo two'
be add behind -f simulate -p duration=0
be start --max-concurrent 1
until_is running field show 2 status
before=$(field daemon status version)
dpkg --install /second.deb
is "$(field show 2 status)" running
be daemon restart
after=$(field daemon status version)
[ "$before" != "$after" ] || fails "still $after"
is "$(field show 2 status)" running
as_user touch gate
be wait --timeout 60
is "$(be logs 2)" "one
two"
is "$(field show 2 attempt)" 1
is "$(be results --filter-status completed --quiet | tr '\n' ' ')" "1 2 3 "

echo "-- removed: no file of the package is left, the user's queue is as it was"
be daemon stop
sum=$(sha256sum /home/someone/.local/share/batch-executor/queue.db)
dpkg --purge batch-executor
while read -r file; do [ ! -e "$file" ] || fails "$file is left"; done </installed
if find / -xdev -name '*batch-executor*' -not -path '/proc/*' -not -path '/home/*' | grep .; then fails left; fi
is "$sum" "$(sha256sum /home/someone/.local/share/batch-executor/queue.db)"
