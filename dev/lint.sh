#!/bin/sh
# All linters, each at a pinned version; the first that finds something fails the run.
set -eu
cd "$(dirname "$0")/.."
gofumpt=mvdan.cc/gofumpt@v0.12.0
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0

step() { printf '== %s\n' "$1"; }

step gofumpt
unformatted=$(go run "$gofumpt" -l .)
if [ -n "$unformatted" ]; then
    printf 'not formatted; run: go run %s -w .\n%s\n' "$gofumpt" "$unformatted"
    exit 1
fi

for arch in amd64 arm64; do
    step "vet and staticcheck, $arch"
    CGO_ENABLED=0 GOARCH=$arch go vet ./...
done
CGO_ENABLED=0 go vet -tags matrix ./e2e
CGO_ENABLED=0 go run "$staticcheck" ./...

step shellcheck
git ls-files -z '*.sh' '*.bash' .ci/run | xargs -0 shellcheck

step 'systemd-analyze verify'
dev/verify-units.sh

step govulncheck
# It exits with 3 when it found something; any other failure is a database that cannot be reached.
status=0
report=$(timeout 120 go run "$govulncheck" ./... 2>&1) || status=$?
case $report in
    *'Vulnerability #'*) echo "$report"; exit 1 ;;
esac
if [ "$status" -ne 0 ]; then
    echo 'not run: the vulnerability database cannot be reached from here'
fi
