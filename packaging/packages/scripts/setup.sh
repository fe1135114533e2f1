# shellcheck shell=sh
RUN_USER=dffs
ROLE_USER=dffs-sidecar

# Creates the same users as install.sh: the first runs commands, the second the daemon.
# sysusers.conf is for hosts that create their users at each boot.
make_users() {
	getent passwd "$RUN_USER" >/dev/null ||
		add_user "$RUN_USER" --comment "DataFlux Func Sidecar" --create-home --home-dir "/home/$RUN_USER" -K UMASK=027
	getent passwd "$ROLE_USER" >/dev/null ||
		add_user "$ROLE_USER" --comment "DataFlux Func Sidecar daemon" --no-create-home --home-dir /nonexistent
	home=$(getent passwd "$RUN_USER" | cut -d: -f6)
	[ -d "$home" ] || install -d -o "$RUN_USER" -g "$(id -g "$RUN_USER")" -m 0750 "$home"
}

add_user() {
	user=$1
	shift
	group=--user-group
	if getent group "$user" >/dev/null; then group="--gid=$user"; fi
	useradd --system "$group" --shell "$(nologin)" "$@" "$user"
}

nologin() {
	shell=/bin/false
	for path in /sbin/nologin /usr/sbin/nologin; do
		if [ -x "$path" ]; then shell=$path; fi
	done
	printf '%s\n' "$shell"
}

# Before anything is changed, as in install.sh.
check_home() {
	home=$(getent passwd "$RUN_USER" | cut -d: -f6)
	place=${home:=/home/$RUN_USER}
	while [ ! -e "$place" ]; do place=$(dirname "$place"); done
	if [ -w "$place" ] || [ -d "$home" ]; then return; fi
	elsewhere="useradd --system --user-group --shell $(nologin) --create-home --home-dir"
	if getent passwd "$RUN_USER" >/dev/null; then elsewhere="usermod --home"; fi
	say "cannot make $home, the home directory of user $RUN_USER. hint: mount $place writable, or give the user" \
		"another one: sudo $elsewhere /var/lib/$RUN_USER $RUN_USER" >&2
	return 1
}

# With an id of the run user commands could touch the daemon; with an id of root it would be root.
check_role_user() {
	entry=$(getent passwd "$ROLE_USER") || return 0
	uid=$(printf '%s' "$entry" | cut -d: -f3)
	gid=$(printf '%s' "$entry" | cut -d: -f4)
	case " 0 $(id -u "$RUN_USER" 2>/dev/null || :) " in *" $uid "*) refuse_role_user "user number $uid" || return ;; esac
	case " 0 $(id -g "$RUN_USER" 2>/dev/null || :) " in *" $gid "*) refuse_role_user "group number $gid" || return ;; esac
}

refuse_role_user() {
	say "user $ROLE_USER has the $1, which root or $RUN_USER has too. hint: remove that user" \
		"(sudo userdel $ROLE_USER); the next attempt creates it with its own ids" >&2
	return 1
}

# Creates the configuration or amends it. A package manager logs the output of scripts, so it has no
# key. In an image no configuration is created, see first-start.conf.
write_configuration() {
	is_new=no
	[ -e "/etc/$NAME" ] || is_new=yes
	if [ "$is_new" = yes ] && ! systemd_runs; then
		say "the first start generates the key, so that machines made from an image do not share it"
		return
	fi
	mkdir -p "$UNIT_DIR"
	# With --print-summary the caller applies the change.
	"/usr/bin/$NAME" configure --unit-dir "$UNIT_DIR" --print-summary </dev/null >/dev/null || return
	if [ "$is_new" = yes ]; then
		say "to print the addresses and the generated key: sudo $NAME configure --print-summary"
	fi
}

# An installation by install.sh or of the original Sidecar would hide the package's own units and
# program. The service unit is removed last: a repeated run recognizes by it that work is left.
take_over() {
	unit=$UNIT_DIR/$NAME.service
	# No file, a mask of the unit, or the administrator's version of the packaged unit.
	[ -f "$unit" ] && ! grep -q "^ExecStart=[-@:+!]*/usr/bin/$NAME " "$unit" || return 0
	rm -f "$UNIT_DIR/multi-user.target.wants/$NAME.service" "$UNIT_DIR/sockets.target.wants/$NAME.socket"
	if grep -q "^Requires=$NAME.socket" "$unit"; then
		take_over_from_script
	else
		take_over_from_original
	fi
}

# The service keeps running until it is restarted, and the listening sockets stay open.
take_over_from_script() {
	wish=$UNIT_DIR/$NAME.service.wants/$NAME-metrics.socket
	if [ -L "$wish" ]; then ln -sf "/usr/lib/systemd/system/$NAME-metrics.socket" "$wish"; fi
	rm -f "/usr/local/bin/$NAME" "/usr/local/share/man/man8/$NAME.8" "/usr/local/share/man/man5/$NAME.5" \
		"$UNIT_DIR/$NAME.socket" "$UNIT_DIR/$NAME-ports.service" "$UNIT_DIR/$NAME-metrics.socket" \
		"$UNIT_DIR/$NAME-reload.path" "$UNIT_DIR/$NAME-reload.service" "$unit"
	say "took over from install.sh; configuration and state are unchanged"
}

# The original holds the addresses that ours listens on.
take_over_from_original() {
	if systemd_runs; then systemctl stop "$NAME.service"; fi
	for file in "/usr/local/bin/$NAME" "$unit"; do
		if [ -e "$file" ]; then mv -f "$file" "$file.bak"; fi
	done
	say "stopped the original Sidecar; its program and unit are kept as /usr/local/bin/$NAME.bak" \
		"and $unit.bak"
}
