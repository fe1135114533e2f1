#!/bin/sh
# Downloads the packages that the Debian tree TREE lacks for the package TOOL: package_tool.sh
# FOLDER TREE TOOL. Does nothing if FOLDER exists.
set -eu

FOLDER=$1
TREE=$2
TOOL=$3

[ ! -d "$FOLDER" ] || exit 0
# One download at a time. A run that waited finds the folder complete.
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
of_tree install --yes --no-install-recommends --download-only "$TOOL"
mkdir "$FOLDER.new"
mv "$WORK/cache/archives/"*.deb "$FOLDER.new"
mv "$FOLDER.new" "$FOLDER"
