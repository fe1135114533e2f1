#!/bin/sh
# Runs inside the arm64 machine of host_aarch64_test.go, as a service, and writes to the console.
# Each line "RESULT name status" is one outcome. /selftest has the sources, the built tests, and
# this script.
cd /selftest || exit 1

result() { echo "RESULT $1 $2 after $(cut -d. -f1 /proc/uptime) s"; }

echo "KERNEL $(uname -rm)"

for binary in built/*.test; do
	name=$(basename "$binary" .test)
	folder=$(echo "$name" | tr _ /)
	# The timeout is for tests that hang: privsep alone takes 170 s, emulated on a slow processor.
	# The test that started this machine bounds the total. TestSandbox_CallbacksOverTLS needs
	# Debian's certificates. They are made when packages are configured, which did not happen here.
	# TestHandOver_Commands waits for two minutes here; the reload below is the whole of it.
	# The order of requests and the bound of a DNS answer depend on time, which emulation stretches.
	not='^(TestSandbox_CallbacksOverTLS|TestRequest_SmallAmongLarge|TestNameServers_Dial)$'
	some=.
	[ "$name" != exec ] || some='^(TestSpawn_EachKernel|TestStart_FailureLeavesNothing|TestSpawn_FewDescriptors|TestLimits_All|TestRunAs_.*|TestHandOver_Abandoned|TestRestore_Refuses)$'
	(cd "src/$folder" && "/selftest/$binary" -test.v -test.short -test.timeout 300s -test.run "$some" -test.skip "$not" 2>&1)
	result "package $name" $?
done

mkdir -p /root/release/bin /root/release/packaging
cp -r src/install.sh src/units /root/release/
cp -r src/packaging/man /root/release/packaging/
cp built/program /root/release/bin/dataflux-func-sidecar
chmod 755 /root/release/bin/dataflux-func-sidecar
/root/release/install.sh --bind 127.0.0.1:8099 2>&1
result install $?
call() {
	dataflux-func-sidecar sign http://127.0.0.1:8099/shell "{\"command\":\"$1\"}" | timeout 30 curl -sS --config -
}
answer=$(call 'uname -m; id -un')
echo "$answer"
case $answer in *'"stdout":"aarch64\ndffs\n"'*) result call 0 ;; *) result call 1 ;; esac
main_pid() { systemctl show --value -p MainPID dataflux-func-sidecar; }
executor=$(main_pid)
role=$(id -u dffs-sidecar) run=$(id -u dffs)
uids() { sed -n 's/^Uid:[[:space:]]*//p' "/proc/$executor/status" | tr '\t' ' '; }
echo "the executor's uids: $(uids)"
if [ "$(uids)" = "$role $run $role $role" ]; then result 'three principals' 0; else result 'three principals' 1; fi
case "$(cat "/proc/$executor/oom_score_adj") $(call 'sleep 3; cat /proc/self/oom_score_adj')" in
'-100 '*'"stdout":"0\n"'*) result 'oom_score_adj' 0 ;;
*) result 'oom_score_adj' 1 ;;
esac

# A reload with another configuration and another program, while a job runs. A kernel before 6.16
# changes the effective ids of a process without new privileges at an execve; the executor is none.
installed=/usr/local/bin/dataflux-func-sidecar
dataflux-func-sidecar shell --no-wait --job-id long 'until [ -e /tmp/go ]; do sleep 1; done; echo to the end; exit 7'
echo 'MAX_QUEUED = 7' >>/etc/dataflux-func-sidecar
cp -p "$installed" /root/another
mv /root/another "$installed"
systemctl reload dataflux-func-sidecar
reloaded=$?
touch /tmp/go
said=$(dataflux-func-sidecar jobs --follow long)
echo "reload: status $reloaded, pid $executor and now $(main_pid), $(readlink "/proc/$executor/exe"), uids $(uids), the job says: $said"
case "$reloaded $(main_pid) $(readlink "/proc/$executor/exe") $(uids) $said" in
"0 $executor $installed $role $run $role $role to the end") result reload 0 ;;
*) result reload 1 ;;
esac

ps -o args= -C dataflux-func-sidecar
pkill -KILL -f 'dataflux-func-sidecar network'
sleep 3
case $(call 'echo again') in *'again\n'*) result 'call after a kill' 0 ;; *) result 'call after a kill' 1 ;; esac
journalctl --no-pager -o cat -u dataflux-func-sidecar
