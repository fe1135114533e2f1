#!/bin/sh
# Verifies the units with this machine's systemd. They name the installed program, which a machine
# that only builds does not have. Therefore it verifies copies that name a program of every machine.
# The machine may also lack man.
set -eu
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
for unit in units/*.service units/*.socket units/*.path; do
    sed 's|/usr/local/bin/dataflux-func-sidecar|/bin/true|' "$unit" > "$copy/$(basename "$unit")"
done
said=$(systemd-analyze verify --man=no "$copy"/*.service "$copy"/*.socket "$copy"/*.path 2>&1) || {
    echo "$said"
    exit 1
}
# systemd-analyze also succeeds when it ignores a line. Any message about our units is a finding.
if printf '%s\n' "$said" | grep dataflux-func-sidecar; then
    exit 1
fi
