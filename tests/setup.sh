#!/bin/sh
# Looks for the programs that the tests run, with `packages` those of `make packages` too; as root on Debian it installs
# what is missing.
set -eu
missing=""
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need cc gcc
need python3 python3
need node nodejs
need bash bash
need zsh zsh
need fish fish
need elvish elvish
need setsid util-linux
need jq jq
need openssl openssl
need nc netcat-openbsd
need prlimit util-linux
need setpriv util-linux
need ionice util-linux
need unshare util-linux
need nsenter util-linux
need mount mount
need ldd libc-bin
need runsvdir runit
need groff groff-base
need shellcheck shellcheck
need systemd-analyze systemd
need systemctl systemd
need systemd-socket-activate systemd
if [ "${1-}" = packages ]; then
    need lintian lintian
    need debootstrap debootstrap
    need wget wget
fi
need tmux tmux
need pgrep procps
need chromium chromium
python3 -c "import ensurepip, venv" 2>/dev/null || missing="$missing python3-venv"
if [ -z "$missing" ]; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
else
    echo "the tests need:$missing" >&2
    exit 1
fi
