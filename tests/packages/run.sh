#!/usr/bin/env bash
# The packages as people get them: the .deb on a clean Debian, the static program on an empty root, the archive unpacked, the crate.
# Needs root (`make packages` builds what is looked at and installs the tools); nothing of it outlives this script.
set -euo pipefail
cd "$(dirname "$0")/../.."

dist=target/dist
base=target/packages/base
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { echo "-- $*"; }

# A clean Debian, as this one's mirror has it; made once.
clean_root() {
    [ -e "$base/.made" ] && return
    rm -rf "$base"
    mkdir -p "$base"
    local mirror suite
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
    # shellcheck disable=SC1091
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    debootstrap --variant=minbase "$suite" "$base" "$mirror" >"$base.log" || { tail -n 20 "$base.log"; exit 1; }
    touch "$base/.made"
}

# Runs a command with a folder as its root, in namespaces of its own: with its end all that it started ends, mounts too.
within() {
    local root=$1
    shift
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child sh -euc '
        root=$1; shift
        mount -t proc proc "$root/proc"
        [ -e "$root/dev/null" ] || touch "$root/dev/null"
        mount --bind /dev/null "$root/dev/null"
        exec chroot "$root" "$@"' sh "$root" "$@"
}

# The package again with the program of `make next` and a higher version, as the next release will be.
next_package() {
    dpkg-deb --raw-extract "$1" "$work/next"
    install -m 755 target/next/batch-executor "$work/next/usr/bin/batch-executor"
    sed -i 's/^Version: .*/Version: 99.0-1/' "$work/next/DEBIAN/control"
    (cd "$work/next" && find usr -type f -exec md5sum {} + >DEBIAN/md5sums)
    dpkg-deb -Znone --root-owner-group --build "$work/next" "$2" >/dev/null
}

deb() {
    local package
    package=$(echo "$dist"/*.deb)
    say "lintian: $package"
    lintian --allow-root --info --fail-on error,warning "$package"
    clean_root
    cp -a "$base" "$work/root"
    cp "$package" "$work/root/first.deb"
    next_package "$package" "$work/root/second.deb"
    install -m 755 tests/packages/on_debian.sh "$work/root/"
    say "installed, used, upgraded while a task runs, removed, on a clean Debian"
    within "$work/root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 /on_debian.sh
}

static() {
    say "the static program, alone on an empty root"
    local root=$work/empty
    mkdir -p "$root"/{proc,dev,home,tmp}
    cp target/x86_64-unknown-linux-gnu/release/batch-executor "$root/"
    cat >"$root/home/tasks.json" <<'TASKS'
[{"function": "simulate", "params": {"duration": 0.1}},
 {"function": "simulate", "params": {"duration": 0, "fail": 1}, "retry_delay": 0},
 {"function": "command", "params": {"argv": ["/batch-executor", "--version"]}}]
TASKS
    within "$root" /batch-executor --home /home/queue run /home/tasks.json
    within "$root" /batch-executor --home /home/queue add later -f simulate
    # Its daemon ended with the namespace; the next one finds all of it.
    within "$root" /batch-executor --home /home/queue results --json >"$work/results"
    [ "$(jq '[.data.tasks[] | select(.status == "completed")] | length' "$work/results")" = 3 ]
    jq -er '.data.tasks[2].result.stdout | startswith("batch-executor ")' "$work/results" >/dev/null
}

archive() {
    say "the archive, as cargo-binstall looks for it"
    local file name
    file=$(echo "$dist"/batch-executor-*.tgz)
    name=$(basename "$file" .tgz)
    tar -xzf "$file" -C "$work"
    "$work/$name/batch-executor" --version
    for part in LICENSE-MIT LICENSE-APACHE README.md man/batch-executor-run.1 completions/batch-executor.bash \
        completions/_batch-executor completions/batch-executor.fish batch-executor.cdx.json; do
        [ -s "$work/$name/$part" ]
    done
}

crate() {
    say "the crate has what cargo install needs, and no more; it is built from it"
    cargo package --locked --list --allow-dirty >"$work/files"
    for part in Cargo.lock build.rs cli/main.rs src/lib.rs migrations/0001_queue.sql systemd/batch-executor.service LICENSE-MIT; do
        grep -qx "$part" "$work/files"
    done
    if grep -E '^(tests|fuzz|benches|\.ci|packaging)/' "$work/files"; then exit 1; fi
    cargo package --locked --allow-dirty --quiet
}

for part in "${@:-deb static archive crate}"; do
    for one in $part; do "$one"; done
done
say "all of it holds"
