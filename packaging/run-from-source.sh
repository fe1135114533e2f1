#!/bin/sh
# Serves on 127.0.0.1:8099 without systemd, with a configuration and a key of its own under run/.
# Further arguments go to `serve`. Called by `make run`, which builds first.
set -eu
cd "$(dirname "$0")/.."
program=bin/dataflux-func-sidecar
address=127.0.0.1:8099

(umask 077 && mkdir -p run)
"$program" configure --config run/config --bind "$address" --unit-dir ''

cat <<TEXT

Serving on http://$address until Ctrl-C. In another terminal, from this folder:

    curl http://$address
    $program sign --config run/config http://$address/shell '{"command":"hostname; id"}' | curl --config -

TEXT
exec "$program" serve --config run/config --bind "$address" --state-dir run/state "$@"
