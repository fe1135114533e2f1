#!/bin/sh
# Runs a command with the programs of a Debian tree: in_tree.sh TREE FOLDER COMMAND…, in FOLDER. It belongs into a
# mount namespace of its own (unshare --mount). The tree is shared with other tests, and not written to.
set -eu

TREE=$1
FOLDER=$2
shift 2

mount --bind "$TREE" /mnt
mount -o remount,bind,ro /mnt
mount -t tmpfs tmpfs /mnt/tmp
mkdir /mnt/tmp/connector
mount --bind "$FOLDER" /mnt/tmp/connector
exec chroot /mnt env -C /tmp/connector "$@"
