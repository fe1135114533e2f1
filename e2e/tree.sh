#!/bin/sh
# Makes the Debian tree that the end-to-end tests boot: tree.sh FOLDER SUITE. Does nothing if it is there.
set -eu

TREE=$1
SUITE=$2
# python3 for the attacks from inside, the others for what a user of such a host would type.
PACKAGES=systemd,systemd-sysv,dbus,curl,python3,iproute2,procps,sudo

[ ! -d "$TREE" ] || exit 0
mkdir -p "${TREE%/*}"
# One builder at a time; who waited finds the tree done.
exec 9>"$TREE.lock"
flock 9
[ ! -d "$TREE" ] || exit 0
rm -rf "$TREE.new"
# Standard output of a test is the test's.
mmdebstrap --quiet --variant=minbase --include="$PACKAGES" "$SUITE" "$TREE.new" >&2
# A journal that lasts, so that a test can read what happened before a reboot.
mkdir -p "$TREE.new/var/log/journal"
# An address of its own, and the same hostname on every machine.
: >"$TREE.new/etc/machine-id"
echo sidecar-host >"$TREE.new/etc/hostname"
printf '127.0.0.1 localhost sidecar-host\n::1 localhost\n' >"$TREE.new/etc/hosts"
mv "$TREE.new" "$TREE"
