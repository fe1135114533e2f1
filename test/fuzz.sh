#!/bin/sh
# Fuzzes each target for a number of runs (an argument such as 200000x; default 100000x) or for a
# time (30s). With a time, go test may end with "context deadline exceeded" although nothing failed,
# so CI uses runs.
set -eu
cd "$(dirname "$0")/.."
time=${1:-100000x}
count=0
for package in $(go list ./...); do
    for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
        echo "== $package $target"
        # Minimizing would take up to a minute for each new input. Failing inputs are kept anyway,
        # only longer.
        go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$package"
        count=$((count + 1))
    done
done
if [ "$count" -eq 0 ]; then
    echo 'no fuzz target was found'
    exit 1
fi
echo "$count fuzz targets ran"
