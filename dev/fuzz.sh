#!/bin/sh
# Runs each fuzz target so many times (an argument such as 200000x; 100000x without one), or for a while (30s).
# After a while go test may end with "context deadline exceeded", though nothing failed: it is no way for CI.
set -eu
cd "$(dirname "$0")/.."
time=${1:-100000x}
count=0
for package in $(go list ./...); do
    for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
        echo "== $package $target"
        # Minimizing would take up to a minute for each input that is new. What fails is kept all the same, if not
        # as short as it could be.
        go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$package"
        count=$((count + 1))
    done
done
if [ "$count" -eq 0 ]; then
    echo 'no fuzz target was found'
    exit 1
fi
echo "$count fuzz targets ran"
