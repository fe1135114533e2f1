# shellcheck shell=sh
WANTS=$UNIT_DIR/multi-user.target.wants/$NAME.service
WAS_ENABLED=no
if [ -L "$WANTS" ]; then WAS_ENABLED=yes; fi

# Enables the service at the first installation; a later `systemctl disable` is respected. A package
# that was removed is remembered with its links: those that take_over has removed would count as
# disabled.
enable_service() {
	if [ "$WAS_ENABLED" = yes ] && [ ! -L "$WANTS" ]; then
		deb-systemd-helper purge "$NAME.service" "$NAME.socket" >/dev/null || :
	fi
	deb-systemd-helper unmask "$NAME.service" >/dev/null || :
	if deb-systemd-helper --quiet was-enabled "$NAME.service"; then
		deb-systemd-helper enable "$NAME.service" >/dev/null || :
	else
		deb-systemd-helper update-state "$NAME.service" >/dev/null || :
	fi
}

# A reload ends nothing. A restart keeps the listening sockets, so that no call is lost. If
# addresses change, `configure --apply` keeps those that stay. deb-systemd-invoke asks policy-rc.d,
# and does not start units that are disabled and not running.
update_service() {
	systemctl --system daemon-reload >/dev/null || :
	policy_permits_reload || return 0
	look_at_service
	set -- deb-systemd-invoke restart "$NAME.service"
	if sockets_changed; then
		set -- deb-systemd-invoke restart "$NAME.socket" "$NAME.service"
		[ "$MAIN_PID" = 0 ] || set -- "/usr/bin/$NAME" configure --apply
	elif reload_service; then
		return
	fi
	end_and_restart "$@" ||
		say "the service did not start. hint: see journalctl -u $NAME -n 20" >&2
}

# 101 means forbidden. deb-systemd-invoke asks only for the actions that it knows, and not for a
# reload.
policy_permits_reload() {
	policy=/usr/sbin/policy-rc.d
	status=0
	[ ! -x "$policy" ] || "$policy" "$NAME.service" reload >/dev/null || status=$?
	[ "$status" -ne 101 ]
}

case $1 in
configure)
	{ check_role_user && check_home; } || {
		say "nothing was changed. hint: after that run sudo dpkg --configure $NAME" >&2
		exit 1
	}
	write_configuration || {
		say "nothing else was changed. hint: correct the configuration, then run sudo dpkg --configure $NAME" >&2
		exit 1
	}
	make_users
	take_over
	;;
abort-upgrade | abort-deconfigure | abort-remove) ;;
*)
	echo "postinst: unknown argument $1" >&2
	exit 1
	;;
esac
enable_service
if systemd_runs; then
	update_service
	rm -f "$IN_FORCE"
fi
