#!/bin/sh
# Installs the Debian packages that the lab and the tests need, if we may; else says which are missing.
# Looks at the programs first, so that a machine that has them needs neither root nor the network.
set -eu

missing=""
need() { # need PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] || missing="$missing $2"
}
need qemu-system-x86_64 qemu-system-x86
need nft nftables
need ip iproute2
need ipvsadm ipvsadm
need iptables-legacy iptables
need ipset ipset
need modprobe kmod
need busybox busybox-static
need unshare util-linux
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"

[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of names
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "these Debian packages are missing, ask an administrator to run:" >&2
    echo "  apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
