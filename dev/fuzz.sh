#!/bin/sh
# Runs each fuzz target for a while (an argument such as 30s; 10s without one).
set -eu
cd "$(dirname "$0")/.."
time=${1:-10s}
count=0
for package in $(go list ./...); do
    for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
        echo "== $package $target"
        go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
        count=$((count + 1))
    done
done
if [ "$count" -eq 0 ]; then
    echo 'no fuzz target was found'
    exit 1
fi
echo "$count fuzz targets ran"
