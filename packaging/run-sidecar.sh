#!/bin/sh
# The name of the installer in the manual of DataFlux Func. Runs install.sh in the same folder.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
if [ ! -f "$HERE/install.sh" ]; then
	printf 'run-sidecar.sh: install.sh is missing in %s\nhint: download the release again\n' "$HERE" >&2
	exit 1
fi
exec /bin/sh "$HERE/install.sh" "$@"
