#!/bin/sh
# Functions of the scripts that run inside a machine with a kernel of its own, limits_inside.sh and
# host_inside.sh, and write to its console. Each line "RESULT name status" is one outcome.
service=dataflux-func-sidecar.service
configuration=/etc/dataflux-func-sidecar

result() { echo "RESULT $1 $2 after $(cut -d. -f1 /proc/uptime) s"; }

# check NAME GOT WANT: WANT is a pattern of the shell.
check() {
	# shellcheck disable=SC2254
	case $2 in
	$3) result "$1" 0 ;;
	*)
		echo "$1: got $2, want $3"
		result "$1" 1
		;;
	esac
}

# call COMMAND [JSON]: JSON is the further members of the body, with a comma first.
call() {
	dataflux-func-sidecar sign http://127.0.0.1:8099/shell "{\"command\":\"$1\"${2-}}" | timeout 300 curl -sS --config -
}
main_pid() { systemctl show --value -p MainPID $service; }
journal() { journalctl --no-pager -o cat -u $service; }
# configure LINE…: the limits of the configuration, instead of those that it has.
configure() {
	sed -i '/^LIMIT_\|^TOTAL_/d' $configuration
	for line; do echo "$line" >>$configuration; done
}

echo "KERNEL $(uname -rm) $(systemctl --version | head -n 1)"
