# shellcheck shell=sh
# Brings a new program into force in a running service, as install.sh does.

look_at_service() {
	MAIN_PID=0
	case $(systemctl is-active "$NAME.service" || :) in
	active | reloading)
		MAIN_PID=$(systemctl show -p MainPID "$NAME.service")
		MAIN_PID=${MAIN_PID#*=}
		;;
	esac
}

# A reload ends nothing. False if the service must be restarted instead, because it does not run or
# its program cannot reload. After a refusal, which names its reason, the running program continues.
reload_service() {
	[ "$MAIN_PID" != 0 ] || return
	status=0
	said=$("/usr/bin/$NAME" reload </dev/null 2>&1) || status=$?
	[ "$status" -ne 3 ] || return
	printf '%s\n' "$said" >&2
	[ "$status" -eq 0 ] ||
		say "the reload was refused, so the service continues with the program that was installed before. hint:" \
			"correct the cause and run sudo systemctl reload $NAME; or run sudo systemctl restart $NAME, which ends" \
			"what still runs after DRAIN_TIMEOUT" >&2
}

# end_and_restart COMMAND...: says what a restart of the running service waits for, and what it has
# ended.
end_and_restart() {
	find_own_command
	if [ -n "$OWN_COMMAND" ]; then
		run_later "$@"
	elif [ "$MAIN_PID" = 0 ]; then
		"$@" >/dev/null
	else
		say "the service must restart for this change" >&2
		tell_what_runs
		began=$(date +%s)
		"$@" </dev/null >/dev/null || return
		tell_what_ended
	fi
}

tell_what_runs() {
	jobs=$(timeout 10 "/usr/bin/$NAME" jobs --json 2>/dev/null) || return 0
	running=$(printf %s "$jobs" | tr -d ' \n' | grep -o '"state":"running"' | wc -l)
	queued=$(printf %s "$jobs" | tr -d ' \n' | grep -o '"state":"queued"' | wc -l)
	limit=$(sed -n 's/^[[:space:]]*DRAIN_TIMEOUT[[:space:]]*=[[:space:]]*"\([^"]*\)".*/\1/p' "/etc/$NAME")
	[ "$running$queued" != 00 ] || return 0
	say "commands: $running running, $queued queued; they have ${limit:-30s} (DRAIN_TIMEOUT), then they are ended" >&2
}

# What the daemon said on its way out. A command cannot pretend to be that process.
tell_what_ended() {
	journalctl --sync 2>/dev/null || :
	journalctl --quiet --output=cat --since="@$began" "_PID=$MAIN_PID" 2>/dev/null |
		grep -E '^(Draining|Stopping|Ending|Sent SIGTERM|Stopped)' >&2 || :
}

# Sets OWN_COMMAND to the process of the service in which this runs, or nothing. The restart would
# wait for that command, and that command for the restart.
find_own_command() {
	OWN_COMMAND=
	[ "$MAIN_PID" != 0 ] || return 0
	pid=$$
	while [ "$pid" -gt 1 ]; do
		top=$pid
		pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status") || return 0
		if [ "$pid" = "$MAIN_PID" ]; then OWN_COMMAND=$top; fi
	done
	if grep -q "/$NAME\.service" /proc/self/cgroup; then OWN_COMMAND=${OWN_COMMAND:-$top}; fi
}

# run_later COMMAND...
run_later() {
	say "this runs in a command of the service, so the service restarts when that command has ended" >&2
	if systemctl --quiet is-active "$NAME-restart.service"; then return; fi
	# shellcheck disable=SC2016 # for the other shell to expand
	systemd-run --quiet --unit="$NAME-restart" \
		/bin/sh -c 'while [ -e "/proc/$0" ]; do sleep 1; done; exec "$@"' "$OWN_COMMAND" "$@"
}
