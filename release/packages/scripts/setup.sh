# shellcheck shell=sh
RUN_USER=dffs

# As install.sh makes the user. sysusers.conf is for hosts that make their users anew at each boot.
make_user() {
	if ! getent passwd "$RUN_USER" >/dev/null; then
		group=--user-group
		if getent group "$RUN_USER" >/dev/null; then group="--gid=$RUN_USER"; fi
		useradd --system "$group" --create-home --home-dir "/home/$RUN_USER" --shell /bin/sh \
			--comment "DataFlux Func Sidecar" "$RUN_USER"
	fi
	home=$(getent passwd "$RUN_USER" | cut -d: -f6)
	[ -d "$home" ] || install -d -o "$RUN_USER" -g "$(id -g "$RUN_USER")" -m 0750 "$home"
}

# Creates the configuration or amends it. A package manager keeps what scripts print: the key is not in it.
# In an image none is created, see first-start.conf.
write_configuration() {
	is_new=no
	[ -e "/etc/$NAME" ] || is_new=yes
	if [ "$is_new" = yes ] && ! systemd_runs; then
		say "the first start will generate the key: it must not be the same on all machines made of an image"
		return
	fi
	mkdir -p "$UNIT_DIR"
	# With a summary it leaves it to its caller to apply the change.
	"/usr/bin/$NAME" configure --unit-dir "$UNIT_DIR" --print-summary </dev/null >/dev/null || return
	if [ "$is_new" = yes ]; then
		say "to see the addresses and the generated key: sudo $NAME configure --print-summary"
	fi
}

# An installation by install.sh or of the original Sidecar lies where it would hide the package's own
# units and program. The service unit is the last to go: it tells a repeated run that there is work left.
take_over() {
	unit=$UNIT_DIR/$NAME.service
	# No file, or one that masks the unit, or an administrator's version of the packaged one.
	[ -f "$unit" ] && ! grep -q "^ExecStart=[-@:+!]*/usr/bin/$NAME " "$unit" || return 0
	rm -f "$UNIT_DIR/multi-user.target.wants/$NAME.service" "$UNIT_DIR/sockets.target.wants/$NAME.socket"
	if grep -q "^Requires=$NAME.socket" "$unit"; then
		take_over_from_script
	else
		take_over_from_original
	fi
}

# It goes on running until it is restarted, and the listening sockets are not touched.
take_over_from_script() {
	wish=$UNIT_DIR/$NAME.service.wants/$NAME-metrics.socket
	if [ -L "$wish" ]; then ln -sf "/usr/lib/systemd/system/$NAME-metrics.socket" "$wish"; fi
	rm -f "/usr/local/bin/$NAME" "/usr/local/share/man/man8/$NAME.8" "/usr/local/share/man/man5/$NAME.5" \
		"$UNIT_DIR/$NAME.socket" "$UNIT_DIR/$NAME-ports.service" "$UNIT_DIR/$NAME-metrics.socket" "$unit"
	say "took over from install.sh, with configuration and state as they were"
}

# It holds the addresses that ours listens on.
take_over_from_original() {
	if systemd_runs; then systemctl stop "$NAME.service"; fi
	for file in "/usr/local/bin/$NAME" "$unit"; do
		if [ -e "$file" ]; then mv -f "$file" "$file.bak"; fi
	done
	say "stopped the Sidecar that was there; its program and unit are kept as /usr/local/bin/$NAME.bak" \
		"and $unit.bak"
}
