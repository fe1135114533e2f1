# shellcheck shell=sh
WAS_ENABLED=no
WAS_RUNNING=no

look_at_service() {
	[ ! -L "$UNIT_DIR/multi-user.target.wants/$NAME.service" ] || WAS_ENABLED=yes
	if systemd_runs && systemctl --quiet is-active "$NAME.service"; then WAS_RUNNING=yes; fi
}

# As the distribution's presets say, or as the installation was that this one takes over from.
enable_service() {
	if [ "$WAS_ENABLED" = yes ]; then
		systemctl --quiet enable "$NAME.service" || :
	else
		systemctl --quiet preset "$NAME.service" "$NAME.socket" || :
	fi
}

# Nothing is started that did not run. A restart keeps the listening sockets, so that no call is lost;
# they are closed only if they are to be others.
restart_service() {
	verb=try-restart
	[ "$WAS_RUNNING" = no ] || verb=restart
	systemctl daemon-reload || :
	set -- "$NAME.service"
	if [ -f "$IN_FORCE" ] && [ "$(socket_files)" != "$(cat "$IN_FORCE")" ]; then set -- "$NAME.socket" "$@"; fi
	systemctl "$verb" "$@" || say "the service did not start. It says why: journalctl -u $NAME -n 20" >&2
	rm -f "$IN_FORCE"
}

write_configuration || {
	say "nothing else was touched, and the program that ran still runs. After mending the configuration:" \
		"sudo $NAME configure && sudo systemctl restart $NAME" >&2
	exit 0
}
make_user
look_at_service
take_over
# rpm counts the versions that will be installed: 1 is a first installation.
if [ "$1" -eq 1 ]; then enable_service; fi
if systemd_runs; then
	restart_service
	journalctl --update-catalog || :
fi
