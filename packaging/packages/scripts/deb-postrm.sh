# shellcheck shell=sh
NAME=dataflux-func-sidecar
UNIT_DIR=/etc/systemd/system
ROLE_USER=dffs-sidecar

# User dffs stays: its commands may have left files anywhere, and another user could get its uid.
purge() {
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper purge "$NAME.service" "$NAME.socket" >/dev/null || :
	fi
	# -r: a directory in place of a file must not fail. The target of a link stays.
	rm -rf "/etc/${NAME:?}" "/etc/$NAME.original" "/etc/$NAME.original."[0-9]* "/etc/.$NAME."*.tmp \
		"/usr/local/bin/$NAME.bak" "$UNIT_DIR/$NAME.service.bak"
	rm -f "$UNIT_DIR/$NAME.socket.d/bind.conf" "$UNIT_DIR/$NAME.service.d/allow-sudo.conf" \
		"$UNIT_DIR/$NAME.service.d/stop-timeout.conf" \
		"$UNIT_DIR/$NAME.service.wants/$NAME-metrics.socket"
	for folder in "$UNIT_DIR/$NAME.socket.d" "$UNIT_DIR/$NAME.service.d" "$UNIT_DIR/$NAME.service.wants"; do
		# Files of the administrator stay.
		[ ! -d "$folder" ] || rmdir --ignore-fail-on-non-empty "$folder"
	done
	rm -rf "/var/lib/$NAME"
	remove_role_user
}

# It owns no files, and cgroups only while the service runs.
remove_role_user() {
	entry=$(getent passwd "$ROLE_USER") || return 0
	[ "$(printf '%s' "$entry" | cut -d: -f5)" = "DataFlux Func Sidecar daemon" ] || return 0
	userdel "$ROLE_USER" || echo "$NAME: cannot remove user $ROLE_USER. hint: end its processes, then run sudo userdel $ROLE_USER" >&2
}

case $1 in
purge)
	# If install.sh was run after the package was removed, all this belongs to that installation.
	if [ -f "$UNIT_DIR/$NAME.service" ]; then
		echo "$NAME: $UNIT_DIR/$NAME.service is not of this package, so configuration and state stay"
	else
		purge
	fi
	;;
remove | abort-install | disappear) rm -f "/run/$NAME.sockets-in-force" ;;
# The postinst of the new version needs the checksum that its preinst wrote.
upgrade | failed-upgrade | abort-upgrade) ;;
*)
	echo "postrm: unknown argument $1" >&2
	exit 1
	;;
esac
if [ -d /run/systemd/system ]; then systemctl --system daemon-reload >/dev/null || :; fi
