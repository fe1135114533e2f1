#!/bin/sh
# Makes the files that the machine of limits_test.go boots from:
#   kernel.sh fetch FILE SUITE          FILE, Debian's kernel of the suite, unless it exists.
#   kernel.sh pack TREE ROOT TO SCRIPT  the tree of tree.sh and the files of ROOT as one archive, in
#                                       which systemd runs SCRIPT on the console and powers off
set -eu

fetch() {
	[ ! -f "$1" ] || return 0
	mkdir -p "${1%/*}"
	# One builder at a time. A run that waited finds the kernel complete.
	exec 9>"$1.lock"
	flock 9
	[ ! -f "$1" ] || return 0
	rm -rf "$1.new"
	# Without the security updates: the kernels of an old suite are removed from there.
	# shellcheck disable=SC2016
	mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
		--setup-hook='sed -i /security/d "$1/etc/apt/sources.list"' --include=linux-image-cloud-amd64 "$2" "$1.new" >&2
	find "$1.new" -type f -name 'vmlinuz*' -exec mv '{}' "$1.new/kernel" ';'
	mv "$1.new/kernel" "$1"
	rm -rf "$1.new"
}

archive() { cpio --quiet -o -H newc; }

pack() {
	mkdir -p "$2/selftest" "$2/root/release" "$2/etc/systemd/system/multi-user.target.wants"
	cp "$4" "$2/selftest/inside"
	chmod 755 "$2/selftest/inside"
	mkdir "$2/root/release/bin" "$2/root/release/packaging"
	cp -r ../../install.sh ../../units "$2/root/release/"
	cp -r ../../packaging/man "$2/root/release/packaging/"
	mv "$2/program" "$2/root/release/bin/dataflux-func-sidecar"
	chmod 755 "$2/root/release/bin/dataflux-func-sidecar"
	cat >"$2/etc/systemd/system/selftest.service" <<-'TEXT'
		[Unit]
		After=multi-user.target
		SuccessAction=poweroff-force
		FailureAction=poweroff-force
		[Service]
		Type=oneshot
		ExecStart=/selftest/inside
		StandardOutput=tty
		StandardError=tty
		TTYPath=/dev/ttyS0
	TEXT
	ln -s ../selftest.service "$2/etc/systemd/system/multi-user.target.wants/"
	ln -s sbin/init "$2/init"
	{
		(cd "$1" && find . -xdev \( -path ./usr/share/doc -o -path ./usr/share/man -o -path ./usr/share/locale \
			-o -path ./var/lib/apt -o -path ./var/cache -o -path ./var/log/journal \) -prune -o -print | archive)
		(cd "$2" && find . | archive)
	} >"$3"
}

"$@"
