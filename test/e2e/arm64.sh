#!/bin/sh
# Makes the files that the machine of host_aarch64_test.go boots from, with what kernel.sh adds:
#   arm64.sh tree FOLDER SUITE   FOLDER/kernel, Debian's kernel for arm64, and FOLDER/tree.cpio, a
#                                Debian that the kernel unpacks into memory. Does nothing if both
#                                exist.
set -eu

# The tests of the packages use python3 and the others.
PACKAGES='linux-image-cloud-arm64,?essential,systemd,systemd-sysv,curl,python3-minimal,iproute2,procps,passwd,util-linux'

tree() {
	[ ! -d "$1" ] || return 0
	mkdir -p "${1%/*}"
	# One builder at a time. A run that waited finds the tree complete.
	exec 9>"$1.lock"
	flock 9
	[ ! -d "$1" ] || return 0
	rm -rf "$1.new"
	mkdir "$1.new"
	# Unpacked and not configured, as that would execute arm64 programs here.
	mmdebstrap --quiet --architectures=arm64 --variant=extract \
		--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include="$PACKAGES" "$2" "$1.new/tree"
	mv "$1.new/tree"/boot/vmlinuz-* "$1.new/kernel"
	configure "$1.new/tree"
	(cd "$1.new/tree" && find . | cpio --quiet -o -H newc) >"$1.new/tree.cpio"
	rm -rf "$1.new/tree"
	mv "$1.new" "$1"
}

# configure removes files that no test reads, and makes those that configuring the packages would
# make.
configure() (
	cd "$1"
	rm -rf boot usr/lib/modules usr/share/doc usr/share/man usr/share/locale var/lib/apt var/cache/apt
	cp usr/share/base-passwd/passwd.master etc/passwd
	cp usr/share/base-passwd/group.master etc/group
	ln -s mawk usr/bin/awk
	echo 0123456789abcdef0123456789abcdef >etc/machine-id
	echo sidecar-host >etc/hostname
	printf '127.0.0.1 localhost sidecar-host\n::1 localhost\n' >etc/hosts
)

"$@"
