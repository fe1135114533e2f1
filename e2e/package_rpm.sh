#!/bin/sh
# Downloads what a machine of the Debian tree TREE lacks to have the command rpm: package_rpm.sh FOLDER TREE.
# Does nothing if it is there.
set -eu

FOLDER=$1
TREE=$2

[ ! -d "$FOLDER" ] || exit 0
# One at a time; who waited finds the folder done.
exec 9>"$FOLDER.lock"
flock 9
[ ! -d "$FOLDER" ] || exit 0
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir -p "$WORK/state/lists/partial" "$WORK/cache/archives/partial"

# With the sources, keys and installed packages of the tree, and without writing to it.
of_tree() {
	apt-get -q -o APT::Sandbox::User=root -o Dir::Etc="$TREE/etc/apt" -o Dir::Cache="$WORK/cache" \
		-o Dir::State="$WORK/state" -o Dir::State::status="$TREE/var/lib/dpkg/status" "$@" >&2
}

of_tree update
of_tree install --yes --no-install-recommends --download-only rpm
mkdir "$FOLDER.new"
mv "$WORK/cache/archives/"*.deb "$FOLDER.new"
mv "$FOLDER.new" "$FOLDER"
