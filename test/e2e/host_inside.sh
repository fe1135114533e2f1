#!/bin/sh
# Runs inside the machines of host_kernels_test.go and host_aarch64_test.go, as a service: the tests
# of the packages in /selftest/built, and then what an operator does with the program. The machine
# may have the sources in /selftest/src.
# shellcheck source-path=SCRIPTDIR source=inside_functions.sh
. /selftest/functions

# denials prints the denials of SELinux since the last call, one for each kind.
denied=0
denials() {
	dmesg | grep 'avc:  denied' | tail -n +$((denied + 1)) | sed "s/^.*avc:  denied/$1/; s/pid=[0-9]* //; s/ino=[0-9]* //" | sort | uniq -c
	denied=$(dmesg | grep -c 'avc:  denied')
}
[ ! -e /sys/fs/selinux/enforce ] || echo "SELINUX $(getenforce)"
denials 'DENIED before'

for binary in /selftest/built/*.test; do
	[ -e "$binary" ] || break
	name=$(basename "$binary" .test)
	folder=$(echo "$name" | tr _ /)
	# The timeout is for tests that hang: privsep alone takes 170 s, emulated on a slow processor,
	# and more than 300 s on a busy one.
	# The test that started this machine bounds the total. TestSandbox_CallbacksOverTLS needs
	# Debian's certificates. They are made when packages are configured, which did not happen here.
	# TestHandOver_Commands waits for two minutes here; the reload below is the whole of it.
	# The order of requests and the bound of a DNS answer depend on time, which emulation stretches.
	not='^(TestSandbox_CallbacksOverTLS|TestRequest_SmallAmongLarge|TestNameServers_Dial)$'
	some=.
	[ "$name" != exec ] || some='^(TestSpawn_EachKernel|TestStart_FailureLeavesNothing|TestSpawn_FewDescriptors|TestLimits_All|TestRunAs_.*|TestHandOver_Abandoned|TestRestore_Refuses)$'
	(cd "/selftest/src/$folder" && "$binary" -test.v -test.short -test.timeout 500s -test.run "$some" -test.skip "$not" 2>&1)
	result "package $name" $?
done

cd /root || exit 1
trap 'echo "the end of the journal:"; journal | tail -n 60' EXIT
/root/release/install.sh --bind 127.0.0.1:8099 2>&1
result install $?
check call "$(call 'uname -m; id -un')" "*\"stdout\":\"$(uname -m)?ndffs?n\"*"
executor=$(main_pid)
role=$(id -u dffs-sidecar) run=$(id -u dffs)
uids() { sed -n 's/^Uid:[[:space:]]*//p' "/proc/$executor/status" | tr '\t' ' '; }
network() { pgrep -f '^dataflux-func-sidecar network'; }
check 'three principals' "$(uids)" "$role $run $role $role"
check oom_score_adj "$(cat "/proc/$executor/oom_score_adj") $(call 'sleep 3; cat /proc/self/oom_score_adj')" '-100 *"stdout":"0?n"*'

# A reload with limits and another program, while a job runs. A kernel before 6.16 changes the
# effective ids of a process without new privileges at an execve; the executor is none.
installed=/usr/local/bin/dataflux-func-sidecar
dataflux-func-sidecar shell --no-wait --job-id long 'until [ -e /tmp/go ]; do sleep 1; done; echo to the end; exit 7'
configure 'LIMIT_MEMORY = 67108864' 'LIMIT_PROCESSES = 50'
cp -p "$installed" "$installed.new"
mv "$installed.new" "$installed"
systemctl reload $service
reloaded=$?
touch /tmp/go
said=$(dataflux-func-sidecar jobs --follow long)
check reload "$reloaded $(main_pid) $(readlink "/proc/$executor/exe") $(uids) $said" "0 $executor $installed $role $run $role $role to the end"

# after_kill NAME PID: the service answers again.
after_kill() {
	kill -KILL "$2"
	for _ in $(seq 60); do
		sleep 1
		case $(call 'echo again' 2>/dev/null) in *'again\n'*) break ;; esac
	done
	check "$1" "$(call 'echo again' 2>&1)" '*again?n*'
}
after_kill 'kill of the network role' "$(network)"

# With -short, as .ci/run has no time for the rest.
[ ! -e /selftest/short ] || exit

after_kill 'kill of the executor' "$(main_pid)"
check limits "$(call true)" '*"oomKilled":false,"limitsBy":"cgroup"*'
check 'killed for its memory' "$(call "python3 -c 'print(len(bytes(1) * (80 << 20)))'")" '*"oomKilled":true,"limitsBy":"cgroup"*'

# Both layers of the sandbox, where the kernel has them.
check seccomp "$(grep -h ^Seccomp: "/proc/$(network)/status")" 'Seccomp:*2'
checked=$(dataflux-func-sidecar check 2>&1)
echo "$checked" | sed -n 's/.*the kernel has Landlock, version /LANDLOCK /p'
landlock='*the kernel has Landlock, version [1-9]*'
case $(uname -r) in 5.10.*) landlock='*This kernel has no Landlock: the network role can read*' ;; esac
check Landlock "$checked $(journal)" "$landlock"
check check "$checked" "*a signed call ran a command*"

systemctl stop $service
check stop "$? $(call true 2>&1)" '0 curl: (7)*'
systemctl start $service
check start "$? $(call 'echo again')" '0 *again?n*'
/root/release/install.sh --uninstall --purge 2>&1
result uninstall $?
left=$(ls -d /etc/dataflux-func-sidecar* /etc/systemd/system/dataflux* /var/lib/dataflux* /usr/local/bin/dataflux* /run/dataflux* 2>/dev/null; getent passwd dffs dffs-sidecar)
check 'nothing is left' "$left" ''
denials 'DENIED after'
