#!/bin/sh
# Installs DataFlux Func Sidecar on this host: program, user dffs, configuration, units, journal catalog,
# manual pages. Or removes them.
#
# It may be interrupted anywhere and run again: files are replaced by rename, and nothing that is already
# configured is changed unless an argument says so. Progress goes to standard error; standard output has
# what DataFlux Func needs, and nothing else.
set -eu
# Whatever the caller's umask: no step below may leave a file that others can write.
umask 022
# Whatever the caller exports: what is secret here must not become a child's environment.
set +a
unset CDPATH BIND SECRET_KEY
# `su` without a dash leaves the administrator's programs out.
PATH=$PATH:/usr/sbin:/sbin

NAME=dataflux-func-sidecar
BIN_DIR=/usr/local/bin
PROGRAM=$BIN_DIR/$NAME
CONFIG=/etc/$NAME
STATE_DIR=/var/lib/$NAME
UNIT_DIR=/etc/systemd/system
UNITS="$NAME.socket $NAME-metrics.socket $NAME-ports.service $NAME.service"
CATALOG_DIR=/usr/lib/systemd/catalog
MAN_DIR=/usr/local/share/man
RUN_USER=dffs
HOME_DIR=/home/$RUN_USER
# Tells --purge that the user is ours: it stands in the very line of /etc/passwd that makes the user.
USER_COMMENT="DataFlux Func Sidecar"
# Holds a checksum of the socket files in force while an installation is under way, and so tells the
# next run, if this one is interrupted, whether the listening sockets are still those of before.
IN_FORCE=/run/$NAME.sockets-in-force
# A folder that check_host has seen. It is locked itself, so that no lock file is left behind.
LOCKED=/run/systemd/system

HERE=$(cd "$(dirname "$0")" && pwd)
# In the folder of the program, as /tmp may be mounted noexec and a rename needs one file system.
STAGED=$PROGRAM.new

usage() {
	cat <<'TEXT'
Usage: sudo ./install.sh [--bind ADDRESSES] [--secret-key-file FILE | --secret-key KEY]
       sudo ./install.sh --uninstall [--purge]

  --bind ADDRESSES        where to listen, with commas between, for example 127.0.0.1:8099,[::1]:8099
                          or /run/sidecar.sock for a Unix socket
                          (first installation: 127.0.0.1:8099,172.17.0.1:8099, with docker0's own
                          address if that is another)
  --secret-key-file FILE  read the key that callers sign with from FILE; - is standard input
                          (first installation without a key: a generated one)
  --secret-key KEY        the key itself. Others on this host see it in ps while this runs, and it stays
                          in your shell's history and in sudo's log: better use a file
  --uninstall             stop the service and remove program, units, catalog and manual pages;
                          configuration, state and user dffs stay
  --purge                 with --uninstall: remove these too
  --help                  this text

Repeat it to install another version: what is configured stays unless an argument changes it.
TEXT
}

say() { printf '%s\n' "$*"; }

note() { say "$*" >&2; }

fail() {
	note "install.sh: $*"
	exit 1
}

fail_usage() {
	note "install.sh: $*"
	note
	usage >&2
	exit 2
}

# ---- what was asked for

BIND=
BIND_GIVEN=no
SECRET_KEY=
SECRET_KEY_FROM=
UNINSTALL=no
PURGE=no

set_option() {
	case $1 in
	--bind)
		BIND=$2
		BIND_GIVEN=yes
		;;
	--secret-key | --secret-key-file)
		[ -z "$SECRET_KEY_FROM" ] || fail_usage "the key is given twice: use one of --secret-key-file and --secret-key"
		SECRET_KEY_FROM=${1#--}
		SECRET_KEY=$2
		;;
	esac
}

parse_arguments() {
	while [ $# -gt 0 ]; do
		case $1 in
		--help | -h)
			usage
			exit 0
			;;
		--bind | --secret-key | --secret-key-file)
			[ $# -ge 2 ] || fail_usage "$1 needs a value"
			set_option "$1" "$2"
			shift
			;;
		--bind=* | --secret-key=* | --secret-key-file=*) set_option "${1%%=*}" "${1#*=}" ;;
		--uninstall) UNINSTALL=yes ;;
		--purge) PURGE=yes ;;
		# Nothing but the option's name: what follows may be a key.
		*) fail_usage "unknown argument: ${1%%=*}" ;;
		esac
		shift
	done
	[ "$PURGE$UNINSTALL" != yesno ] || fail_usage "--purge goes with --uninstall only"
	[ "$UNINSTALL" = no ] || [ "$BIND_GIVEN$SECRET_KEY_FROM" = no ] ||
		fail_usage "--uninstall takes no argument beside --purge"
}

# A command substitution keeps the key out of every argument and environment.
read_secret_key() {
	[ "$SECRET_KEY_FROM" = secret-key-file ] || return 0
	file=$SECRET_KEY
	if [ "$file" = - ]; then
		[ ! -t 0 ] || note "Type the Secret Key, Enter, Ctrl-D:"
		SECRET_KEY=$(cat)
	else
		SECRET_KEY=$(cat -- "$file") || fail "--secret-key-file: cannot read $file"
	fi
	[ -n "$SECRET_KEY" ] || fail "--secret-key-file: $file is empty: write the key into it, or leave the option out"
}

# ---- may it be installed here

check_host() {
	[ "$(uname -s)" = Linux ] ||
		fail "this is $(uname -s), and Sidecar runs on the Linux host that runs DataFlux Func's containers:" \
			"copy this folder there and run install.sh there"
	[ "$(id -u)" -eq 0 ] || fail "must run as root: sudo $0"
	case $(package_tool) in
	apt) fail "$NAME is installed as a Debian package. To upgrade it: sudo apt install ./FILE.deb." \
		"To remove it: sudo apt remove $NAME (or purge)" ;;
	dnf) fail "$NAME is installed as an RPM package. To upgrade it: sudo dnf install ./FILE.rpm." \
		"To remove it: sudo dnf remove $NAME (zypper on SUSE)" ;;
	esac
	[ -d /run/systemd/system ] ||
		fail "systemd does not run this machine (PID 1 is $(cat /proc/1/comm 2>/dev/null || say unknown))." \
			"Without it, start the program yourself:" \
			"$NAME serve --bind 127.0.0.1:8099 --config FILE --state-dir FOLDER"
}

# One run at a time: they would take each other's staged files away. The kernel ends the lock with the run,
# however that ends; what a killed run had started may hold it a moment longer.
lock() {
	command -v flock >/dev/null 2>&1 || return 0
	exec 9<"$LOCKED"
	if flock -n 9; then return; fi
	note "Another install.sh runs: waiting for it, a minute at most."
	flock -w 60 9 || fail "another install.sh still runs, and nothing was changed: run this again when it has ended"
}

package_tool() {
	# shellcheck disable=SC2016 # for dpkg-query to expand
	case $(dpkg-query -W -f '${db:Status-Status}' "$NAME" 2>/dev/null) in
	'' | not-installed | config-files) ;;
	*) say apt ;;
	esac
	if rpm -q "$NAME" >/dev/null 2>&1; then say dnf; fi
}

architecture() {
	case $(uname -m) in
	x86_64 | amd64) say linux-amd64 ;;
	aarch64 | arm64) say linux-arm ;;
	*) fail "there is no Sidecar for $(uname -m), only for x86_64 and aarch64 (64 bits)" ;;
	esac
}

# ---- the parts: a release or download folder, or a built checkout

for_each_unit() {
	for unit in $UNITS; do "$1" "$unit" "$UNIT_DIR"; done
}

for_each_document() {
	"$1" "$NAME.catalog" "$CATALOG_DIR"
	"$1" "$NAME.8" "$MAN_DIR/man8"
	"$1" "$NAME.5" "$MAN_DIR/man5"
}

for_each_file() {
	for_each_unit "$1"
	for_each_document "$1"
}

find_part() {
	for folder in "$HERE" "$HERE/units" "$HERE/man"; do
		if [ -f "$folder/$1" ]; then
			say "$folder/$1"
			return
		fi
	done
	fail "$1 is missing beside install.sh: copy or download the whole release again"
}

find_program() {
	for found in "$HERE/$NAME.tar.gz" "$HERE/$1/$NAME.tar.gz" "$HERE/$NAME" "$HERE/bin/$NAME"; do
		if [ -f "$found" ]; then
			say "$found"
			return
		fi
	done
	if [ -f "$HERE/go.mod" ] && command -v go >/dev/null 2>&1; then
		fail "the program is not built yet: run \`make build\` here first"
	fi
	fail "no program beside install.sh: $NAME.tar.gz, $1/$NAME.tar.gz or $NAME must lie in $HERE"
}

# A release lists the checksums of its files: sticks and downloads do get damaged.
verify() {
	[ -f "$HERE/sha256sums" ] || return 0
	listed=$(listed_sum "${1#"$HERE"/}")
	[ -n "$listed" ] || fail "$1 is not listed in sha256sums: copy or download the whole release again"
	actual=$(sha256sum <"$1") || actual=unreadable
	[ "${actual%% *}" = "$listed" ] ||
		fail "$1 is damaged, as its checksum differs from the one in sha256sums: copy or download the release again"
}

listed_sum() {
	while read -r sum file; do
		file=${file#\*}
		if [ "${file#./}" = "$1" ]; then say "$sum"; fi
	done <"$HERE/sha256sums"
}

verify_part() {
	part=$(find_part "$1")
	verify "$part"
}

check_parts() {
	arch=$(architecture)
	SOURCE=$(find_program "$arch")
	verify "$SOURCE"
	for_each_file verify_part
}

# ---- the program, staged to be asked before anything is touched

stage_program() {
	{ mkdir -p "$BIN_DIR" && rm -f "$STAGED" && true >"$STAGED"; } 2>/dev/null ||
		fail "cannot write to $BIN_DIR: if it is mounted read-only, mount it writable:" \
			"sudo mount -o remount,rw $(mount_point)"
	case $SOURCE in
	*.tar.gz) unpack ;;
	*) cat "$SOURCE" ;;
	esac >"$STAGED" || fail "cannot take the program from $SOURCE: is the disk full, or the file damaged?"
	chown root:root "$STAGED"
	# Not readable: a process of dffs that executes it then starts out of reach of other dffs processes.
	chmod 0711 "$STAGED"
	"$STAGED" version >/dev/null 2>&1 || explain_refusal
}

unpack() {
	member=$(tar -tzf "$SOURCE" | grep -E "(^|/)$NAME\$" | head -n 1)
	[ -n "$member" ] && tar -xzOf "$SOURCE" "$member"
}

# Whether a script runs there tells a folder from which nothing may run from a wrong program.
explain_refusal() {
	printf '#!/bin/sh\n' >"$STAGED"
	"$STAGED" 2>/dev/null ||
		fail "programs cannot be run from $BIN_DIR. If it is mounted noexec: sudo mount -o remount,exec $(mount_point)." \
			"Otherwise a security policy (fapolicyd, AppArmor) forbids it"
	fail "the program in $SOURCE does not run on this machine ($(uname -m)): take the release for it"
}

mount_point() { df -P "$BIN_DIR" | sed -n '$s/.*% //p'; }

# Before anything is touched: a port that another program has would show as a failed start otherwise.
check_ports() {
	set -- --unit-dir "$UNIT_DIR"
	[ "$BIND_GIVEN" = no ] || set -- "$@" --bind "$BIND"
	if systemctl --quiet is-active "$NAME.socket"; then set -- "$@" --socket-active; fi
	"$STAGED" ports "$@" </dev/null || fail "nothing was changed"
}

# ---- the steps of an installation

clean_up() {
	rm -f "$STAGED"
	for_each_file remove_new
	if [ -f "$IN_FORCE" ] && [ "$(socket_files)" = "$(cat "$IN_FORCE")" ]; then rm -f "$IN_FORCE"; fi
}

remove_new() { rm -f "$2/$1.new"; }

configure() {
	set -- --unit-dir "$UNIT_DIR" --print-summary
	[ "$BIND_GIVEN" = no ] || set -- "$@" --bind "$BIND"
	if [ -n "$SECRET_KEY_FROM" ]; then
		# By the shell itself and through a pipe: ps shows the key in no argument of a child.
		printf '%s' "$SECRET_KEY" | "$STAGED" configure "$@" --secret-key-stdin
	else
		"$STAGED" configure "$@" </dev/null
	fi
}

make_user() {
	if ! getent passwd "$RUN_USER" >/dev/null; then
		group=--user-group
		if getent group "$RUN_USER" >/dev/null; then group="--gid=$RUN_USER"; fi
		useradd --system "$group" --create-home --home-dir "$HOME_DIR" --shell /bin/sh --comment "$USER_COMMENT" "$RUN_USER"
		note "Created user $RUN_USER."
	fi
	home=$(getent passwd "$RUN_USER" | cut -d: -f6)
	[ -d "$home" ] || install -d -o "$RUN_USER" -g "$(id -g "$RUN_USER")" -m 0750 "$home"
}

# The original Sidecar has a unit of the same name, without a socket unit. systemd loads no *.bak.
keep_foreign_unit() {
	unit=$UNIT_DIR/$NAME.service
	if [ ! -f "$unit" ] || grep -q "^Requires=$NAME.socket" "$unit"; then return; fi
	cp -p "$unit" "$unit.bak.new"
	mv -f "$unit.bak.new" "$unit.bak"
	note "$unit was another Sidecar's: replaced, and kept as $unit.bak"
}

install_file() {
	part=$(find_part "$1") && mkdir -p "$2" &&
		install -o root -g root -m 0644 "$part" "$2/$1.new" && mv -f "$2/$1.new" "$2/$1"
}

# On some systems /usr is read-only, and the service needs none of these.
install_document() {
	install_file "$@" || note "warning: $2/$1 could not be written; everything else works without it"
}

install_program() { mv -f "$STAGED" "$PROGRAM"; }

update_catalog() {
	journalctl --update-catalog || note "warning: the journal does not explain messages of $NAME, as its catalog was not updated"
}

restore_contexts() {
	command -v restorecon >/dev/null 2>&1 || return 0
	{ installed && kept; } | while read -r path; do
		restorecon -R "$path" || note "warning: the SELinux context of $path was not set, as restorecon says above"
	done
}

# Without comments: another wording must not cost the connections that wait in the sockets.
socket_files() {
	cat "$UNIT_DIR/$NAME.socket" "$UNIT_DIR/$NAME.socket.d/"*.conf 2>/dev/null | grep -v -e '^[#;]' -e '^$' | cksum
}

remember_sockets() {
	[ -f "$IN_FORCE" ] || socket_files >"$IN_FORCE"
}

sockets_change() { [ "$(socket_files)" != "$(cat "$IN_FORCE")" ]; }

close_sockets() { systemctl stop "$NAME.service" "$NAME.socket"; }

# A restart keeps the listening sockets, so that no call is lost; they are closed only if they are to
# be others. The original Sidecar, which has its sockets itself, ends with the stop as well.
serve() {
	# Before the reload as well: systemd removes only the files of Unix sockets that it still knows of.
	if sockets_change; then close_sockets 2>/dev/null || true; fi # what is not loaded yet
	systemctl daemon-reload
	systemctl --quiet enable "$NAME.service"
	if sockets_change; then close_sockets; fi
	systemctl restart "$NAME.service" ||
		fail "the service did not start. It says why: journalctl -u $NAME -n 20"
	rm -f "$IN_FORCE"
}

# Firewalls are the administrator's: told of, never changed. ufw keeps containers out too; firewalld has
# a zone that lets Docker's in.
tell_firewall() {
	docker=$(ip -4 -o addr show docker0 2>/dev/null | sed -n 's/.* inet \([0-9.]*\).*/\1/p')
	set -f
	for address in $(say "$summary" | sed -n 2p | tr , ' '); do
		port=${address##*:}
		case $address in
		/* | 127.* | "[::1]:"*) ;;
		172.17.0.1:* | "${docker:-none}:"*) tell_of_ufw "$address" "allow in on docker0 to any port $port proto tcp" ;;
		*)
			tell_of_ufw "$address" "allow $port/tcp"
			tell_of_firewalld "$address" "$port"
			;;
		esac
	done
	set +f
}

tell_of_ufw() {
	if LC_ALL=C ufw status 2>/dev/null | grep -q '^Status: active'; then
		note "ufw is active. If callers cannot reach $1: sudo ufw $2"
	fi
}

tell_of_firewalld() {
	if firewall-cmd --state >/dev/null 2>&1; then
		note "firewalld is active. If callers cannot reach $1:" \
			"sudo firewall-cmd --permanent --add-port=$2/tcp && sudo firewall-cmd --reload"
	fi
}

install_sidecar() {
	check_parts
	read_secret_key
	lock
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	stage_program
	check_ports
	remember_sockets
	summary=$(configure)
	make_user
	keep_foreign_unit
	for_each_unit install_file
	for_each_document install_document
	install_program
	update_catalog
	restore_contexts
	serve
	tell_firewall
	say "$summary"
}

# ---- the steps of a removal

is_there() { [ -e "$1" ] || [ -L "$1" ]; }

remove_file() {
	rm -f "$2/$1.new"
	if is_there "$2/$1"; then rm -f "$2/$1"; fi
}

stop_service() {
	# shellcheck disable=SC2086 # a list of names
	systemctl stop $UNITS 2>/dev/null || true # those that are not loaded
	if systemctl --quiet is-active "$NAME.service" || systemctl --quiet is-active "$NAME.socket"; then
		fail "the service does not stop: see systemctl status $NAME, then run this again"
	fi
}

# Also where an interrupted removal left links to units that are gone.
disable_units() {
	for link in "$UNIT_DIR"/*.wants/"$NAME".* "$UNIT_DIR"/*.wants/"$NAME"-*.socket; do rm -f "$link"; done
	rmdir "$UNIT_DIR/$NAME.service.wants" 2>/dev/null || true # of the metrics; others' wishes stay
}

# The program goes last, so that whoever is interrupted can run this again.
remove_installed() {
	stop_service
	disable_units
	for_each_file remove_file
	rm -f "$UNIT_DIR/$NAME.socket.d/bind.conf" "$UNIT_DIR/$NAME.service.d/allow-sudo.conf"
	rmdir "$UNIT_DIR/$NAME.socket.d" "$UNIT_DIR/$NAME.service.d" 2>/dev/null || true # others' drop-ins stay
	systemctl daemon-reload
	# shellcheck disable=SC2086 # a list of names
	systemctl reset-failed $UNITS 2>/dev/null || true
	journalctl --update-catalog || true
	rm -f "$STAGED" "$IN_FORCE" "$PROGRAM"
	note "Stopped the service, and removed program, units, catalog and manual pages."
}

tell_if_there() {
	if is_there "$2/$1"; then say "$2/$1"; fi
}

installed() {
	for_each_file tell_if_there
	tell_if_there "$NAME" "$BIN_DIR"
}

# What --uninstall leaves, and --purge does not. A wildcard that matches nothing is no file.
kept() {
	for path in "$CONFIG" "$CONFIG".original* "${CONFIG%/*}/.$NAME".*.tmp "$STATE_DIR" \
		"$UNIT_DIR/$NAME.service.bak" "$UNIT_DIR/$NAME".*.d "$UNIT_DIR/$NAME"-*.d; do
		if is_there "$path"; then say "$path"; fi
	done
}

purge() {
	kept | while read -r path; do
		if [ -L "$path" ]; then note "$path is a link; what it leads to stays: $(readlink "$path")"; fi
		rm -rf "$path"
		note "Removed $path."
	done
	systemctl daemon-reload
	remove_user
}

remove_user() {
	entry=$(getent passwd "$RUN_USER") || return 0
	if [ "$(say "$entry" | cut -d: -f5)" != "$USER_COMMENT" ]; then
		note "Kept user $RUN_USER, whom the installation did not make. To remove it: sudo userdel $RUN_USER"
		return
	fi
	if [ "$(say "$entry" | cut -d: -f6)" = "$HOME_DIR" ]; then remove_home; fi
	userdel "$RUN_USER" || fail "user $RUN_USER is still there: end its processes (ps -u $RUN_USER) and run this again"
	note "Removed user $RUN_USER."
}

# What commands wrote there is somebody's work. Its folder becomes root's, as another user may get the
# number of this one later.
remove_home() {
	for file in /etc/skel/.[!.]* /etc/skel/*; do
		own=$HOME_DIR/${file##*/}
		# A pipe, which a command may have put there, would be waited for.
		if [ -f "$own" ] && [ ! -L "$own" ] && cmp -s "$file" "$own"; then rm -f "$own"; fi
	done
	if [ ! -d "$HOME_DIR" ] || rmdir "$HOME_DIR" 2>/dev/null; then return; fi
	chown root:root "$HOME_DIR"
	chmod 0700 "$HOME_DIR"
	note "Kept $HOME_DIR, now root's, as there are files in it. To remove them: sudo rm -r $HOME_DIR"
}

uninstall_sidecar() {
	lock
	left=$(installed)
	if [ -n "$left" ]; then
		remove_installed
	else
		note "Neither program nor units of $NAME are installed here."
	fi
	if [ "$PURGE" = yes ]; then
		purge
		return
	fi
	left=$(kept)
	if getent passwd "$RUN_USER" >/dev/null; then left="$left user $RUN_USER"; fi
	# shellcheck disable=SC2086 # names, on one line
	[ -z "$left" ] || note Kept: $left. "To remove that too: sudo $0 --uninstall --purge"
}

main() {
	parse_arguments "$@"
	check_host
	if [ "$UNINSTALL" = yes ]; then uninstall_sidecar; else install_sidecar; fi
}

main "$@"
