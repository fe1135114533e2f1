# shellcheck shell=sh
NAME=dataflux-func-sidecar
# 0: removal; 1: the old version of an upgrade, which serves until the restart.
if [ "$1" -eq 0 ]; then
	systemctl --no-reload --quiet disable "$NAME.service" "$NAME.socket" "$NAME-metrics.socket" || :
	if [ -d /run/systemd/system ]; then
		systemctl stop "$NAME.service" "$NAME.socket" "$NAME-metrics.socket" "$NAME-ports.service" "$NAME-reload.path" || :
	fi
fi
