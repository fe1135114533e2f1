#!/bin/sh
# Makes the Debian tree that the end-to-end tests boot: tree.sh FOLDER SUITE [PACKAGES], in which
# PACKAGES are further ones, separated by commas. Does nothing if FOLDER exists.
set -eu

TREE=$1
SUITE=$2
# python3 runs the attacks from inside, libnss-extrausers adds users who are not in /etc/passwd, and
# a user of such a host would type the other commands. After a change here raise treeVersion of
# main_test.go, because an existing tree is never changed.
PACKAGES=systemd,systemd-sysv,dbus,curl,python3,iproute2,procps,sudo,libnss-extrausers,iputils-ping${3:+,$3}

[ ! -d "$TREE" ] || exit 0
mkdir -p "${TREE%/*}"
# One builder at a time. A run that waited finds the tree complete.
exec 9>"$TREE.lock"
flock 9
[ ! -d "$TREE" ] || exit 0
rm -rf "$TREE.new"
# Standard output belongs to the test. sid has an expiry date of a week, which a mirror may exceed;
# the signature is checked all the same.
mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' \
	--include="$PACKAGES" "$SUITE" "$TREE.new" >&2
# A persistent journal, so that a test can read the entries from before a reboot.
mkdir -p "$TREE.new/var/log/journal"
# An address for each machine, and the same hostname on all.
: >"$TREE.new/etc/machine-id"
echo sidecar-host >"$TREE.new/etc/hostname"
printf '127.0.0.1 localhost sidecar-host\n::1 localhost\n' >"$TREE.new/etc/hosts"
mv "$TREE.new" "$TREE"
