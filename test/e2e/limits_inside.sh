#!/bin/sh
# Runs inside the machine of limits_test.go, as a service.
cd /root || exit 1
# shellcheck source-path=SCRIPTDIR source=inside_functions.sh
. /selftest/functions
unit=/sys/fs/cgroup/system.slice/$service

/root/release/install.sh --bind 127.0.0.1:8099 2>&1
result install $?

if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
	# The hybrid layout: version 1 has the controllers, and limits are those of processes.
	configure 'LIMIT_MEMORY = 268435456' 'LIMIT_PROCESSES = 300' 'LIMIT_CPUS = 1' 'LIMIT_CPU_WEIGHT = 50' 'LIMIT_IO_WEIGHT = 50' 'TOTAL_MEMORY = 536870912'
	systemctl restart $service
	check 'limits of processes' "$(call 'ulimit -v; ulimit -p')" '*"stdout":"262144?n300?n"*"oomKilled":false,"limitsBy":"process"*'
	check 'log of processes' "$(journal)" '*cannot be bounded as a whole: *no controller memory, pids, cpu, io: *'
	check 'log of totals' "$(journal)" '*TOTAL_MEMORY or TOTAL_PROCESSES has no effect: *no controller memory: *'
	check 'check' "$(dataflux-func-sidecar check 2>&1)" '*LIMIT_MEMORY bounds the address space*LIMIT_CPU_WEIGHT has no effect*LIMIT_IO_WEIGHT has no effect*TOTAL_MEMORY has no effect*'
	exit
fi

# The tests of exec that need the controllers. A command of one reads the disk.
chmod 644 /dev/nvme0n1
(cd /selftest && ./exec.test -test.v -test.timeout 15m -test.run '^TestControllers_' 2>&1)
result 'package exec' $?

# Without a limit, no controller is enabled.
check 'no limit' "$(call 'ulimit -v')" '*"stdout":"unlimited?n"*"memoryPeakBytes":null,"oomKilled":false,"limitsBy":null*'
check 'no controller' "$(cat $unit/cgroup.subtree_control $unit/jobs/cgroup.subtree_control)" ''

# A reload brings limits into force.
before=$(main_pid)
configure 'LIMIT_MEMORY = 67108864' 'LIMIT_PROCESSES = 20' 'LIMIT_CPUS = 1.5' 'LIMIT_CPU_WEIGHT = 200' 'TOTAL_MEMORY = 536870912' 'TOTAL_PROCESSES = 500'
systemctl reload $service
check reload "$? $(main_pid)" "0 $before"
check totals "$(cat $unit/jobs/memory.max $unit/jobs/memory.swap.max $unit/jobs/pids.max 2>&1 | tr '\n' ' ')" '536870912 * 500 '
# What a virtual machine of a language reserves and does not use does not count.
reserve="python3 -c 'import mmap; mmap.mmap(-1, 8<<30, flags=mmap.MAP_PRIVATE|mmap.MAP_ANONYMOUS|0x4000); print(1)'"
check 'address space' "$(call "$reserve")" '*"stdout":"1?n"*"oomKilled":false,"limitsBy":"cgroup"*'
# Memory that is written to.
take="python3 -c 'print(len(bytes(1) * (80 << 20)))'"
check 'killed' "$(call "$take")" '*for its memory*"signal":"SIGKILL"*"oomKilled":true,"limitsBy":"cgroup"*'
check 'killed, in the journal' "$(journalctl --no-pager -o cat SIDECAR_OOM_KILLED=true)" '*for its memory*'
check 'own limit' "$(call "$take" ',"limits":{"memory":33554432}')" '*"oomKilled":true*'
check 'above the ceiling' "$(call true ',"limits":{"memory":1073741824,"cpus":1}')" '*LIMIT_MEMORY*'
check 'processors above the ceiling' "$(call true ',"limits":{"cpus":2}')" '*at most 1.5 is allowed here (LIMIT_CPUS)*'
check 'processes' "$(call 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do sleep 1 & done; echo all')" '*"stdout":""*ork*'
# Weights. A kernel without io.cost and BFQ has none of I/O, and the answer says so.
held='default 30?n"*"limitsBy":"cgroup"'
[ -e $unit/io.weight ] || held='"*"limitsBy":"process"'
# shellcheck disable=SC2016 # the shell of the command expands it
weights='g=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup); cat $g/cpu.weight $g/io.weight'
check 'configured weight' "$(call "$weights")" '*"stdout":"200?n*"limitsBy":"cgroup"*'
check 'own weights' "$(call "$weights" ',"limits":{"cpuWeight":20,"ioWeight":30}')" "*\"stdout\":\"20?n$held*"
check 'weight above the ceiling' "$(call true ',"limits":{"cpuWeight":201}')" '*at most 200 is allowed here (LIMIT_CPU_WEIGHT)*'
# The daemon has as much as all commands together.
check 'weights of the daemon' "$(cat $unit/daemon/cpu.weight $unit/jobs/cpu.weight | tr '\n' ' ')" '100 100 '
# A command cannot lift its limits.
# shellcheck disable=SC2016 # the shell of the command expands it
lift='g=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup); for f in memory.max pids.max cpu.max cpu.weight io.weight cgroup.procs ../memory.max ../cgroup.subtree_control; do echo 1 2>/dev/null >$g/$f && echo $f; done; echo end'
check 'no way out' "$(call "$lift")" '*"stdout":"end?n"*'

# Totals change under running commands, which go on with their own limits; the unit's own bounds
# stay those of the operator.
dataflux-func-sidecar shell --no-wait --job-id long 'until [ -e /tmp/go ]; do sleep 0.5; done; exit 7' >/dev/null
configure 'LIMIT_MEMORY = 134217728' 'TOTAL_PROCESSES = 400'
systemctl reload $service
systemctl set-property --runtime $service MemoryMax=1G TasksMax=3000
systemctl daemon-reload
check 'changed totals' "$(cat $unit/jobs/memory.max $unit/jobs/pids.max $unit/memory.max $unit/pids.max | tr '\n' ' ')" 'max 400 1073741824 3000 '
check 'limits of a running command' "$(cat $unit/jobs/*/memory.max | sort -n | tr '\n' ' ')" '*67108864 *'
# shellcheck disable=SC2016
check 'after daemon-reload' "$(call 'cat /sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/memory.max')" '*"stdout":"134217728?n"*'
touch /tmp/go
dataflux-func-sidecar wait long
check 'the running command' $? 7

# A restart, and a daemon that was killed while processes live on in its cgroup.
systemctl restart $service
check restart "$? $(journal | grep -c 'hold for each command as a whole')" '0 [1-9]'
check 'after restart' "$(call true)" '*"limitsBy":"cgroup"*'
check check "$(dataflux-func-sidecar check 2>&1)" '*hold for each command as a whole*'
mkdir -p /run/systemd/system/$service.d
printf '[Service]\nKillMode=process\n' >/run/systemd/system/$service.d/kill.conf
systemctl daemon-reload
call 'setsid env --ignore-signal=TERM sleep 1000 </dev/null >/dev/null 2>&1 &' >/dev/null
before=$(main_pid)
kill -KILL "$before"
for _ in $(seq 60); do
	case $(main_pid) in 0 | "$before") sleep 0.5 ;; *) break ;; esac
done
systemctl start $service
check 'after a kill' "$? $(pgrep -xc sleep) $(call true)" '0 1 *"limitsBy":"cgroup"*'
systemctl stop $service
check 'after stop' "$(pgrep -xc sleep) $(cat $unit/cgroup.subtree_control)" '1 '
systemctl start $service
check 'start again' "$? $(call true)" '0 *"limitsBy":"cgroup"*'
pkill -KILL -x sleep # the shutdown would wait for it for 90 s

echo "the end of the journal:"
journal | tail -n 15
