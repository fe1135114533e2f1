#!/bin/sh
# Makes the files from which the machines with a kernel of their own boot:
#   kernel.sh fetch FILE SUITE            FILE, Debian's kernel of the suite, unless it exists.
#   kernel.sh pack TREE ROOT TO SCRIPT    TO, an archive for the kernel of TREE (a folder, or an
#                                         archive) and the files of ROOT. In it systemd runs SCRIPT
#                                         on the console and powers off.
#   kernel.sh selinux FOLDER SUITE        FOLDER/tree, a Debian with SELinux's policy, FOLDER/kernel
#                                         and FOLDER/initrd, unless they exist.
#   kernel.sh image TREE ROOT TO SCRIPT   TO, an ext4 image with what pack has, labelled for SELinux
# The program is ROOT/program, and the tests to run, if there are any, are in ROOT/selftest/built.
set -eu

# alone FILE: one builder of FILE at a time. A run that waited finds it complete.
alone() {
	mkdir -p "${1%/*}"
	exec 9>"$1.lock"
	flock 9
	rm -rf "$1.new"
}

fetch() {
	[ ! -f "$1" ] || return 0
	alone "$1"
	[ ! -f "$1" ] || return 0
	# Without the security updates: the kernels of an old suite are removed from there.
	# shellcheck disable=SC2016
	mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
		--setup-hook='sed -i /security/d "$1/etc/apt/sources.list"' --include=linux-image-cloud-amd64 "$2" "$1.new" >&2
	find "$1.new" -type f -name 'vmlinuz*' -exec mv '{}' "$1.new/kernel" ';'
	mv "$1.new/kernel" "$1"
	rm -rf "$1.new"
}

archive() { cpio --quiet -o -H newc; }

# fill ROOT SCRIPT [COMMAND…] adds the release, the script, and the service that runs it by COMMAND.
fill() {
	root=$1
	mkdir -p "$root/selftest" "$root/root/release/bin" "$root/root/release/packaging" "$root/etc/systemd/system/multi-user.target.wants"
	cp "$2" "$root/selftest/inside"
	cp inside_functions.sh "$root/selftest/functions"
	shift 2
	cp -r ../../install.sh ../../units "$root/root/release/"
	cp -r ../../packaging/man "$root/root/release/packaging/"
	mv "$root/program" "$root/root/release/bin/dataflux-func-sidecar"
	chmod 755 "$root/root/release/bin/dataflux-func-sidecar"
	cat >"$root/etc/systemd/system/selftest.service" <<-TEXT
		[Unit]
		After=multi-user.target
		SuccessAction=poweroff-force
		FailureAction=poweroff-force
		[Service]
		Type=oneshot
		ExecStart=$* /bin/sh /selftest/inside
		StandardOutput=tty
		StandardError=tty
		TTYPath=/dev/console
	TEXT
	ln -s ../selftest.service "$root/etc/systemd/system/multi-user.target.wants/"
	[ ! -d "$root/selftest/built" ] || add_sources "$root"
}

# add_sources ROOT adds the sources, in whose folders the tests run. Their programs were built here.
add_sources() {
	mkdir -p "$1/selftest/src" "$1/usr/local/bin"
	(cd ../.. && tar -c --exclude=./.git --exclude=./bin --exclude=./dist --exclude=./run .) | tar -x -C "$1/selftest/src"
	cat >"$1/usr/local/bin/go" <<-'TEXT'
		#!/bin/sh
		while [ $# -gt 1 ]; do
			[ "$1" != -o ] || to=$2
			shift
		done
		exec cp "/selftest/built/${1##*/}" "$to"
	TEXT
	chmod 755 "$1/usr/local/bin/go"
}

pack() {
	fill "$2" "$4"
	ln -s sbin/init "$2/init"
	{
		if [ -f "$1" ]; then
			cat "$1"
		else
			(cd "$1" && find . -xdev \( -path ./usr/share/doc -o -path ./usr/share/man -o -path ./usr/share/locale \
				-o -path ./var/lib/apt -o -path ./var/cache -o -path ./var/log/journal \) -prune -o -print | archive)
		fi
		(cd "$2" && find . | archive)
	} >"$3"
}

selinux() {
	[ ! -d "$1" ] || return 0
	alone "$1"
	[ ! -d "$1" ] || return 0
	mkdir "$1.new"
	# initramfs-tools: the kernel has virtio-blk as a module.
	mmdebstrap --quiet --variant=minbase --include="systemd,systemd-sysv,dbus,curl,python3-minimal,iproute2,procps,sudo,\
linux-image-cloud-amd64,initramfs-tools,zstd,selinux-policy-default,selinux-basics,policycoreutils" "$2" "$1.new/tree" >&2
	mv "$1.new/tree"/boot/vmlinuz-* "$1.new/kernel"
	mv "$1.new/tree"/boot/initrd.img-* "$1.new/initrd"
	rm -rf "$1.new/tree/var/cache/apt" "$1.new/tree/var/lib/apt/lists" "$1.new/tree/usr/share/doc"
	: >"$1.new/tree/etc/machine-id"
	echo sidecar-host >"$1.new/tree/etc/hostname"
	printf '127.0.0.1 localhost sidecar-host\n::1 localhost\n' >"$1.new/tree/etc/hosts"
	mv "$1.new" "$1"
}

image() {
	# An operator who logged in, and not systemd, installs and calls.
	fill "$2" "$4" /usr/bin/runcon unconfined_u:unconfined_r:unconfined_t:s0
	cp -a "$1/." "$3.tree"
	tar -C "$2" -c . | tar -C "$3.tree" -x --keep-directory-symlink
	chroot "$3.tree" setfiles -F /etc/selinux/default/contexts/files/file_contexts / >&2
	mke2fs -q -t ext4 -d "$3.tree" "$3" 2G >&2
	rm -rf "$3.tree"
}

"$@"
