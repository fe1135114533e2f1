#!/bin/sh
# Installs DataFlux Func Sidecar on this host, or removes it: program, users dffs and dffs-sidecar,
# configuration, units, journal catalog, manual pages. In a release it is also run-sidecar.sh, its
# name in the manual of DataFlux Func.
#
# It can be interrupted at any point and run again: files are replaced by rename, only if they
# differ, and existing settings change only if an argument says so. A running service is reloaded,
# which ends nothing, before any file is replaced: if it refuses, all files stay as they were.
# Progress goes to standard error; standard output has only what DataFlux Func needs.
set -eu
# The caller's umask must not matter: no step may leave a file that others can write.
umask 022
# The caller's exports must not matter: a secret must not become part of a child's environment.
set +a
unset CDPATH BIND SECRET_KEY earlier summary
# `su` without a dash omits the directories of the administrator's programs.
PATH=$PATH:/usr/sbin:/sbin

NAME=dataflux-func-sidecar
BIN_DIR=/usr/local/bin
PROGRAM=$BIN_DIR/$NAME
CONFIG=/etc/$NAME
STATE_DIR=/var/lib/$NAME
UNIT_DIR=/etc/systemd/system
UNITS="$NAME.socket $NAME-metrics.socket $NAME-ports.service $NAME-reload.path $NAME-reload.service $NAME.service"
CATALOG_DIR=/usr/lib/systemd/catalog
MAN_DIR=/usr/local/share/man
NEEDRESTART_DIR=/etc/needrestart/conf.d
NEEDRESTART=$NEEDRESTART_DIR/$NAME.conf
# Commands run as this user.
RUN_USER=dffs
HOME_DIR=/home/$RUN_USER
# The daemon itself runs as this user, so that no command can touch it.
ROLE_USER=dffs-sidecar
# --purge recognizes the users of this installation by these comments in /etc/passwd.
USER_COMMENT="DataFlux Func Sidecar"
ROLE_COMMENT="DataFlux Func Sidecar daemon"
# The checksum of the socket files in force during an installation. After an interruption the next
# run learns from it whether the listening sockets have changed, and that steps were left out.
IN_FORCE=/run/$NAME.sockets-in-force
# An existing directory. It is locked itself, so that no lock file remains.
LOCKED=/run/systemd/system

HERE=$(cd "$(dirname "$0")" && pwd)
# In the directory of the program, because /tmp may be noexec and a rename needs one file system.
STAGED=$PROGRAM.new

usage() {
	cat <<'TEXT'
Usage: sudo ./install.sh [--bind ADDRESSES] [--secret-key-file FILE | --secret-key KEY]
       sudo ./install.sh --uninstall [--purge]

  --bind ADDRESSES        listen on ADDRESSES, separated by commas: 127.0.0.1:8099,[::1]:8099 or
                          /run/sidecar.sock for a Unix socket
                          (first installation: 127.0.0.1:8099,172.17.0.1:8099, with docker0's own
                          address if it differs)
  --secret-key-file FILE  read the key of the callers from FILE, of mode 0600, or from standard
                          input if FILE is -
                          (first installation without a key: a generated one)
  --secret-key KEY        the key itself. Other users can see it in ps while this runs, and it stays in
                          your shell's history and in sudo's log: use a file instead
  --uninstall             stop the service and remove program, units, catalog and manual pages;
                          configuration, state and the users dffs and dffs-sidecar stay
  --purge                 with --uninstall: remove these too
  --help                  print this text

Run it again to install another version: existing settings stay unless an argument changes them.
A running service is reloaded: running commands and waiting callers go on. It is restarted only if
the running release cannot reload, or if addresses change; then this prints how long it waits for
running commands, and what it has ended.
TEXT
}

say() { printf '%s\n' "$*"; }

note() { say "$*" >&2; }

# fail MESSAGE [HINT...]
fail() {
	note "install.sh: $1"
	shift
	[ $# -eq 0 ] || note "hint: $*"
	exit 1
}

fail_usage() {
	note "install.sh: $*"
	note
	usage >&2
	exit 2
}

# ---- arguments

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
		[ -z "$SECRET_KEY_FROM" ] || fail_usage "the key is given twice: use either --secret-key-file or --secret-key"
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
		# Only the option's name: its value may be a key.
		*) fail_usage "unknown argument: ${1%%=*}" ;;
		esac
		shift
	done
	[ "$PURGE$UNINSTALL" != yesno ] || fail_usage "--purge requires --uninstall"
	[ "$UNINSTALL" = no ] || [ "$BIND_GIVEN$SECRET_KEY_FROM" = no ] ||
		fail_usage "--uninstall accepts no other argument than --purge"
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
		# As the command line refuses it. A pipe has no mode that matters.
		[ ! -f "$file" ] || case $(stat -L -c %a -- "$file") in
		0 | *00) ;;
		*) fail "--secret-key-file: other users can read or write $file" \
			"chmod 0600 $file; where its mode cannot be changed, use --secret-key-file - <$file" ;;
		esac
	fi
	[ -n "$SECRET_KEY" ] || fail "--secret-key-file: $file is empty" "write the key into it, or omit the option"
}

# ---- checks of the host

check_host() {
	[ "$(uname -s)" = Linux ] ||
		fail "this is $(uname -s), but Sidecar runs on the Linux host that runs DataFlux Func's containers" \
			"copy this folder there and run install.sh there"
	[ "$(id -u)" -eq 0 ] || fail "must run as root" "sudo $0"
	case $(package_tool) in
	apt) fail "$NAME is installed as a Debian package" \
		"upgrade it with sudo apt install ./FILE.deb, or remove it with sudo apt remove $NAME (or purge)" ;;
	dnf) fail "$NAME is installed as an RPM package" \
		"upgrade it with sudo dnf install ./FILE.rpm, or remove it with sudo dnf remove $NAME (zypper on SUSE)" ;;
	esac
	[ -d /run/systemd/system ] ||
		fail "systemd is not PID 1 on this machine (PID 1 is $(cat /proc/1/comm 2>/dev/null || say unknown))" \
			"start the program without it: $NAME serve --bind 127.0.0.1:8099 --config FILE --state-dir DIR"
}

# Concurrent runs would remove each other's staged files. The kernel releases the lock when the run
# and its children have ended.
lock() {
	command -v flock >/dev/null 2>&1 || return 0
	exec 9<"$LOCKED"
	if flock -n 9; then return; fi
	note "Another install.sh runs: waiting for it, up to a minute."
	flock -w 60 9 || fail "another install.sh still runs, and nothing was changed" "run this again when it has ended"
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
	*) fail "there is no Sidecar for $(uname -m), only for x86_64 and aarch64 (64-bit)" ;;
	esac
}

# ---- the parts, from a release folder, a download folder, or a built checkout

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

# Prints the path of a part, or nothing. The archive of a release has all parts too, for a folder
# with a few of its files.
find_part() {
	for folder in "$HERE" "$HERE/units" "$HERE/packaging/man"; do
		if [ -f "$folder/$1" ]; then
			say "$folder/$1"
			return
		fi
	done
}

read_part() {
	part=$(find_part "$1")
	if [ -n "$part" ]; then cat "$part"; else tar -xzOf "$SOURCE" "$1"; fi
}

find_program() {
	for found in "$HERE/$NAME.tar.gz" "$HERE/$1/$NAME.tar.gz" "$HERE/$NAME" "$HERE/bin/$NAME"; do
		if [ -f "$found" ]; then
			say "$found"
			return
		fi
	done
	if [ -f "$HERE/go.mod" ] && command -v go >/dev/null 2>&1; then
		fail "the program is not built" "run \`make build\` here first"
	fi
	fail "no program in the folder of install.sh" "$NAME.tar.gz, $1/$NAME.tar.gz or $NAME must be in $HERE"
}

# A release lists the checksums of its files, because copies and downloads can be damaged.
verify() {
	[ -f "$HERE/sha256sums" ] || return 0
	listed=$(listed_sum "${1#"$HERE"/}")
	# The archive may be beside the other files, instead of in the folder that the list names.
	[ -n "$listed" ] || [ "$1" != "$HERE/$NAME.tar.gz" ] || listed=$(listed_sum "$arch/$NAME.tar.gz")
	[ -n "$listed" ] || fail "$1 is not listed in sha256sums" "copy or download the whole release again"
	actual=$(sha256sum <"$1") || actual=unreadable
	[ "${actual%% *}" = "$listed" ] ||
		fail "$1 is damaged: its checksum differs from the one in sha256sums" "copy or download the release again"
}

listed_sum() {
	while read -r sum file; do
		file=${file#\*}
		if [ "${file#./}" = "$1" ]; then say "$sum"; fi
	done <"$HERE/sha256sums"
}

verify_part() {
	part=$(find_part "$1")
	if [ -n "$part" ]; then
		verify "$part"
	else
		say "$members" | grep -qxF "$1" ||
			fail "$1 is missing in the folder of install.sh" "copy or download the whole release again"
	fi
}

check_parts() {
	arch=$(architecture)
	SOURCE=$(find_program "$arch")
	verify "$SOURCE"
	members=
	case $SOURCE in
	*.tar.gz) members=$(tar -tzf "$SOURCE" 2>/dev/null) || cannot_unpack ;;
	esac
	for_each_file verify_part
}

cannot_unpack() { fail "cannot unpack the program from $SOURCE" "the disk may be full, or the file damaged"; }

# ---- the program, staged so that it can be executed before anything is changed

# Sets CANDIDATE: the staged program, or the installed one if it is the same.
stage_program() {
	CANDIDATE=$PROGRAM
	if has_mode "$PROGRAM" 711 && read_program 2>/dev/null | cmp -s - "$PROGRAM"; then return; fi
	CANDIDATE=$STAGED
	{ mkdir -p "$BIN_DIR" && rm -f "$STAGED" && true >"$STAGED"; } 2>/dev/null ||
		fail "cannot write to $BIN_DIR" \
			"if it is mounted read-only, mount it writable: sudo mount -o remount,rw $(mount_point "$BIN_DIR")"
	read_program >"$STAGED" || cannot_unpack
	chown root:root "$STAGED"
	# Not readable, so that a process of dffs that executes it starts non-dumpable.
	chmod 0711 "$STAGED"
	"$STAGED" version >/dev/null 2>&1 || explain_refusal
}

# has_mode FILE MODE: a regular file of root with that mode
has_mode() { [ "$(LC_ALL=C stat -c '%F %a %u %g' "$1" 2>/dev/null)" = "regular file $2 0 0" ]; }

read_program() {
	case $SOURCE in
	*.tar.gz) unpack ;;
	*) cat "$SOURCE" ;;
	esac
}

unpack() {
	member=$(tar -tzf "$SOURCE" | grep -E "(^|/)$NAME\$" | head -n 1)
	[ -n "$member" ] && tar -xzOf "$SOURCE" "$member"
}

# Executes a script, to distinguish a directory that forbids execution from a wrong program.
explain_refusal() {
	printf '#!/bin/sh\n' >"$STAGED"
	"$STAGED" 2>/dev/null ||
		fail "programs cannot be executed in $BIN_DIR" \
			"if it is mounted noexec: sudo mount -o remount,exec $(mount_point "$BIN_DIR");" \
			"otherwise a security policy (fapolicyd, AppArmor) forbids it"
	fail "the program in $SOURCE does not run on this machine ($(uname -m))" "use the release for this machine"
}

# nearest PATH: the path itself, or the first folder above it that is there
nearest() {
	path=$1
	while [ ! -e "$path" ]; do path=$(dirname "$path"); done
	say "$path"
}

mount_point() { df -P "$(nearest "$1")" | sed -n '$s/.*% //p'; }

# Before anything is changed, because a place that cannot be written leaves half an installation.
# Where all is in place already, /etc may be read-only.
check_places() {
	[ -z "$(for_each_unit tell_if_differs)" ] || must_be_writable "$UNIT_DIR"
	{ [ -e "$CONFIG" ] && getent passwd "$RUN_USER" && getent passwd "$ROLE_USER"; } >/dev/null ||
		must_be_writable "${CONFIG%/*}"
	must_be_writable "$STATE_DIR"
	home=$(getent passwd "$RUN_USER" | cut -d: -f6)
	home=${home:-$HOME_DIR}
	[ -d "$home" ] || [ -w "$(nearest "$home")" ] ||
		fail "cannot make $home, the home directory of user $RUN_USER, and nothing was changed" \
			"if it is mounted read-only: sudo mount -o remount,rw $(mount_point "$home");" \
			"or give the user another one, which this installation keeps:" \
			"$(home_elsewhere) /var/lib/$RUN_USER $RUN_USER"
}

must_be_writable() {
	[ -w "$(nearest "$1")" ] ||
		fail "cannot write to $1, and nothing was changed" \
			"if it is mounted read-only, mount it writable: sudo mount -o remount,rw $(mount_point "$1")"
}

home_elsewhere() {
	if getent passwd "$RUN_USER" >/dev/null; then
		say "sudo usermod --home"
	else
		say "sudo useradd --system --user-group --shell $(nologin) --create-home --home-dir"
	fi
}

# Before anything is changed, because a port in use would otherwise appear as a failed start.
check_ports() {
	set --
	[ "$BIND_GIVEN" = no ] || set -- --bind "$BIND"
	if systemctl --quiet is-active "$NAME.socket"; then set -- "$@" --socket-active; fi
	"$CANDIDATE" ports "$@" </dev/null || fail "nothing was changed"
}

# ---- the steps of an installation

clean_up() {
	rm -f "$STAGED" "$NEEDRESTART.new"
	for_each_file remove_new
	[ "$CHANGED" = yes ] || rm -f "$IN_FORCE"
}

remove_new() { rm -f "$2/$1.new"; }

configure() {
	set -- --unit-dir "$UNIT_DIR" --print-summary
	[ "$BIND_GIVEN" = no ] || set -- "$@" --bind "$BIND"
	if [ -n "$SECRET_KEY_FROM" ]; then
		# By a builtin of the shell and a pipe, so that ps shows the key in no argument of a child.
		printf '%s' "$SECRET_KEY" | "$CANDIDATE" configure "$@" --secret-key-stdin
	else
		"$CANDIDATE" configure "$@" </dev/null
	fi
}

# Existing users stay unchanged. UMASK gives a new home directory mode 0750.
make_users() {
	getent passwd "$RUN_USER" >/dev/null ||
		add_user "$RUN_USER" --comment "$USER_COMMENT" --create-home --home-dir "$HOME_DIR" -K UMASK=027
	getent passwd "$ROLE_USER" >/dev/null ||
		add_user "$ROLE_USER" --comment "$ROLE_COMMENT" --no-create-home --home-dir /nonexistent
	home=$(getent passwd "$RUN_USER" | cut -d: -f6)
	[ -d "$home" ] || install -d -o "$RUN_USER" -g "$(id -g "$RUN_USER")" -m 0750 "$home"
}

# add_user NAME OPTIONS...: without a login shell, because a command can write
# ~/.ssh/authorized_keys. The shell of commands is in the configuration.
add_user() {
	name=$1
	shift
	group=--user-group
	if getent group "$name" >/dev/null; then group="--gid=$name"; fi
	useradd --system "$group" --shell "$(nologin)" "$@" "$name"
	CHANGED=yes
	note "Created user $name."
}

nologin() {
	for shell in /usr/sbin/nologin /sbin/nologin; do
		if [ -x "$shell" ]; then
			say "$shell"
			return
		fi
	done
	say /bin/false
}

# With an id of the run user commands could touch the daemon; with an id of root it would be root.
check_role_user() {
	entry=$(getent passwd "$ROLE_USER") || return 0
	uid=$(say "$entry" | cut -d: -f3)
	gid=$(say "$entry" | cut -d: -f4)
	case " 0 $(id -u "$RUN_USER" 2>/dev/null || true) " in *" $uid "*) refuse_role_user "user number $uid" ;; esac
	case " 0 $(id -g "$RUN_USER" 2>/dev/null || true) " in *" $gid "*) refuse_role_user "group number $gid" ;; esac
}

refuse_role_user() {
	fail "user $ROLE_USER has the $1, which root or $RUN_USER has too, and nothing was changed" \
		"remove that user (sudo userdel $ROLE_USER) and run this again, which creates it with its own ids"
}

# The original Sidecar has a unit of the same name, without a socket unit. systemd loads no *.bak.
keep_foreign_unit() {
	unit=$UNIT_DIR/$NAME.service
	if [ ! -f "$unit" ] || grep -q "^Requires=$NAME.socket" "$unit"; then return; fi
	cp -p "$unit" "$unit.bak.new"
	mv -f "$unit.bak.new" "$unit.bak"
	note "$unit was the unit of another Sidecar: replaced it, and kept it as $unit.bak"
}

is_in_place() { has_mode "$2/$1" 644 && read_part "$1" | cmp -s - "$2/$1"; }

tell_if_differs() { is_in_place "$@" || say "$2/$1"; }

install_file() {
	if is_in_place "$@"; then return; fi
	mkdir -p "$2" && rm -f "$2/$1.new" && read_part "$1" >"$2/$1.new" && chown root:root "$2/$1.new" &&
		chmod 0644 "$2/$1.new" && mv -f "$2/$1.new" "$2/$1" && note_change "$2/$1"
}

note_change() {
	CHANGED=yes
	note "Wrote $1."
}

# On some systems /usr is read-only; the service does not need these files.
install_document() {
	install_file "$@" || note "warning: $2/$1 could not be written; the service works without it"
}

install_program() {
	[ "$CANDIDATE" = "$STAGED" ] || return 0
	mv -f "$STAGED" "$PROGRAM"
	CANDIDATE=$PROGRAM
	note_change "$PROGRAM"
}

# needrestart restarts services whose processes use old libraries. Those of this service include
# commands, and an old library in a command is no reason to end the others. Packages install the
# same file.
install_needrestart() {
	[ -d "$NEEDRESTART_DIR" ] || return 0
	# shellcheck disable=SC2016 # a variable of Perl
	text="# Processes of this service include commands: an old library in one is no reason to restart it.
\$nrconf{override_rc}{qr(^$NAME\\.service\$)} = 0;"
	if has_mode "$NEEDRESTART" 644 && [ "$(cat "$NEEDRESTART")" = "$text" ]; then return; fi
	say "$text" >"$NEEDRESTART.new"
	chmod 0644 "$NEEDRESTART.new"
	mv -f "$NEEDRESTART.new" "$NEEDRESTART"
	note_change "$NEEDRESTART"
}

update_catalog() {
	journalctl --update-catalog || note "warning: the journal catalog was not updated, so journalctl -x does not explain the messages of $NAME"
}

restore_contexts() {
	command -v restorecon >/dev/null 2>&1 || return 0
	{ installed && kept; } | while read -r path; do
		restorecon -R "$path" || note "warning: the SELinux context of $path was not set; see the message of restorecon above"
	done
}

# Without comments, so that a changed comment does not close sockets with waiting connections.
socket_files() {
	for file in "$UNIT_DIR/$NAME.socket" "$UNIT_DIR/$NAME.socket.d/"*.conf; do
		if [ -f "$file" ]; then cat "$file"; fi # cat would block on a FIFO
	done | grep -v -e '^[#;]' -e '^$' | cksum
}

remember_sockets() {
	if [ -f "$IN_FORCE" ]; then
		CHANGED=yes
	else
		socket_files >"$IN_FORCE"
	fi
}

sockets_change() { [ "$(socket_files)" != "$(cat "$IN_FORCE")" ]; }

close_sockets() { systemctl stop "$NAME.service" "$NAME.socket"; }

# ---- the configuration, kept so that it can be restored

# With a character at the end, so that no newline is lost. A shell variable that is not exported
# keeps the key out of files and environments.
configuration() {
	if is_file "$(readlink -f "$CONFIG")"; then cat "$CONFIG"; fi
	say .
}

drop_ins() {
	for file in "$UNIT_DIR/$NAME".*.d/*; do
		if [ -f "$file" ]; then cksum "$file"; fi
	done
}

change_configuration() {
	changed_before=$CHANGED
	earlier=$(configuration)
	earlier_drop_ins=$(drop_ins)
	summary=$(configure)
	[ "$(configuration)$(drop_ins)" = "$earlier$earlier_drop_ins" ] || CHANGED=yes
}

restore_configuration() {
	[ "$(configuration)" != "$earlier" ] || return 0
	file=$(readlink -f "$CONFIG")
	restored=$(mktemp "${file%/*}/.$NAME.XXXXXX.tmp") # 0600
	printf '%s' "${earlier%.}" >"$restored"
	mv -f "$restored" "$file"
}

# ---- the service

# Sets ACTION to what brings the installation into force, and MAIN_PID to the daemon, 0 if none
# runs.
choose_action() {
	MAIN_PID=$(systemctl show -p MainPID "$NAME.service")
	MAIN_PID=${MAIN_PID#*=}
	case $(systemctl is-active "$NAME.service") in
	active | reloading) ;;
	*)
		ACTION=start
		return
		;;
	esac
	if sockets_change; then
		ACTION=sockets
	elif [ "$CANDIDATE" = "$STAGED" ] || [ "$(configuration)" != "$earlier" ] || ! in_force; then
		ACTION=reload
	else
		ACTION=nothing
	fi
}

# True if the service executes the installed program, and has read the configuration since its last
# change. A start creates the control socket; a reload sets its time.
in_force() {
	control=$STATE_DIR/control
	[ "$(stat -L -c %d:%i "/proc/$MAIN_PID/exe" 2>/dev/null)" = "$(stat -c %d:%i "$PROGRAM")" ] &&
		[ -S "$control" ] && [ -z "$(find -L "$CONFIG" -newercm "$control")" ]
}

# The new program reloads the service before it is installed. So a refusal, which names its reason,
# changes nothing.
reload_service() {
	[ "$ACTION" = reload ] || return 0
	status=0
	said=$("$CANDIDATE" reload </dev/null 2>&1) || status=$?
	case $status in
	0)
		CHANGED=yes
		note "$said"
		install_program
		;;
	3) ACTION=restart ;; # an earlier release, or the original Sidecar
	*)
		case $said in *"cannot reload METRICS_BIND"*)
			ACTION=sockets
			return
			;;
		esac
		note "$said"
		restore_configuration
		CHANGED=$changed_before
		fail "the reload was refused: the service goes on as before, and nothing was changed" \
			"correct the cause and run this again, or end what runs with sudo systemctl stop $NAME and run this again"
		;;
	esac
}

serve() {
	[ "$ACTION" = nothing ] || CHANGED=yes
	case $ACTION in
	start)
		# Before daemon-reload: systemd removes the files of Unix sockets only while it knows them.
		if sockets_change; then close_sockets 2>/dev/null || true; fi # fails for units that are not loaded
		register_units
		start_service
		;;
	restart)
		register_units
		end_and_restart systemctl restart "$NAME.service"
		;;
	sockets)
		end_and_restart "$PROGRAM" configure --apply # it reads the units at the right moment
		register_units
		;;
	*) register_units ;;
	esac
}

# Makes systemd read the units, and start them at boot.
register_units() {
	# shellcheck disable=SC2086 # a list of names
	if [ "$CHANGED" = yes ] || systemctl show -p NeedDaemonReload $UNITS | grep -q =yes; then
		CHANGED=yes
		systemctl daemon-reload
	fi
	if systemctl --quiet is-enabled "$NAME.service" && systemctl --quiet is-enabled "$NAME.socket"; then return; fi
	CHANGED=yes
	systemctl --quiet enable "$NAME.service"
}

start_service() {
	systemctl restart "$NAME.service" || did_not_start # a service that fails repeatedly is not inactive
}

did_not_start() {
	reason=$(refusal)
	case $reason in
	*"; hint: "*) fail "the service did not start: ${reason%%; hint: *}" "${reason#*; hint: }" ;;
	?*) fail "the service did not start: $reason" "correct that, then sudo systemctl restart $NAME" ;;
	esac
	note "The last entries of the service in the journal:"
	own_entries 5 >&2 || true
	fail "the service did not start" "see journalctl -u $NAME -n 20"
}

# Why the daemon refused its last start, or nothing.
refusal() {
	journalctl --sync 2>/dev/null || true
	own_entries 200 | grep -E '^(Not serving|Ready): ' | tail -n 1 | sed -n 's/^Not serving: //p'
}

# own_entries COUNT: the latest entries of the service, without those of commands, which have
# another user and could steer the terminal
own_entries() {
	set -- --lines="$1" _UID=0
	if uid=$(id -u "$ROLE_USER" 2>/dev/null); then set -- "$@" "_UID=$uid"; fi
	journalctl --quiet --no-pager --unit="$NAME.service" --output=cat "$@" 2>/dev/null
}

# end_and_restart COMMAND...: says what the restart waits for and what it has ended. A restart keeps
# the listening sockets, so that no call is lost.
end_and_restart() {
	find_own_command
	if [ -n "$OWN_COMMAND" ]; then
		run_later "$@"
		return
	fi
	case $ACTION in
	sockets) note "The addresses change, so the service restarts." ;;
	*) note "The running release cannot reload, so the service restarts." ;;
	esac
	tell_what_runs
	began=$(date +%s)
	"$@" </dev/null >&2 || did_not_start
	tell_what_ended
}

tell_what_runs() {
	jobs=$(timeout 10 "$PROGRAM" jobs --json 2>/dev/null) || return 0
	running=$(say "$jobs" | tr -d ' \n' | grep -o '"state":"running"' | wc -l)
	queued=$(say "$jobs" | tr -d ' \n' | grep -o '"state":"queued"' | wc -l)
	limit=$(sed -n 's/^[[:space:]]*DRAIN_TIMEOUT[[:space:]]*=[[:space:]]*"\([^"]*\)".*/\1/p' "$CONFIG")
	[ "$running$queued" != 00 ] || return 0
	note "Commands: $running running, $queued queued. They have ${limit:-30s} (DRAIN_TIMEOUT), then they are ended."
}

# What the daemon said on its way out. A command cannot pretend to be that process.
tell_what_ended() {
	journalctl --sync 2>/dev/null || true
	journalctl --quiet --output=cat --since="@$began" "_PID=$MAIN_PID" 2>/dev/null |
		grep -E '^(Draining|Stopping|Ending|Sent SIGTERM|Stopped)' >&2 || true
}

# Sets OWN_COMMAND to the process of the service in which this runs, or nothing. The restart would
# wait for that command, and that command for the restart.
find_own_command() {
	OWN_COMMAND=
	if [ "$MAIN_PID" = 0 ]; then return; fi
	pid=$$
	while [ "$pid" -gt 1 ]; do
		top=$pid
		pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status") || return 0
		if [ "$pid" = "$MAIN_PID" ]; then OWN_COMMAND=$top; fi
	done
	if grep -q "/$NAME\.service" /proc/self/cgroup; then OWN_COMMAND=${OWN_COMMAND:-$top}; fi
}

# run_later COMMAND...
run_later() {
	note "This runs in a command of the service, so the service restarts when that command has ended."
	# shellcheck disable=SC2016 # for the other shell to expand
	systemctl --quiet is-active "$NAME-restart.service" ||
		systemd-run --quiet --unit="$NAME-restart" \
			/bin/sh -c 'while [ -e "/proc/$0" ]; do sleep 1; done; exec "$@"' "$OWN_COMMAND" "$@" ||
		fail "the restart could not be scheduled" "sudo systemctl restart $NAME"
}

# Firewalls belong to the administrator: rules are printed, never changed. ufw also blocks
# containers; firewalld has a zone that permits those of Docker.
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
	check_role_user
	check_places
	read_secret_key
	lock
	CHANGED=no
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	stage_program
	check_ports
	remember_sockets
	change_configuration
	make_users
	choose_action
	reload_service
	keep_foreign_unit
	for_each_unit install_file
	for_each_document install_document
	install_needrestart
	install_program
	if [ "$CHANGED" = yes ]; then
		update_catalog
		restore_contexts
	fi
	serve
	[ "$CHANGED" = yes ] || note "Nothing to change: $("$PROGRAM" version) is installed and in force."
	rm -f "$IN_FORCE"
	tell_firewall
	say "$summary"
	tell_next
}

# The release folder has the documents beside this script.
tell_next() {
	guide=$HERE/connector/README.md
	[ -f "$guide" ] || guide="connector/README.md of the release"
	[ "$CHANGED" = no ] || note "Installed: $("$PROGRAM" version)."
	program=$NAME
	command -v "$NAME" >/dev/null || program=$PROGRAM # sudo may omit /usr/local/bin (secure_path)
	note "Next: in DataFlux Func create a connector with this address and key ($guide)." \
		"To test this host: sudo $program check"
}

# ---- the steps of a removal

is_there() { [ -e "$1" ] || [ -L "$1" ]; }

remove_file() {
	rm -f "$2/$1.new"
	if is_there "$2/$1"; then rm -f "$2/$1"; fi
}

stop_service() {
	# shellcheck disable=SC2086 # a list of names
	systemctl stop $UNITS 2>/dev/null || true # fails for units that are not loaded
	if systemctl --quiet is-active "$NAME.service" || systemctl --quiet is-active "$NAME.socket"; then
		fail "the service does not stop" "see systemctl status $NAME, then run this again"
	fi
}

# Also after an interrupted removal, which may leave links to removed units.
disable_units() {
	for link in "$UNIT_DIR"/*.wants/"$NAME".* "$UNIT_DIR"/*.wants/"$NAME"-*.socket; do rm -f "$link"; done
	rmdir "$UNIT_DIR/$NAME.service.wants" 2>/dev/null || true # fails if other links remain
}

# The program is removed last, so that an interrupted removal can be run again.
remove_installed() {
	stop_service
	disable_units
	for_each_file remove_file
	rm -f "$UNIT_DIR/$NAME.socket.d/bind.conf" "$UNIT_DIR/$NAME.service.d/allow-sudo.conf" \
		"$UNIT_DIR/$NAME.service.d/stop-timeout.conf"
	rmdir "$UNIT_DIR/$NAME.socket.d" "$UNIT_DIR/$NAME.service.d" 2>/dev/null || true # fails if other drop-ins remain
	systemctl daemon-reload
	# shellcheck disable=SC2086 # a list of names
	systemctl reset-failed $UNITS 2>/dev/null || true
	journalctl --update-catalog || true
	rm -f "$NEEDRESTART"
	rm -f "$STAGED" "$IN_FORCE" "$PROGRAM"
	note "Stopped the service, and removed program, units, catalog and manual pages."
}

tell_if_there() {
	if is_there "$2/$1"; then say "$2/$1"; fi
}

installed() {
	for_each_file tell_if_there
	tell_if_there "${NEEDRESTART##*/}" "$NEEDRESTART_DIR"
	tell_if_there "$NAME" "$BIN_DIR"
}

# Lists the files that --uninstall keeps and --purge removes. Patterns without a match name no file.
kept() {
	for path in "$CONFIG" "$CONFIG".original* "${CONFIG%/*}/.$NAME".*.tmp "$STATE_DIR" \
		"$UNIT_DIR/$NAME.service.bak" "$UNIT_DIR/$NAME".*.d "$UNIT_DIR/$NAME"-*.d; do
		if is_there "$path"; then say "$path"; fi
	done
}

purge() {
	kept | while read -r path; do
		if [ -L "$path" ]; then note "$path is a link; its target stays: $(readlink "$path")"; fi
		rm -rf "$path"
		note "Removed $path."
	done
	systemctl daemon-reload
	remove_user "$RUN_USER" "$USER_COMMENT"
	remove_user "$ROLE_USER" "$ROLE_COMMENT"
}

# remove_user NAME COMMENT
remove_user() {
	entry=$(getent passwd "$1") || return 0
	if [ "$(say "$entry" | cut -d: -f5)" != "$2" ]; then
		note "Kept user $1, which the installation did not create. To remove it: sudo userdel $1"
		return
	fi
	if [ "$(say "$entry" | cut -d: -f6)" = "$HOME_DIR" ]; then remove_home; fi
	userdel "$1" || fail "cannot remove user $1" "end its processes (ps -U $1) and run this again"
	note "Removed user $1."
}

# Files of commands stay. The directory becomes root's, because another user may get this uid later.
# That comes first, so that no process of this user can replace a file by a FIFO between the test
# and the read.
remove_home() {
	if [ -L "$HOME_DIR" ]; then
		note "Kept $HOME_DIR, which is a link; its target stays: $(readlink "$HOME_DIR")"
		return
	fi
	[ -d "$HOME_DIR" ] || return 0
	chown root:root "$HOME_DIR"
	chmod 0700 "$HOME_DIR"
	for file in /etc/skel/.[!.]* /etc/skel/*; do
		own=$HOME_DIR/${file##*/}
		if is_file "$file" && is_file "$own" && cmp -s "$file" "$own"; then rm -f "$own"; fi
	done
	rmdir "$HOME_DIR" 2>/dev/null ||
		note "Kept $HOME_DIR, now owned by root, because it has files. To remove them: sudo rm -r $HOME_DIR"
}

# Excludes links, and FIFOs and devices, on which a read would block.
is_file() { [ -f "$1" ] && [ ! -L "$1" ]; }

uninstall_sidecar() {
	lock
	left=$(installed)
	if [ -n "$left" ]; then
		remove_installed
	else
		note "Neither program nor units of $NAME are installed."
	fi
	if [ "$PURGE" = yes ]; then
		purge
		return
	fi
	left=$(kept)
	for user in "$RUN_USER" "$ROLE_USER"; do
		if getent passwd "$user" >/dev/null; then left="$left user $user"; fi
	done
	# shellcheck disable=SC2086 # names, on one line
	[ -z "$left" ] || note Kept: $left. "To remove them too: sudo $0 --uninstall --purge"
}

main() {
	parse_arguments "$@"
	check_host
	if [ "$UNINSTALL" = yes ]; then uninstall_sidecar; else install_sidecar; fi
}

main "$@"
