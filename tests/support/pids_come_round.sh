#!/usr/bin/env bash
# In a pid namespace of its own: daemon and keeper are killed, the pids of what they ran come round and are a
# bystander's, and the next daemon ends none of those. Arguments: the program, an empty folder.
set -eu
program=$1
folder=$2
export BATCH_EXECUTOR_HOME=$folder/home
export XDG_CONFIG_HOME=$folder/config
cd "$folder"
until_holds() {
    for _ in $(seq 3000); do
        if "$@"; then return 0; fi
        sleep 0.02
    done
    echo "never: $*"
    exit 1
}
begun() { [ "$(wc -l < pids)" -ge "$1" ]; }
gone() { [ ! -e "/proc/$1" ]; }
if ! (echo 500 > /proc/sys/kernel/ns_last_pid) 2> /dev/null; then
    echo "not run: /proc/sys/kernel/ns_last_pid cannot be written"
    exit 0
fi
touch pids
for _ in 1 2; do
    # shellcheck disable=SC2016
    "$program" add --quiet -- bash -c 'echo $$ >> pids; exec sleep 600' > /dev/null
done
"$program" start --quiet
until_holds begun 2
daemon=$("$program" call '{"action":"health"}' | jq .data.pid)
keeper=$("$program" call '{"action":"health"}' | jq .data.keeper_pid)
kill -KILL "$daemon" "$keeper"
mapfile -t pids < pids
pids+=("$daemon" "$keeper")
bystanders=()
for pid in "${pids[@]}"; do
    until_holds gone "$pid"
done
for pid in "${pids[@]}"; do
    echo $((pid - 1)) > /proc/sys/kernel/ns_last_pid
    sleep 1000 &
    if [ $! != "$pid" ]; then
        echo "not run: wanted pid $pid, got $!"
        exit 0
    fi
    bystanders+=("$!")
done
"$program" status --quiet
until_holds begun 4
"$program" daemon stop --quiet --grace 0
for pid in "${bystanders[@]}"; do
    if ! kill -0 "$pid"; then
        echo "the bystander $pid was killed"
        exit 1
    fi
done
echo "the bystander lives"
