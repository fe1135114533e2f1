#!/bin/sh
# Runs all linters, each at a pinned version, and stops at the first finding.
set -eu
cd "$(dirname "$0")/.."
gofumpt=mvdan.cc/gofumpt@v0.12.0
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0
# The patterns . and ./... skip this program, as it is below a folder testdata.
attack=privsep/testdata/attack

began=$(date +%s)
# step NAME prints the name and the seconds since the start.
step() { printf '== %s (at %d s)\n' "$1" $(($(date +%s) - began)); }

step gofumpt
unformatted=$(go run "$gofumpt" -l . "$attack")
if [ -n "$unformatted" ]; then
    printf 'not formatted; run: go run %s -w . %s\n%s\n' "$gofumpt" "$attack" "$unformatted"
    exit 1
fi

step 'width of lines'
# wide_lines PATTERN FILES... prints the lines that match PATTERN, with each tab as four columns.
wide_lines() {
    pattern=$1
    shift
    for file in "$@"; do
        expand -t 4 "$file" | LC_ALL=C.UTF-8 grep -nE "$pattern" | sed "s|^|$file:|"
    done
}
# shellcheck disable=SC2046 # no name in the repository has a space
wide=$(
    wide_lines '^.{101}' $(git ls-files '*.go' ':!*_test.go' ':!test' ':!*/testdata/*')
    wide_lines '^ *#.{100}' $(git ls-files '*.sh' '*.bash' .ci/run)
)
if [ -n "$wide" ]; then
    printf 'wider than 100 columns:\n%s\n' "$wide"
    exit 1
fi

for arch in amd64 arm64; do
    step "vet and staticcheck, $arch"
    CGO_ENABLED=0 GOARCH=$arch go vet ./... "./$attack"
    CGO_ENABLED=0 GOARCH=$arch go vet -C test/bench ./...
    CGO_ENABLED=0 GOARCH=$arch go vet -C test/interop ./...
done
CGO_ENABLED=0 go vet -tags matrix ./test/e2e
CGO_ENABLED=0 go vet -tags cages,controllers ./exec
CGO_ENABLED=0 go run "$staticcheck" ./...
for module in test/bench test/interop; do
    (cd "$module" && CGO_ENABLED=0 go run "$staticcheck" ./...)
done

step shellcheck
git ls-files -z '*.sh' '*.bash' .ci/run | xargs -0 shellcheck

step 'systemd-analyze verify'
test/verify-units.sh

step govulncheck
# vulnerabilities ARGUMENTS... fails on a finding, for which govulncheck has the exit code 3. Any
# other failure means that the database cannot be reached.
vulnerabilities() {
    status=0
    report=$(timeout 120 go run "$govulncheck" "$@" 2>&1) || status=$?
    case $report in
        *'Vulnerability #'*) echo "$report"; exit 1 ;;
    esac
    if [ "$status" -ne 0 ]; then
        echo "not run with $*: the vulnerability database cannot be reached from here"
    fi
}
vulnerabilities ./...
# The program as it is released, with what the linker has put into it.
program=$(mktemp)
trap 'rm -f "$program"' EXIT
CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$program" ./cmd/dataflux-func-sidecar
vulnerabilities -mode binary "$program"
