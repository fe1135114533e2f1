#!/bin/sh
# Runs inside the arm64 machine of host_aarch64_test.go, as a service, and speaks to the console: each line
# "RESULT name status" is one outcome. Below /selftest are the sources, what was built of them, and this.
cd /selftest || exit 1

result() { echo "RESULT $1 $2 after $(cut -d. -f1 /proc/uptime) s"; }

echo "KERNEL $(uname -rm)"

for binary in built/*.test; do
	name=$(basename "$binary" .test)
	folder=$(echo "$name" | tr _ /)
	# The timeout is for what hangs: emulation on a slow processor takes privsep alone 170 s. The test that
	# started this machine has a bound for all of it.
	# Debian's certificates, which TestSandboxVerifiesTLS needs, are made by a configuration that did not run.
	some=.
	[ "$name" != exec ] || some='^(TestACommandIsTheSameOnEachKernel|TestAFailedStartLeavesNothing|TestTheStepThatFailedIsTold|TestAChildIsBornWithFewDescriptors|TestLimitsHold.*)$'
	(cd "src/$folder" && "/selftest/$binary" -test.v -test.short -test.timeout 300s -test.run "$some" -test.skip '^TestSandboxVerifiesTLS$' 2>&1)
	result "package $name" $?
done

mkdir -p /root/release/bin
cp -r src/install.sh src/units src/man /root/release/ 2>/dev/null
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
ps -o args= -C dataflux-func-sidecar
pkill -KILL -f 'dataflux-func-sidecar network'
sleep 3
case $(call 'echo again') in *'again\n'*) result 'call after a kill' 0 ;; *) result 'call after a kill' 1 ;; esac
journalctl --no-pager -o cat -u dataflux-func-sidecar
