# shellcheck shell=sh
NAME=dataflux-func-sidecar

case $1 in
remove)
	if [ -d /run/systemd/system ]; then
		deb-systemd-invoke stop "$NAME.service" "$NAME.socket" "$NAME-metrics.socket" "$NAME-ports.service" "$NAME-reload.path" >/dev/null || :
	fi
	;;
# The old program serves until the new one is configured and gets its sockets.
upgrade | deconfigure | failed-upgrade) ;;
*)
	echo "prerm: unknown argument $1" >&2
	exit 1
	;;
esac
