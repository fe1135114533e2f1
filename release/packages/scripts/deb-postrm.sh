# shellcheck shell=sh
NAME=dataflux-func-sidecar
UNIT_DIR=/etc/systemd/system

# User dffs stays: files of its commands may be anywhere, and another user could get its number.
purge() {
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper purge "$NAME.service" "$NAME.socket" >/dev/null || :
	fi
	rm -f "/etc/$NAME" "/etc/$NAME.original" "/etc/$NAME.original."[0-9]* "/etc/.$NAME."*.tmp \
		"/usr/local/bin/$NAME.bak" "$UNIT_DIR/$NAME.service.bak"
	rm -f "$UNIT_DIR/$NAME.socket.d/bind.conf" "$UNIT_DIR/$NAME.service.d/allow-sudo.conf" \
		"$UNIT_DIR/$NAME.service.wants/$NAME-metrics.socket"
	for folder in "$UNIT_DIR/$NAME.socket.d" "$UNIT_DIR/$NAME.service.d" "$UNIT_DIR/$NAME.service.wants"; do
		# An administrator's own files stay.
		[ ! -d "$folder" ] || rmdir --ignore-fail-on-non-empty "$folder"
	done
	rm -rf "/var/lib/$NAME"
}

case $1 in
purge)
	# Since the package was removed, install.sh may have been run: all this belongs to that now.
	if [ -f "$UNIT_DIR/$NAME.service" ]; then
		echo "$NAME: $UNIT_DIR/$NAME.service is not of this package, so configuration and state stay"
	else
		purge
	fi
	;;
remove | abort-install | disappear) rm -f "/run/$NAME.sockets-in-force" ;;
# The new version's postinst still needs what its preinst remembered.
upgrade | failed-upgrade | abort-upgrade) ;;
*)
	echo "postrm: unknown argument $1" >&2
	exit 1
	;;
esac
if [ -d /run/systemd/system ]; then systemctl --system daemon-reload >/dev/null || :; fi
