#!/bin/sh
# Serves without systemd, with a configuration and a key of its own, until Ctrl-C. Called by `make
# run`, which builds first. BIND in the environment names the addresses; without it, this serves on
# 127.0.0.1:8099, or on the next free port. Arguments go to `serve`.
set -eu
cd "$(dirname "$0")/.."
program=bin/dataflux-func-sidecar
folder=run

# is_taken PORT: something listens on it, at 127.0.0.1 or at every address
is_taken() {
	grep -qE "^ *[0-9]+: (0100007F|0{8}|0{32}):$(printf %04X "$1") [0-9A-F:]+ 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

if [ -z "${BIND-}" ]; then
	port=8099
	while is_taken "$port"; do port=$((port + 1)); done
	BIND=127.0.0.1:$port
	if [ "$port" -ne 8099 ]; then
		folder=run/$port # run/ may belong to another `make run`
		printf 'note: port 8099 is taken, so this takes %s; to choose: make run BIND=127.0.0.1:9000\n' "$port" >&2
	fi
fi

(umask 077 && mkdir -p "$folder")
"$program" configure --config "$folder/config" --bind "$BIND" --unit-dir ''

first=${BIND%%,*}
case $first in
/*) call="curl --unix-socket $first http://sidecar" ;;
*) call="curl http://$first" ;;
esac
cat <<TEXT

Starting on $BIND, until Ctrl-C. In another terminal, from this folder:

    $call
    $program shell --config $folder/config 'hostname; id'

TEXT
exec "$program" serve --config "$folder/config" --bind "$BIND" --state-dir "$folder/state" "$@"
