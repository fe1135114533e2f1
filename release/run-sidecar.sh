#!/bin/sh
# The name that the manual of DataFlux Func gives to the installer: the same as install.sh beside it.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
if [ ! -f "$HERE/install.sh" ]; then
	printf 'run-sidecar.sh: install.sh is missing in %s: download the release again\n' "$HERE" >&2
	exit 1
fi
exec /bin/sh "$HERE/install.sh" "$@"
