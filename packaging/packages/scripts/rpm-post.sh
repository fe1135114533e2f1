# shellcheck shell=sh
WAS_ENABLED=no
WAS_RUNNING=no

look_at_earlier_service() {
	[ ! -L "$UNIT_DIR/multi-user.target.wants/$NAME.service" ] || WAS_ENABLED=yes
	if systemd_runs && systemctl --quiet is-active "$NAME.service"; then WAS_RUNNING=yes; fi
}

# Follows the presets of the distribution, or the installation that the package takes over.
enable_service() {
	if [ "$WAS_ENABLED" = yes ]; then
		systemctl --quiet enable "$NAME.service" || :
	else
		systemctl --quiet preset "$NAME.service" "$NAME.socket" || :
	fi
}

# Starts only a service that was running. A reload ends nothing. A restart keeps the listening
# sockets, so that no call is lost. If addresses change, `configure --apply` keeps those that stay.
update_service() {
	verb=try-restart
	[ "$WAS_RUNNING" = no ] || verb=restart
	systemctl daemon-reload || :
	look_at_service
	set -- systemctl "$verb" "$NAME.service"
	if sockets_changed; then
		set -- systemctl "$verb" "$NAME.socket" "$NAME.service"
		[ "$MAIN_PID" = 0 ] || set -- "/usr/bin/$NAME" configure --apply
	elif reload_service; then
		return
	fi
	end_and_restart "$@" || say "the service did not start. hint: see journalctl -u $NAME -n 20" >&2
}

{ check_role_user && check_home; } || {
	say "nothing else was changed, and the running program continues. hint: after that install this package again:" \
		"sudo dnf reinstall $NAME" >&2
	exit 0
}
write_configuration || {
	say "nothing else was changed, and the running program continues. hint: correct the configuration, then run" \
		"sudo $NAME configure && sudo systemctl reload $NAME" >&2
	exit 0
}
make_users
look_at_earlier_service
take_over
# The argument is the number of versions that will be installed: 1 is a first installation.
if [ "$1" -eq 1 ]; then enable_service; fi
if systemd_runs; then
	update_service
	rm -f "$IN_FORCE"
	journalctl --update-catalog || :
fi
