#!/bin/sh
# Downloads a release of DataFlux Func Sidecar for one architecture, verifies it, and says how to
# install it.
#
# Runs on Linux and macOS, without root. Needs curl or wget, and sha256sum, shasum or openssl. The
# folder appears, or replaces an older download, only after every file in it was verified; any
# earlier failure changes nothing. After an interruption only the exit status reports it.
#
# The checksums come from the server of the files. They detect damage, and do not identify the
# author. A signature of the checksums does, if this copy has the public key of releases and
# ssh-keygen is there. https identifies the server: its certificates are verified even if the
# configuration of curl or wget disables that.
set -eu
umask 022
export LC_ALL=C

NAME=dataflux-func-sidecar
# The URL of the release folder; `make dist DOWNLOAD_URL=https://…` writes it here.
DEFAULT_URL=''
SIGNER=$NAME
NAMESPACE=$NAME-release

# signers prints the public keys of releases, in the format of ssh-keygen. `make dist` writes those
# of packaging/allowed_signers here. Without one, no signature can be verified.
signers() {
	cat <<'SIGNERS'
SIGNERS
}

# Far above the size of a release, so that a server cannot fill the disk.
MAX_LIST_BYTES=65536
MAX_LIST_LINES=100
MAX_FILE_BYTES=67108864
# In seconds: without a byte, and for one file in total.
STALL_TIME=20
FILE_TIME=1800

usage() {
	cat <<TEXT
Usage: ./download.sh [--url URL] [--arch ARCHITECTURE] [--download-dir FOLDER] [--require-signature]

  --url URL              the URL of the release folder, which has the file sha256sums
                         (${DEFAULT_URL:-no default: required})
  --arch ARCHITECTURE    x86_64 (or amd64) or aarch64 (or arm64), of the machine to install on
                         (this machine's: $(uname -m))
  --download-dir FOLDER  the folder to download into (./$NAME); an older download there is replaced
  --require-signature    fail if the signature of the release cannot be verified
  --help                 print this text

For a machine without internet access download on another one, with Linux or macOS, and copy the folder.
Checksums protect against damage, not against a hostile server: use an https URL that you trust. A signature
protects against both. This copy of download.sh $(has_signers && echo has the key of releases || echo has no key to verify one).
TEXT
}

say() { printf '%s\n' "$@"; }

note() { say "$@" >&2; }

# fail MESSAGE [HINT...]
fail() {
	note "download.sh: $1"
	shift
	[ $# -eq 0 ] || note "hint: $*"
	exit 1
}

fail_usage() {
	note "download.sh: $*" ''
	usage >&2
	exit 2
}

# Removes control characters from the text of a server.
printable() { tr -cd ' -~' | cut -c 1-200; }

# ---- arguments

URL=$DEFAULT_URL
ARCH=
DIR=
REQUIRED=

parse_arguments() {
	while [ $# -gt 0 ]; do
		case $1 in
		--help | -h)
			usage
			exit 0
			;;
		--require-signature) REQUIRED=yes ;;
		--url=* | --arch=* | --download-dir=*) set_option "${1%%=*}" "${1#*=}" ;;
		--url | --arch | --download-dir)
			[ $# -ge 2 ] || fail_usage "$1 needs a value"
			set_option "$1" "$2"
			shift
			;;
		*) fail_usage "unknown argument: $1" ;;
		esac
		shift
	done
}

set_option() {
	[ -n "$2" ] || fail_usage "$1 needs a value"
	case $1 in
	--url) URL=$2 ;;
	--arch) ARCH=$2 ;;
	--download-dir) DIR=$2 ;;
	esac
}

check_url() {
	[ -n "$URL" ] || fail_usage "--url is required: this copy of download.sh has no default"
	while [ "$URL" != "${URL%/}" ]; do URL=${URL%/}; done
	case $URL in
	*[!][A-Za-z0-9._~:/%-]*) fail "--url has characters that are not permitted in a release URL: $URL" ;;
	https://?*) PROTOCOLS='=https' ;;
	http://?*)
		PROTOCOLS='=http,https'
		note "warning: with http an attacker on the network can change the program that you will run as root"
		;;
	*) fail "--url must begin with https:// (or http://): $URL" ;;
	esac
}

choose_arch() {
	chosen="from --arch"
	[ -n "$ARCH" ] || chosen="this machine; --arch selects another"
	case ${ARCH:=$(uname -m)} in
	x86_64 | amd64) ARCH=x86_64 FOLDER=linux-amd64 ;;
	aarch64 | arm64) ARCH=aarch64 FOLDER=linux-arm ;;
	*) fail "there is no release for $ARCH, only for x86_64 and aarch64" "use --arch for another machine" ;;
	esac
	note "Architecture: Linux on $ARCH ($chosen)."
}

# ---- checks of the machine

choose_tools() {
	if command -v curl >/dev/null; then
		TOOL=curl
	elif ! command -v wget >/dev/null; then
		fail "curl and wget are missing" "install one of them"
	elif wget --help 2>&1 | grep -q BusyBox; then
		TOOL=busybox
		[ "$PROTOCOLS" != '=https' ] ||
			fail "BusyBox wget does not verify certificates" "install curl or GNU wget"
	else
		TOOL=wget
	fi
	if command -v sha256sum >/dev/null; then
		SUMMER='sha256sum'
	elif command -v shasum >/dev/null; then
		SUMMER='shasum -a 256'
	elif command -v openssl >/dev/null; then
		SUMMER='openssl dgst -sha256 -r'
	else
		fail "sha256sum, shasum and openssl are missing" "install one of them to verify the files"
	fi
}

# Only an earlier download is replaced: a folder that holds anything else is not touched.
choose_target() {
	if [ -z "$DIR" ] && [ -f "$NAME.tar.gz" ]; then
		fail "this folder is itself a download" "go to its parent, or choose another with --download-dir"
	fi
	: "${DIR:=$NAME}"
	while [ "$DIR" != "${DIR%/}" ]; do DIR=${DIR%/}; done
	case ${DIR##*/} in
	'' | . | ..) fail "--download-dir must name a separate folder, such as ./$NAME" ;;
	esac
	case $DIR in
	/*) ;;
	*) DIR=$PWD/${DIR#./} ;;
	esac
	PARENT=${DIR%/*}
	PARENT=${PARENT:-/}
	if [ -e "$DIR" ] || [ -L "$DIR" ]; then check_older; fi
}

check_older() {
	if [ ! -d "$DIR" ] || [ -L "$DIR" ]; then fail "$DIR exists and is not a folder" "remove it or choose another"; fi
	[ -w "$DIR" ] || fail "$DIR belongs to another user" "remove it as that user, or choose another folder"
	for entry in "$DIR"/* "$DIR"/.[!.]* "$DIR"/..?*; do
		[ -e "$entry" ] || [ -L "$entry" ] || continue
		is_of_a_download "${entry##*/}" ||
			fail "$DIR holds ${entry##*/}, which is not part of a download" "move it away or choose another folder"
	done
}

# These names are from before a download had checksums.
is_of_a_download() {
	[ -f "$DIR/$1" ] && [ -f "$DIR/$NAME.tar.gz" ] || return 1
	case $1 in
	sha256sums | "$NAME" | "$NAME.tar.gz" | "$NAME.service" | run-sidecar.sh | version) return 0 ;;
	esac
	[ -f "$DIR/sha256sums" ] && cut -c 67- "$DIR/sha256sums" | grep -qxF -e "$1"
}

# ---- the download

TEMP=
CHILD=

clean_up() {
	[ -z "$CHILD" ] || kill "$CHILD" 2>/dev/null || :
	[ -z "$CHILD" ] || wait "$CHILD" 2>/dev/null || :
	[ -n "$TEMP" ] || return 0
	# Only if the second of the two renames failed.
	if [ -d "$TEMP/older" ] && [ ! -e "$DIR" ]; then mv "$TEMP/older" "$DIR"; fi
	rm -rf "$TEMP"
}

make_temp() {
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	mkdir -p "$PARENT" || fail "cannot create the folder $PARENT" "choose another --download-dir"
	# In the parent of its final place, so that a rename completes it.
	TEMP=$(mktemp -d "$PARENT/.$NAME.XXXXXX") || fail "cannot write to $PARENT" "choose another --download-dir"
	mkdir "$TEMP/new"
}

# In the background, because a shell handles no signal while a command runs in the foreground. Above
# the limit a write fails, instead of killing the writer.
fetch() {
	try_fetch "$@"
	[ "$status" -eq 0 ] || explain "$1" "$2" "$3" "$status"
}

try_fetch() {
	(
		trap '' XFSZ
		ulimit -f $(($3 / 512 + 1)) 2>/dev/null || :
		"run_$TOOL" "$URL/$1" "$2"
	) 2>"$TEMP/errors" &
	CHILD=$!
	status=0
	wait "$CHILD" || status=$?
	CHILD=
}

# These options override the user's ~/.curlrc; its proxy stays in force.
run_curl() {
	exec curl --no-insecure --fail --silent --show-error --location --max-redirs 5 --globoff --proto "$PROTOCOLS" \
		--connect-timeout "$STALL_TIME" --speed-time "$STALL_TIME" --speed-limit 1 --max-time "$FILE_TIME" \
		--retry 1 --output "$2" "$1"
}

# wget would follow a redirection from https to http, so it follows none from https.
run_wget() {
	redirections=5
	[ "$PROTOCOLS" != '=https' ] || redirections=0
	bounded wget --check-certificate --no-verbose --max-redirect="$redirections" --tries=2 --timeout="$STALL_TIME" \
		--output-document="$2" "$1"
}

# Without -T, with which the BusyBox of Debian 12 crashes.
run_busybox() { bounded wget -q -O "$2" "$1"; }

bounded() {
	if command -v timeout >/dev/null; then set -- timeout "$FILE_TIME" "$@"; fi
	exec "$@"
}

explain() {
	said=$(tail -n 1 "$TEMP/errors" | printable)
	[ ! -f "$2" ] || [ "$(wc -c <"$2")" -le "$3" ] || fail "$URL/$1 is larger than any file of a release" "check --url"
	head -c 65536 /dev/zero 2>/dev/null >"$TEMP/space" || fail "cannot download $URL/$1: no space left in $PARENT"
	case $TOOL:$4:$said in
	curl:22:* | wget:8:* | busybox:*'server returned error'*)
		advice="check that this is the folder of a release, with the file sha256sums" ;;
	curl:18:* | curl:56:*)
		advice="the connection broke: run this again" ;;
	curl:35:* | curl:51:* | curl:60:* | curl:77:* | wget:5:*)
		advice="the certificate cannot be verified: check the URL, this machine's clock and its CA certificates" ;;
	*)
		advice="check that this machine reaches the server (behind a proxy set http_proxy and https_proxy), then run this again" ;;
	esac
	fail "cannot download $URL/$1 (${said:-$TOOL ended with status $4})" "$advice"
}

# Every line must be a checksum and a safe name of a file in the folder, or one folder below.
check_list() {
	if head -n 5 "$TEMP/list" | grep -qi '<html\|<!doctype'; then
		fail "$URL/sha256sums is a web page, not a list of checksums" "check --url"
	fi
	bad=$(grep -avE '^[0-9a-f]{64} [ *][a-z0-9][a-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._+~-]*)?$' "$TEMP/list" |
		head -n 1 | printable)
	[ -z "$bad" ] || fail "$URL/sha256sums has an invalid line: '$bad'"
	[ "$(wc -l <"$TEMP/list")" -le "$MAX_LIST_LINES" ] || fail "$URL/sha256sums has more lines than a release"
}

# ---- the signature

has_signers() { [ -n "$(signers)" ]; }

# After it, UNVERIFIED says why the signature of the list was not verified, or is empty.
check_signature() {
	UNVERIFIED=
	if ! has_signers; then
		UNVERIFIED="this copy of download.sh has no key of releases"
		grep -q '^.\{66\}unsigned\.txt$' "$TEMP/list" || fetch_signature
	elif grep -q '^.\{66\}unsigned\.txt$' "$TEMP/list"; then
		fail "the release at $URL is not signed, and this copy of download.sh has the key of releases" \
			"it is not of the authors of this script: check --url"
	else
		fetch_signature
		[ "$status" -eq 0 ] || fail "the release at $URL has no signature sha256sums.sig ($said)" \
			"it is not of the authors of this script, or incomplete: check --url"
		verify_signature
	fi
	[ -n "$UNVERIFIED" ] || return 0
	[ -z "$REQUIRED" ] || fail "the signature cannot be verified: $UNVERIFIED" "leave out --require-signature"
}

fetch_signature() {
	try_fetch sha256sums.sig "$TEMP/list.sig" "$MAX_LIST_BYTES"
	said=$(tail -n 1 "$TEMP/errors" | printable)
	[ "$status" -eq 0 ] || rm -f "$TEMP/list.sig"
}

verify_signature() {
	if ! command -v ssh-keygen >/dev/null; then
		UNVERIFIED="ssh-keygen is missing (Debian: openssh-client)"
		return
	fi
	signers >"$TEMP/signers"
	ssh-keygen -Y verify -f "$TEMP/signers" -I "$SIGNER" -n "$NAMESPACE" -s "$TEMP/list.sig" \
		<"$TEMP/list" >"$TEMP/errors" 2>&1 && return
	said=$(tail -n 1 "$TEMP/errors" | printable)
	if grep -qi 'unknown option\|illegal option' "$TEMP/errors"; then
		UNVERIFIED="ssh-keygen is older than OpenSSH 8.1"
	elif ssh-keygen -Y check-novalidate -n "$NAMESPACE" -s "$TEMP/list.sig" <"$TEMP/list" >/dev/null 2>&1; then
		fail "sha256sums.sig is a signature of another key than those of releases" \
			"the release is not of the authors of this script: check --url"
	else
		fail "sha256sums.sig does not belong to sha256sums ($said)" \
			"the list was changed, or the signature is that of another release: check --url, or run this again"
	fi
}

# The list of the release and its signature stay, for a later look by the program (verify).
keep_list() {
	cat <"$TEMP/list" >"$TEMP/new/release.sha256sums"
	[ ! -f "$TEMP/list.sig" ] || cat <"$TEMP/list.sig" >"$TEMP/new/release.sha256sums.sig"
	for file in release.sha256sums release.sha256sums.sig; do
		[ ! -f "$TEMP/new/$file" ] ||
			say "$($SUMMER <"$TEMP/new/$file" | cut -c 1-64)  $file" >>"$TEMP/new/sha256sums"
	done
}

# A download folder has the top-level files, and the program for one architecture.
write_own_list() {
	# That of documents, which are not downloaded, is left out.
	sed -E "/ .documents\\.sha256sums\$/d; s|^(.{64}) .$FOLDER/$NAME\\.tar\\.gz\$|\\1  $NAME.tar.gz|; \\|/|d; s/^(.{64}) ./\\1  /" \
		"$TEMP/list" >"$TEMP/new/sha256sums"
	cut -c 67- "$TEMP/new/sha256sums" | sort >"$TEMP/names"
	twice=$(uniq -d "$TEMP/names" | head -n 1)
	[ -z "$twice" ] || fail "$URL/sha256sums names $twice twice"
	! grep -qx 'sha256sums\|release\.sha256sums\|release\.sha256sums\.sig' "$TEMP/names" ||
		fail "$URL/sha256sums names itself"
	grep -q " .$FOLDER/$NAME\\.tar\\.gz\$" "$TEMP/list" ||
		fail "the release at $URL has no program for $ARCH: $FOLDER/$NAME.tar.gz is not in its sha256sums"
	for part in install.sh run-sidecar.sh "$NAME.service" version; do
		grep -qxF "$part" "$TEMP/names" || fail "the release at $URL is incomplete: $part is not in its sha256sums"
	done
}

download_files() {
	while read -r file; do
		note "Downloading $file"
		from=$file
		[ "$file" != "$NAME.tar.gz" ] || from=$FOLDER/$file
		fetch "$from" "$TEMP/new/$file" "$MAX_FILE_BYTES"
	done <"$TEMP/names"
}

# After all downloads, so that each file is verified as it will be used.
check_files() {
	while read -r sum file; do
		[ "$($SUMMER <"$TEMP/new/$file" | cut -c 1-64)" = "$sum" ] ||
			fail "$file does not match sha256sums: it is damaged, or the release is being replaced" "run this again"
	done <"$TEMP/new/sha256sums"
	chmod 0755 "$TEMP/new" "$TEMP/new"/*.sh
}

# Two renames, because a folder cannot be renamed onto another; signals are ignored between them.
move_in_place() {
	trap '' INT TERM HUP
	[ ! -d "$DIR" ] || mv "$DIR" "$TEMP/older"
	mv "$TEMP/new" "$DIR"
}

say_next() {
	say "DataFlux Func Sidecar $(printable <"$DIR/version") for $ARCH is in $DIR; all checksums are correct."
	if [ -n "$UNVERIFIED" ]; then
		note "warning: the signature of the release was not verified: $UNVERIFIED"
	else
		say "Its signature is correct."
	fi
	say ''
	case $(uname -s -m) in
	"Linux $ARCH") say "To install it here:" "    cd $(quoted "$DIR") && sudo ./install.sh" ;;
	*) say "Copy this folder to the Linux machine. There:" "    cd $(quoted "${DIR##*/}") && sudo ./install.sh" ;;
	esac
}

# Quotes a path for a shell, if needed.
quoted() {
	case $1 in
	*[!A-Za-z0-9._/-]*) printf "'%s'" "$(say "$1" | sed "s/'/'\\\\''/g")" ;;
	*) say "$1" ;;
	esac
}

main() {
	parse_arguments "$@"
	check_url
	choose_arch
	choose_tools
	choose_target
	make_temp
	fetch sha256sums "$TEMP/list" "$MAX_LIST_BYTES"
	check_list
	check_signature
	write_own_list
	download_files
	keep_list
	check_files
	move_in_place
	say_next
}

main "$@"
