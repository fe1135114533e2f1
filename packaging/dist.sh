#!/bin/sh
# Writes the release folder: dist.sh [--no-packages] FOLDER. `make dist` calls it, `make dist
# PACKAGES=no` with --no-packages.
#
# The same source and the same versions of Go, tar and gzip give the same bytes, independent of the
# path of the checkout and the umask. DOWNLOAD_URL=https://… in the environment becomes the default
# of --url of download.sh. SOURCE_DATE_EPOCH replaces the release date as the time of all files.
#
# DIST_SIGNING_KEY=FILE signs sha256sums with a private key of ssh-keygen, or with the key of an
# agent if FILE is a public one. The file is outside the checkout, and its public key is in
# packaging/allowed_signers. Without it, the file unsigned.txt says that the release is not signed.
set -eu
umask 022
export LC_ALL=C TZ=UTC

NAME=dataflux-func-sidecar
# Known to download.sh and to internal/release too.
SIGNER=$NAME
NAMESPACE=$NAME-release
SIGNERS=packaging/allowed_signers
SCRIPTS="install.sh packaging/download.sh"
FILES="units/$NAME.service units/$NAME.socket units/$NAME-ports.service units/$NAME-metrics.socket
	units/$NAME-reload.path units/$NAME-reload.service
	units/$NAME.catalog packaging/man/$NAME.8 packaging/man/$NAME.5"
DOCUMENTS="README.md CHANGELOG.md SECURITY.md CONTRIBUTING.md LICENSE docs connector packaging/completions packaging/monitoring packaging/ansible"

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
KEY=${DIST_SIGNING_KEY-}
case $KEY in
'' | /*) ;;
*) KEY=$PWD/$KEY ;;
esac
cd "$(dirname "$0")/.."

WORK=$(mktemp -d)
NEW=
trap 'rm -rf "$WORK" ${NEW:+"$NEW"}' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

check_parts() {
	for part in $SCRIPTS $FILES $DOCUMENTS $SIGNERS; do
		[ -e "$part" ] || fail "$part is missing: it is part of every release"
	done
	check_target
	case ${DOWNLOAD_URL:=} in
	'' | https://*) ;;
	*) fail "DOWNLOAD_URL must begin with https://, as only that proves where a release comes from" ;;
	esac
	case $DOWNLOAD_URL in
	*[!A-Za-z0-9._~:/%-]*) fail "DOWNLOAD_URL has characters that no download folder needs: $DOWNLOAD_URL" ;;
	esac
}

# Only what this script made is replaced: a folder that has no other file than those of its lists.
check_target() {
	[ -e "$DIST" ] || [ -L "$DIST" ] || return 0
	if [ -L "$DIST" ] || [ ! -f "$DIST/sha256sums" ]; then
		fail "$DIST is there and is no release folder: remove it or name another"
	fi
	{
		printf '%s\n' sha256sums sha256sums.sig
		for list in sha256sums documents.sha256sums func/sha256sums; do
			folder=$(dirname "$list")/
			[ ! -f "$DIST/$list" ] || sed "s|^.\{66\}|${folder#./}|" "$DIST/$list"
		done
	} | sort >"$WORK/listed"
	other=$(cd "$DIST" && find . ! -type d -printf '%P\n' | sort | comm -23 - "$WORK/listed" | head -n 1)
	[ -z "$other" ] || fail "$DIST has a file that is not part of a release, $other: move it elsewhere"
}

# In the parent of its final place, so that a rename completes it.
make_new() {
	mkdir -p "${DIST%/*}/"
	NEW=$(mktemp -d "${DIST%/*}/.$NAME.XXXXXX")
	chmod 0755 "$NEW"
}

check_key() {
	[ -n "$KEY" ] || return 0
	[ -f "$KEY" ] || fail "DIST_SIGNING_KEY names no file: $KEY"
	case $(realpath "$KEY") in
	"$(realpath .)"/*) fail "DIST_SIGNING_KEY is in the checkout, where it may be published: move it elsewhere" ;;
	esac
	command -v ssh-keygen >/dev/null || fail "ssh-keygen is missing (Debian: openssh-client): it signs the release"
	[ -n "$(signers)" ] || fail "$SIGNERS has no key: add the public key of DIST_SIGNING_KEY, as docs/development.md says"
}

# signers prints the allowed signers without comments.
signers() { sed -e 's/^[[:space:]]*//' -e '/^#/d' -e '/^$/d' "$SIGNERS"; }

# Before anything is written into the checkout.
read_commit() {
	COMMIT=
	MODIFIED=
	[ -e .git ] && COMMIT=$(git rev-parse --verify --quiet HEAD) || return 0
	[ -z "$(git status --porcelain)" ] || MODIFIED=--modified
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

# The archive has the program first, and then the files that install.sh installs, so that it can be
# downloaded by hand with few other files.
write_archive() {
	mkdir -p "$NEW/$2"
	for part in $FILES; do install -m 0644 "$part" "$WORK/$1"; done
	# shellcheck disable=SC2046 # names
	tar --format=ustar --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
		-C "$WORK/$1" -cf "$WORK/$1.tar" "$NAME" $(for part in $FILES; do basename "$part"; done)
	gzip -n -9 <"$WORK/$1.tar" >"$NEW/$2/$NAME.tar.gz"
}

write_parts() {
	for part in $SCRIPTS; do install -m 0755 "$part" "$NEW/${part##*/}"; done
	install -m 0755 install.sh "$NEW/run-sidecar.sh" # its name in the manual of DataFlux Func
	for part in $FILES; do install -m 0644 "$part" "$NEW/${part##*/}"; done
	sed -i "s|^DEFAULT_URL=.*|DEFAULT_URL='$DOWNLOAD_URL'|" "$NEW/download.sh"
	signers >"$WORK/signers"
	sed -i "/^\tcat <<'SIGNERS'\$/r $WORK/signers" "$NEW/download.sh"
	if [ -z "$KEY" ]; then
		printf '%s\n' 'This release is not signed. Its checksums detect damage, and do not show who made it.' \
			>"$NEW/unsigned.txt"
	fi
	printf '%s\n' "$VERSION" >"$NEW/version"
	# Lower case: download.sh of release 1.0.0 accepts no other names.
	install -m 0644 LICENSE "$NEW/license.txt"
	packaging/third-party-licences.sh >"$NEW/third-party-licences.txt"
}

# The paths are those of the repository, except for folders of packaging.
write_documents() {
	mkdir -p "$NEW/connector" "$NEW/completions" "$NEW/monitoring"
	install -m 0644 README.md CHANGELOG.md SECURITY.md CONTRIBUTING.md LICENSE "$NEW"
	cp -R docs "$NEW"
	install -m 0644 connector/README.md connector/sidecar__*.py "$NEW/connector"
	install -m 0644 packaging/completions/* "$NEW/completions"
	install -m 0644 packaging/monitoring/* "$NEW/monitoring"
	# The links to connector/ become files.
	cp -RL packaging/ansible "$NEW/ansible"
	chmod -R u=rwX,go=rX "$NEW/docs" "$NEW/ansible"
	packaging/links.sh "$NEW"
}

# For DataFlux Func: a ZIP for Script Set Import, and the same tree for a Script Market.
write_func_scripts() {
	# Built as the program is, so that the standard library is compiled once.
	CGO_ENABLED=0 GOFLAGS='' GOOS='' GOARCH='' go run -trimpath ./packaging/scriptset --time "$SOURCE_DATE_EPOCH" \
		--zip "$NEW/$NAME-scripts.zip" --tree "$NEW/func"
}

# The SBOM is of the program, and its tool takes as long to compile as that of the packages.
write_sboms() {
	[ "$PACKAGES" = yes ] || return 0
	for arch in amd64 arm64; do
		packaging/sbom.sh "$WORK/$arch/$NAME" "$VERSION" "$NEW/sbom-$arch.cdx.json" "$WORK/sbom"
	done
}

write_packages() {
	if [ "$PACKAGES" = yes ] && [ -f packaging/packages/build.sh ]; then
		packaging/packages/build.sh "$NEW" "$WORK" "$VERSION"
	fi
}

# sum_files FOLDER LIST [CONDITION...] writes FOLDER/LIST for the files that the condition of find
# selects.
sum_files() {
	folder=$1
	list=$2
	shift 2
	(cd "$folder" && find . -type f ! -path "./$list" "$@" -printf '%P\0' | sort -z | xargs -0 sha256sum) \
		>"$WORK/sums"
	install -m 0644 "$WORK/sums" "$folder/$list"
}

# Of all files of sha256sums but itself, so it comes before that list.
write_provenance() {
	packages=
	[ "$PACKAGES" = no ] || packages=--packages
	sum_files "$NEW" provenance.json '(' ! -path './func/*' -o -path ./func/sha256sums ')' ! -regex "$documents"
	CGO_ENABLED=0 GOFLAGS='' GOOS='' GOARCH='' go run -trimpath ./packaging/provenance --program "$WORK/amd64/$NAME" \
		--version "$VERSION" --commit "$COMMIT" $MODIFIED $packages --download-url "$DOWNLOAD_URL" \
		--epoch "$SOURCE_DATE_EPOCH" --tool "tar=$(tar --version | head -n 1)" --tool "gzip=$(gzip --version | head -n 1)" \
		<"$NEW/provenance.json" >"$WORK/provenance.json"
	install -m 0644 "$WORK/provenance.json" "$NEW/provenance.json"
}

# The documents and the tree for Func have lists of their own: download.sh refuses a list with their
# paths, and needs neither. Each of these lists is in sha256sums.
write_sums() {
	sum_files "$NEW/func" sha256sums
	documents='\./\([A-Z].*\|docs/.*\|connector/.*\|completions/.*\|monitoring/.*\|ansible/.*\)'
	sum_files "$NEW" documents.sha256sums -regex "$documents"
	write_provenance
	sum_files "$NEW" sha256sums '(' ! -path './func/*' -o -path ./func/sha256sums ')' \
		! -regex "$documents"
}

# It verifies the signature as users will: a key that they do not know would be of no use.
sign_sums() {
	[ -n "$KEY" ] || return 0
	ssh-keygen -q -Y sign -f "$KEY" -n "$NAMESPACE" "$NEW/sha256sums" 2>"$WORK/errors" ||
		fail "ssh-keygen cannot sign with $KEY: $(tail -n 1 "$WORK/errors")"
	chmod 0644 "$NEW/sha256sums.sig"
	ssh-keygen -Y verify -f "$SIGNERS" -I "$SIGNER" -n "$NAMESPACE" -s "$NEW/sha256sums.sig" \
		<"$NEW/sha256sums" >"$WORK/errors" 2>&1 ||
		fail "the key of DIST_SIGNING_KEY is not in $SIGNERS: $(tail -n 1 "$WORK/errors")"
}

check_parts
check_key
read_commit
make_new
build_program amd64
build_program arm64
read_version
write_archive amd64 linux-amd64
write_archive arm64 linux-arm
write_parts
write_documents
write_func_scripts
write_packages
write_sboms
write_sums
sign_sums
find "$NEW" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
rm -rf "$DIST"
mv -T "$NEW" "$DIST"
printf 'Release %s is in %s\n' "$VERSION" "$DIST"
if [ -n "$KEY" ]; then
	echo 'It is signed: sha256sums.sig'
else
	echo 'It is not signed, as unsigned.txt in it says: DIST_SIGNING_KEY=FILE signs it'
fi
