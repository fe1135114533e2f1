# shellcheck shell=sh
NAME=dataflux-func-sidecar
UNIT_DIR=/etc/systemd/system
# Holds a checksum of the socket files in force while an installation is under way, so that it is known
# in the end whether the listening sockets are still to be those of before. install.sh uses the same.
IN_FORCE=/run/$NAME.sockets-in-force

say() { printf '%s: %s\n' "$NAME" "$*"; }

# Not in a chroot, and not while an image is made.
systemd_runs() { [ -d /run/systemd/system ]; }

socket_files() {
	unit=$UNIT_DIR/$NAME.socket
	[ -f "$unit" ] || unit=/usr/lib/systemd/system/$NAME.socket
	cat "$unit" "$UNIT_DIR/$NAME.socket.d/"*.conf 2>/dev/null | grep -v -e '^[#;]' -e '^$' | cksum
}

remember_sockets() {
	if systemd_runs && [ ! -f "$IN_FORCE" ]; then socket_files >"$IN_FORCE"; fi
}
