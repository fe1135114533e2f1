#!/bin/sh
# Writes the release folder: dist.sh [--no-packages] FOLDER. `make dist` calls it.
#
# The same source and the same versions of Go, tar and gzip give the same bytes, independent of the
# path of the checkout and the umask. DOWNLOAD_URL=https://… in the environment becomes the default
# of --url of download.sh. SOURCE_DATE_EPOCH replaces the release date as the time of all files.
set -eu
umask 022
export LC_ALL=C TZ=UTC

NAME=dataflux-func-sidecar
SCRIPTS="install.sh packaging/run-sidecar.sh packaging/download.sh"
FILES="units/$NAME.service units/$NAME.socket units/$NAME-ports.service units/$NAME-metrics.socket
	units/$NAME-reload.path units/$NAME-reload.service
	units/$NAME.catalog packaging/man/$NAME.8 packaging/man/$NAME.5"

fail() {
	printf 'dist.sh: %s\n' "$*" >&2
	exit 1
}

PACKAGES=yes
if [ "${1-}" = --no-packages ]; then
	PACKAGES=no
	shift
fi
[ $# -eq 1 ] || fail "usage: dist.sh [--no-packages] FOLDER"
DIST=$1
while [ "$DIST" != "${DIST%/}" ]; do DIST=${DIST%/}; done
case ${DIST##*/} in
'' | . | ..) fail "$1 is no folder of its own: name one, such as ./dist" ;;
esac
# An absolute path, because the directory changes below.
case $DIST in
/*) ;;
*) DIST=$PWD/$DIST ;;
esac
cd "$(dirname "$0")/.."

WORK=$(mktemp -d)
# In the parent of its final place, so that a rename completes it.
NEW=$DIST.new
trap 'rm -rf "$WORK" "$NEW"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

check_parts() {
	for part in $SCRIPTS $FILES LICENSE; do
		[ -f "$part" ] || fail "$part is missing: it is part of every release"
	done
	if [ -e "$DIST" ] && [ ! -f "$DIST/sha256sums" ]; then
		fail "$DIST is there and is no release folder: remove it or name another"
	fi
	case ${DOWNLOAD_URL:=} in
	'' | https://*) ;;
	*) fail "DOWNLOAD_URL must begin with https://, as only that proves where a release comes from" ;;
	esac
	case $DOWNLOAD_URL in
	*[!A-Za-z0-9._~:/%-]*) fail "DOWNLOAD_URL has characters that no download folder needs: $DOWNLOAD_URL" ;;
	esac
}

# Independent of the builder's settings, which would change the program.
build_program() {
	mkdir -p "$WORK/$1"
	CGO_ENABLED=0 GOOS=linux GOARCH=$1 GOAMD64=v1 GOARM64=v8.0 GOFLAGS='' GOEXPERIMENT='' GOFIPS140=off GOWORK=off \
		go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$WORK/$1/$NAME" "./cmd/$NAME"
	chmod 0755 "$WORK/$1/$NAME"
}

# The program is the only source of its version and date.
read_version() {
	told=$("$WORK/$(go env GOHOSTARCH)/$NAME" version) || told=
	VERSION=$(printf '%s\n' "$told" | sed -nE "s/^$NAME ([0-9][0-9A-Za-z.~+-]*) \(released .*\)\$/\1/p")
	released=$(printf '%s\n' "$told" | sed -nE 's/.* \(released (.*)\)$/\1/p')
	[ -n "$VERSION" ] || fail "the version cannot be read: \`$NAME version\` prints '$told'"
	: "${SOURCE_DATE_EPOCH:=$(date -d "$released" +%s)}"
	[ -n "$SOURCE_DATE_EPOCH" ] || fail "the release date cannot be read: \`$NAME version\` prints '$told'"
	export SOURCE_DATE_EPOCH
}

write_archive() {
	mkdir -p "$NEW/$2"
	tar --format=ustar --owner=0 --group=0 --numeric-owner --mode=0755 --mtime="@$SOURCE_DATE_EPOCH" \
		-C "$WORK/$1" -cf "$WORK/$1.tar" "$NAME"
	gzip -n -9 <"$WORK/$1.tar" >"$NEW/$2/$NAME.tar.gz"
}

write_parts() {
	for part in $SCRIPTS; do install -m 0755 "$part" "$NEW/${part##*/}"; done
	for part in $FILES; do install -m 0644 "$part" "$NEW/${part##*/}"; done
	sed -i "s|^DEFAULT_URL=.*|DEFAULT_URL='$DOWNLOAD_URL'|" "$NEW/download.sh"
	printf '%s\n' "$VERSION" >"$NEW/version"
	# Lower case: download.sh of release 1.0.0 accepts no other names.
	install -m 0644 LICENSE "$NEW/license.txt"
	packaging/third-party-licences.sh >"$NEW/third-party-licences.txt"
}

# For DataFlux Func: a ZIP for Script Set Import, and the same tree for a Script Market.
write_func_scripts() {
	GOFLAGS='' GOOS='' GOARCH='' go run ./packaging/scriptset --time "$SOURCE_DATE_EPOCH" \
		--zip "$NEW/$NAME-scripts.zip" --tree "$NEW/func"
}

write_packages() {
	if [ "$PACKAGES" = yes ] && [ -f packaging/packages/build.sh ]; then
		packaging/packages/build.sh "$NEW" "$WORK" "$VERSION"
	fi
}

# sum_files FOLDER [CONDITION...] writes FOLDER/sha256sums for the files that the condition of find
# selects.
sum_files() {
	folder=$1
	shift
	(cd "$folder" && find . -type f ! -path ./sha256sums "$@" -printf '%P\0' | sort -z | xargs -0 sha256sum) \
		>"$WORK/sha256sums"
	install -m 0644 "$WORK/sha256sums" "$folder/sha256sums"
}

# The tree for Func has its own list, because download.sh refuses one with paths of such a depth.
write_sums() {
	sum_files "$NEW/func"
	sum_files "$NEW" '(' ! -path './func/*' -o -path ./func/sha256sums ')'
}

check_parts
rm -rf "$NEW"
mkdir -p "$NEW"
build_program amd64
build_program arm64
read_version
write_archive amd64 linux-amd64
write_archive arm64 linux-arm
write_parts
write_func_scripts
write_packages
write_sums
find "$NEW" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
rm -rf "$DIST"
mv "$NEW" "$DIST"
printf 'Release %s is in %s\n' "$VERSION" "$DIST"
