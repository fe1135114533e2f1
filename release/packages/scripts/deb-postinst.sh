# shellcheck shell=sh

# Enabled when it is first installed; a later `systemctl disable` of the administrator's lasts.
enable_service() {
	deb-systemd-helper unmask "$NAME.service" >/dev/null || :
	if deb-systemd-helper --quiet was-enabled "$NAME.service"; then
		deb-systemd-helper enable "$NAME.service" >/dev/null || :
	else
		deb-systemd-helper update-state "$NAME.service" >/dev/null || :
	fi
}

# A restart keeps the listening sockets, so that no call is lost; they are closed only if they are to be
# others. deb-systemd-invoke asks policy-rc.d, and leaves alone what was disabled and does not run.
restart_service() {
	systemctl --system daemon-reload >/dev/null || :
	set -- "$NAME.service"
	if [ -f "$IN_FORCE" ] && [ "$(socket_files)" != "$(cat "$IN_FORCE")" ]; then set -- "$NAME.socket" "$@"; fi
	deb-systemd-invoke restart "$@" >/dev/null ||
		say "the service did not start. It says why: journalctl -u $NAME -n 20" >&2
	rm -f "$IN_FORCE"
}

case $1 in
configure)
	write_configuration || {
		say "nothing else was touched. After mending the configuration: sudo dpkg --configure $NAME" >&2
		exit 1
	}
	make_user
	take_over
	;;
abort-upgrade | abort-deconfigure | abort-remove) ;;
*)
	echo "postinst: unknown argument $1" >&2
	exit 1
	;;
esac
enable_service
if systemd_runs; then restart_service; fi
