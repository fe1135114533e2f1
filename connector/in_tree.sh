#!/bin/sh
# Runs a command in FOLDER with the programs of a Debian tree: in_tree.sh TREE FOLDER COMMAND… Call
# it in a new mount namespace (unshare --mount). Other tests share the tree, so it is not written
# to.
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
