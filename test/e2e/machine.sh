#!/bin/sh
# Boots one temporary machine: machine.sh NAME TREE LAYOUT. It runs as PID 1 of its own PID and
# mount namespace, so that all its processes and mounts end with it.
set -eu

NAME=$1
TREE=$2
# How the machine sees cgroups: unified (version 2 alone) or hybrid (version 1, and an empty version
# 2), if this host is hybrid itself.
LAYOUT=$3

# A cgroup of its own in each hierarchy: two machines in one cgroup would manage each other's
# services.
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
	[ -e "$hierarchy/cgroup.procs" ] || continue
	mkdir -p "$hierarchy/$NAME"
	echo $$ >"$hierarchy/$NAME/cgroup.procs"
done

mount -t tmpfs -o size=2g,mode=0755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$TREE,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root

# nspawn's list of system calls lacks Landlock, without which the network role has half its sandbox.
CALLS="landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp"
# nspawn ends with this status when the machine asks for a reboot.
REBOOT=133

case $LAYOUT in
unified) export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 ;;
hybrid) [ -e /sys/fs/cgroup/unified/cgroup.procs ] || { echo "this host is not hybrid" >&2; exit 1; } ;;
*) echo "no such cgroup layout: $LAYOUT" >&2; exit 1 ;;
esac

status=$REBOOT
while [ "$status" -eq "$REBOOT" ]; do
	status=0
	systemd-nspawn --quiet --boot \
		--directory=/mnt/root --machine="$NAME" --hostname=sidecar-host \
		--private-network --keep-unit --register=no --link-journal=no \
		--console=pipe --resolv-conf=off --timezone=off \
		--system-call-filter="$CALLS" || status=$?
done
exit "$status"
