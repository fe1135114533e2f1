# shellcheck shell=sh
NAME=dataflux-func-sidecar
UNIT_DIR=/etc/systemd/system
# The checksum of the socket files in force during an installation. At the end it shows whether the
# listening sockets have changed. install.sh uses the same file.
IN_FORCE=/run/$NAME.sockets-in-force

say() { printf '%s: %s\n' "$NAME" "$*"; }

# False in a chroot and while an image is built.
systemd_runs() { [ -d /run/systemd/system ]; }

socket_files() {
	unit=$UNIT_DIR/$NAME.socket
	[ -f "$unit" ] || unit=/usr/lib/systemd/system/$NAME.socket
	for file in "$unit" "$UNIT_DIR/$NAME.socket.d/"*.conf; do
		if [ -f "$file" ]; then cat "$file"; fi # cat would block on a FIFO
	done | grep -v -e '^[#;]' -e '^$' | cksum
}

sockets_changed() { [ -f "$IN_FORCE" ] && [ "$(socket_files)" != "$(cat "$IN_FORCE")" ]; }

remember_sockets() {
	if systemd_runs && [ ! -f "$IN_FORCE" ]; then socket_files >"$IN_FORCE"; fi
}
