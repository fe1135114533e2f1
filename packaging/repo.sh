#!/bin/sh
# Writes a signed apt and a signed yum repository of the packages of a release folder: repo.sh DIST
# FOLDER. `make repo` calls it. It needs apt-ftparchive, createrepo_c and gpg (Debian: apt-utils,
# createrepo-c, gnupg).
#
# REPO_SIGNING_KEY is the fingerprint of a key in the keyring of gpg (GNUPGHOME). The metadata is
# signed, and has the SHA-256 of each package; packages keep the bytes that sha256sums lists.
# REPO_URL=https://… is where the folder will be served: it goes into the files for clients.
set -eu
umask 022
export LC_ALL=C TZ=UTC

NAME=dataflux-func-sidecar

fail() {
	printf 'repo.sh: %s\n' "$*" >&2
	exit 1
}

[ $# -eq 2 ] || fail "usage: repo.sh DIST FOLDER"
KEY=${REPO_SIGNING_KEY-}
URL=${REPO_URL-}
URL=${URL%/}
[ -n "$KEY" ] || fail "REPO_SIGNING_KEY must be the fingerprint of a key of gpg: an unsigned repository would be of no use"
case $URL in
https://* | file:///*) ;;
*) fail "REPO_URL must be the https:// URL of the folder, as clients will reach it" ;;
esac
for tool in apt-ftparchive createrepo_c gpg; do
	command -v "$tool" >/dev/null || fail "$tool is missing (Debian: apt-utils, createrepo-c, gnupg)"
done
[ -d "$1/packages" ] || fail "$1 has no packages: make it with make dist"
DIST=$(cd "$1" && pwd)
(cd "$DIST" && sha256sum --check --quiet --strict sha256sums) >&2 || fail "$DIST is damaged: make it again"
case $2 in
/*) TARGET=$2 ;;
*) TARGET=$PWD/$2 ;;
esac
while [ "$TARGET" != "${TARGET%/}" ]; do TARGET=${TARGET%/}; done
case ${TARGET##*/} in
'' | . | ..) fail "$2 is no folder of its own: name one, such as ./repo" ;;
esac
NEW=
trap 'rm -rf ${NEW:+"$NEW"}' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Only what this script made is replaced.
check_target() {
	[ -e "$TARGET" ] || [ -L "$TARGET" ] || return 0
	if [ -L "$TARGET" ] || [ ! -f "$TARGET/$NAME.asc" ]; then
		fail "$TARGET is there and is no repository: remove it or name another"
	fi
	other=$(cd "$TARGET" && find . ! -type d ! -path "./$NAME.asc" ! -path "./apt/$NAME.sources" ! -path './apt/dists/stable/*' \
		! -path "./apt/pool/${NAME}_*.deb" ! -path "./yum/$NAME.repo" ! -path './yum/*/repodata/*' \
		! -path "./yum/*/$NAME-*.rpm" -printf '%P\n' | head -n 1)
	[ -z "$other" ] || fail "$TARGET has a file that is not part of a repository, $other: move it elsewhere"
}

sign() { gpg --batch --quiet --local-user "$KEY" --digest-algo SHA256 "$@"; }

write_apt() {
	mkdir -p "$NEW/apt/pool"
	cp "$DIST"/packages/*.deb "$NEW/apt/pool"
	cd "$NEW/apt"
	for arch in amd64 arm64; do
		mkdir -p "dists/stable/main/binary-$arch"
		apt-ftparchive --arch "$arch" packages pool >"dists/stable/main/binary-$arch/Packages"
		[ -s "dists/stable/main/binary-$arch/Packages" ] || fail "there is no package for $arch"
		gzip -n -9 -k "dists/stable/main/binary-$arch/Packages"
	done
	apt-ftparchive -o APT::FTPArchive::Release::Origin="$NAME" -o APT::FTPArchive::Release::Label="$NAME" \
		-o APT::FTPArchive::Release::Suite=stable -o APT::FTPArchive::Release::Codename=stable \
		-o APT::FTPArchive::Release::Architectures='amd64 arm64' -o APT::FTPArchive::Release::Components=main \
		release dists/stable >"$NEW/Release"
	mv "$NEW/Release" dists/stable/Release
	sign --clearsign --output dists/stable/InRelease dists/stable/Release
	sign --armor --detach-sign --output dists/stable/Release.gpg dists/stable/Release
	cat >"$NAME.sources" <<SOURCES
Types: deb
URIs: $URL/apt
Suites: stable
Components: main
Signed-By: /etc/apt/keyrings/$NAME.asc
SOURCES
}

# gpgcheck is of signatures inside of packages, repo_gpgcheck of the metadata, which covers them.
write_yum() {
	for arch in x86_64 aarch64; do
		mkdir -p "$NEW/yum/$arch"
		cp "$DIST"/packages/*."$arch".rpm "$NEW/yum/$arch"
		createrepo_c --quiet --checksum sha256 "$NEW/yum/$arch"
		sign --armor --detach-sign --output "$NEW/yum/$arch/repodata/repomd.xml.asc" "$NEW/yum/$arch/repodata/repomd.xml"
	done
	cat >"$NEW/yum/$NAME.repo" <<REPO
[$NAME]
name=DataFlux Func Sidecar
baseurl=$URL/yum/\$basearch
enabled=1
repo_gpgcheck=1
gpgcheck=0
gpgkey=$URL/$NAME.asc
REPO
}

check_target
mkdir -p "${TARGET%/*}/"
# In the parent of its final place, so that a rename completes it.
NEW=$(mktemp -d "${TARGET%/*}/.$NAME.XXXXXX")
chmod 0755 "$NEW"
gpg --batch --quiet --armor --export "$KEY" >"$NEW/$NAME.asc"
[ -s "$NEW/$NAME.asc" ] || fail "gpg has no key $KEY"
(write_apt)
write_yum
rm -rf "$TARGET"
mv -T "$NEW" "$TARGET"
printf 'The repositories are in %s, signed by %s\n' "$TARGET" "$KEY"
