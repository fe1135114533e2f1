#!/bin/sh
# Writes what is linked into a program, as an SBOM in the format CycloneDX (JSON): sbom.sh PROGRAM
# VERSION TARGET WORK. WORK is a folder for the tool, which is compiled there once.
#
# The tool reads the program, so that the SBOM has what was built: modules with their checksums, and
# Go's standard library. It has no time and no serial number, and the digest of the tool is left out:
# the same program gives the same bytes.
set -eu
umask 022
export LC_ALL=C

CYCLONEDX=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

[ $# -eq 4 ] || { echo 'usage: sbom.sh PROGRAM VERSION TARGET WORK' >&2 && exit 1; }
mkdir -p "$4"
WORK=$(cd "$4" && pwd)
if [ ! -x "$WORK/cyclonedx-gomod" ]; then
	CGO_ENABLED=0 GOFLAGS='' GOOS='' GOARCH='' GOBIN=$WORK go install -trimpath -ldflags='-s -w' "$CYCLONEDX"
fi
"$WORK/cyclonedx-gomod" bin -json -std -noserial -notimestamp -version "v${2#v}" -output "$WORK/sbom.json" "$1" \
	2>"$WORK/errors" || {
	cat "$WORK/errors" >&2
	exit 1
}
# The hashes of the tool are those with this indentation.
awk '/^        "hashes": \[$/ { skip = 1 } !skip { print } /^        \],$/ { skip = 0 }' "$WORK/sbom.json" >"$3"
