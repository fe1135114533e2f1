#!/bin/sh
# Runs the end-to-end suite on each Debian and cgroup layout, and the machines that boot a kernel of
# their own. Prints one line per cell, with its time, a row for each such machine (suite, kernel,
# systemd, version of Landlock, outcomes, tests of packages), SELinux's denials, and the exposure of
# the service as systemd rates it. Fails if a cell fails.
#
#   matrix.sh                 every cell, with all tests
#   matrix.sh smoke [CELL…]   the cells, two at a time, with the tests that must hold on every host
set -u
cd "$(dirname "$0")/../.." || exit
export SIDECAR_NO_SKIP=1
all='bullseye/hybrid bullseye/unified bookworm/hybrid bookworm/unified trixie/hybrid trixie/unified
	sid/unified bullseye/kernel bookworm/kernel trixie/kernel sid/kernel trixie/selinux
	bookworm/runtimes arm64-tests arm64'

# cell SUITE/LAYOUT, SUITE/kernel (a machine with a kernel of its own), SUITE/selinux (one that also
# enforces Debian's policy), SUITE/runtimes (one that runs Node.js and Java), arm64 (one with a
# kernel of its own), or arm64-tests.
cell() {
	case $1 in
	arm64-tests) emulated || emulated ;; # its fork hangs now and then
	arm64) booted '^TestArm64_Kernel$' ;;
	*/kernel) SIDECAR_E2E_SUITE=${1%/*} booted '^TestHost_OwnKernel$' ;;
	*/selinux) SIDECAR_E2E_SUITE=${1%/*} booted '^TestHost_SELinux$' ;;
	*/runtimes) SIDECAR_E2E_SUITE=${1%/*} booted '^TestLimits_NodeAndJava$' ;;
	*) SIDECAR_E2E_SUITE=${1%/*} SIDECAR_E2E_CGROUP=${1#*/} \
		go test -count=1 -v -timeout 40m -parallel 6 -run "$TESTS" ./test/e2e ;;
	esac
}

# shellcheck disable=SC2086
booted() { go test -tags matrix -count=1 -v $SHORT -timeout 30m -run "$1" ./test/e2e; }

# emulated runs unit tests, each program of which is emulated: of packages that need neither
# seccomp, Landlock nor vfork with a pidfd, which that lacks, and that start few processes.
emulated() {
	CGO_ENABLED=0 GOARCH=arm64 go test -exec "$(command -v qemu-aarch64-static)" -count=1 -v -short -timeout 2m \
		./internal/client ./internal/config ./internal/config/legacy ./internal/firewall ./internal/handover \
		./internal/host ./internal/journal ./listener ./privsep/message ./sign ./units
}

# run_cell CELL prints the outcome of a cell, and the path of its log if it failed.
run_cell() {
	log=$LOGS/$(echo "$1" | tr / -)
	began=$(date +%s)
	outcome=passed
	cell "$1" >"$log" 2>&1 || outcome=FAILED
	printf '%-18s %-7s %4d s, %d tests passed\n' "$1" "$outcome" $(($(date +%s) - began)) "$(grep -c '^--- PASS' "$log")"
	[ "$outcome" = passed ] && return
	grep -E -A 3 '^ *--- FAIL|^panic|^running tests|^FAIL' "$log"
	echo "its whole log: $log"
	return 1
}

case ${1:-} in
cell)
	run_cell "$2"
	exit
	;;
smoke)
	shift
	cells=${*:-$all} at_once=2 TESTS='^Test(EveryHost|Units)' SHORT=-short
	;;
*) cells=$all at_once=1 TESTS=. SHORT='' ;;
esac
export TESTS LOGS SHORT
LOGS=$(mktemp -d)
failed=0
# shellcheck disable=SC2086
printf '%s\n' $cells | xargs -n 1 -P "$at_once" test/e2e/matrix.sh cell || failed=1
grep -hoE '(row:|[0-9]+ DENIED) .*' "$LOGS"/*
grep -ho '[^ ]* of systemd [0-9]*: Overall exposure.*' "$LOGS"/* | sort -u
[ "$failed" -eq 0 ] && rm -r "$LOGS"
exit "$failed"
