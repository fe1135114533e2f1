#!/bin/sh
# Installs DataFlux Func Sidecar on this machine: the program, user dffs, the configuration, the units.
#
# It may be interrupted anywhere and run again: every step looks first whether it is done, files are
# replaced by rename, and nothing that is already configured is changed unless an argument says so.
set -eu
# Whatever the caller's umask: no step below may leave a file that others can write.
umask 022

NAME=dataflux-func-sidecar
PROGRAM=/usr/local/bin/$NAME
UNIT_DIR=/etc/systemd/system
UNITS="$NAME.socket $NAME-ports.service $NAME.service"
RUN_USER=dffs
# Holds a checksum of the socket files in force while an installation is under way, and so tells the
# next run, if this one is interrupted, whether the listening sockets are still those of before.
IN_FORCE=/run/$NAME.sockets-in-force

usage() {
	cat <<'EOF'
Usage: sudo ./install.sh [--bind ADDRESSES] [--secret-key KEY]

  --bind ADDRESSES    where to listen, with commas between, for example 127.0.0.1:8099,[::1]:8099
                      or /run/sidecar.sock for a Unix socket
                      (first installation: 127.0.0.1:8099,172.17.0.1:8099)
  --secret-key KEY    the key that callers sign with (first installation: a generated one)
  --help              this text

Repeat it to install another version: what is configured stays unless an argument changes it.
EOF
}

say() { printf '%s\n' "$*"; }

fail() {
	printf 'install.sh: %s\n' "$*" >&2
	exit 1
}

fail_usage() {
	printf 'install.sh: %s\n\n' "$*" >&2
	usage >&2
	exit 2
}

# ---- what was asked for

BIND=
BIND_GIVEN=no
SECRET_KEY=
SECRET_KEY_GIVEN=no

set_bind() {
	BIND=$1
	BIND_GIVEN=yes
}

set_secret_key() {
	SECRET_KEY=$1
	SECRET_KEY_GIVEN=yes
}

parse_arguments() {
	while [ $# -gt 0 ]; do
		case $1 in
		--help | -h)
			usage
			exit 0
			;;
		--bind | --secret-key)
			[ $# -ge 2 ] || fail_usage "$1 needs a value"
			if [ "$1" = --bind ]; then set_bind "$2"; else set_secret_key "$2"; fi
			shift
			;;
		--bind=*) set_bind "${1#--bind=}" ;;
		--secret-key=*) set_secret_key "${1#--secret-key=}" ;;
		*) fail_usage "unknown argument: $1" ;;
		esac
		shift
	done
}

# ---- may it be installed here

check_root() {
	[ "$(id -u)" -eq 0 ] || fail "must run as root: sudo $0"
}

check_systemd() {
	[ -d /run/systemd/system ] ||
		fail "systemd does not run this machine (PID 1 is $(cat /proc/1/comm 2>/dev/null || echo unknown))." \
			"Without it, start the program yourself:" \
			"$NAME serve --bind 127.0.0.1:8099 --config FILE --state-dir FOLDER"
}

# ---- the parts, from a release folder or a built checkout

HERE=$(cd "$(dirname "$0")" && pwd)
# In the folder of the program, as /tmp may be mounted noexec and a rename needs one file system.
STAGED=$PROGRAM.new

clean_up() {
	rm -f "$STAGED"
	for unit in $UNITS; do rm -f "$UNIT_DIR/$unit.new"; done
	if [ -f "$IN_FORCE" ] && [ "$(socket_files)" = "$(cat "$IN_FORCE")" ]; then rm -f "$IN_FORCE"; fi
}

stage_program() {
	mkdir -p "${PROGRAM%/*}"
	if [ -f "$HERE/$NAME.tar.gz" ]; then
		tar -xzOf "$HERE/$NAME.tar.gz" "$(archive_member)" >"$STAGED"
	elif [ -f "$HERE/$NAME" ]; then
		cat "$HERE/$NAME" >"$STAGED"
	elif [ -f "$HERE/bin/$NAME" ]; then
		cat "$HERE/bin/$NAME" >"$STAGED"
	else
		fail_not_built
	fi
	chown root:root "$STAGED"
	# Not readable: a process of dffs that executes it then starts out of reach of other dffs processes.
	chmod 0711 "$STAGED"
	"$STAGED" version >/dev/null 2>&1 ||
		fail "the program does not run on this machine ($(uname -m)): take the release for it"
}

archive_member() {
	tar -tzf "$HERE/$NAME.tar.gz" | grep -E "(^|/)$NAME\$" | head -n 1 | grep . ||
		fail "$NAME.tar.gz holds no program $NAME: download it again"
}

fail_not_built() {
	if [ -f "$HERE/go.mod" ] && command -v go >/dev/null 2>&1; then
		fail "the program is not built yet: run \`make build\` here first"
	fi
	fail "no program beside install.sh: $NAME.tar.gz or $NAME must lie in $HERE"
}

unit_source() {
	for folder in "$HERE" "$HERE/units"; do
		if [ -f "$folder/$1" ]; then
			say "$folder/$1"
			return
		fi
	done
	fail "$1 is missing beside install.sh: unpack the release again"
}

# ---- the steps

configure() {
	set -- --unit-dir "$UNIT_DIR" --print-summary
	[ "$BIND_GIVEN" = no ] || set -- "$@" --bind "$BIND"
	if [ "$SECRET_KEY_GIVEN" = yes ]; then
		# By the shell itself and through a pipe: ps shows the key in no argument of a child.
		printf '%s' "$SECRET_KEY" | "$STAGED" configure "$@" --secret-key-stdin
	else
		"$STAGED" configure "$@" </dev/null
	fi
}

make_user() {
	if ! getent passwd "$RUN_USER" >/dev/null; then
		useradd --system --user-group --create-home --home-dir "/home/$RUN_USER" --shell /bin/sh \
			--comment "DataFlux Func Sidecar" "$RUN_USER"
		say "Created user $RUN_USER."
	fi
	home=$(getent passwd "$RUN_USER" | cut -d: -f6)
	[ -d "$home" ] || install -d -o "$RUN_USER" -g "$(id -g "$RUN_USER")" -m 0750 "$home"
}

install_program() { mv -f "$STAGED" "$PROGRAM"; }

install_unit() {
	source=$(unit_source "$1")
	if cmp -s "$source" "$UNIT_DIR/$1"; then
		chown root:root "$UNIT_DIR/$1"
		chmod 0644 "$UNIT_DIR/$1"
		return
	fi
	install -o root -g root -m 0644 "$source" "$UNIT_DIR/$1.new"
	mv -f "$UNIT_DIR/$1.new" "$UNIT_DIR/$1"
}

socket_files() {
	cat "$UNIT_DIR/$NAME.socket" "$UNIT_DIR/$NAME.socket.d/"*.conf 2>/dev/null | cksum
}

remember_sockets() {
	[ -f "$IN_FORCE" ] || socket_files >"$IN_FORCE"
}

# A restart keeps the listening sockets, so that no call is lost; they are closed only if they are to
# be others.
serve() {
	systemctl daemon-reload
	systemctl enable --quiet "$NAME.service"
	if [ "$(socket_files)" != "$(cat "$IN_FORCE")" ]; then
		systemctl stop "$NAME.service" "$NAME.socket"
	fi
	systemctl restart "$NAME.service" ||
		fail "the service did not start. It says why: journalctl -u $NAME -n 20"
	rm -f "$IN_FORCE"
}

main() {
	parse_arguments "$@"
	check_root
	check_systemd
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	stage_program
	for unit in $UNITS; do unit_source "$unit" >/dev/null; done
	remember_sockets
	summary=$(configure)
	make_user
	for unit in $UNITS; do install_unit "$unit"; done
	install_program
	serve
	say "$summary"
}

main "$@"
