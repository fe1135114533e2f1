#!/bin/sh
# Prints the licences and notices of everything that is linked into the program: its modules and
# Go's standard library. Their licences require that copies accompany the program.
set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."

fail() {
	printf 'third-party-licences.sh: %s\n' "$*" >&2
	exit 1
}

# print_licence NAME FOLDER
print_licence() {
	[ -f "$2/LICENSE" ] || fail "$1 has no file LICENSE in $2. hint: read which notice its licence requires"
	printf '==== %s\n\n' "$1"
	for text in "$2/LICENSE" "$2/NOTICE"; do
		if [ -f "$text" ]; then cat "$text" && echo; fi
	done
}

modules=$(CGO_ENABLED=0 GOFLAGS='' go list -deps \
	-f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/dataflux-func-sidecar | sort -u)
[ -n "$modules" ] || fail "go list found no modules"
while read -r module version folder; do
	print_licence "$module $version" "$folder"
done <<MODULES
$modules
MODULES
print_licence "Go's standard library" "$(go env GOROOT)"
