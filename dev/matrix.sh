#!/bin/sh
# The end-to-end suite on each Debian and cgroup layout, and the arm64 machine: one line per cell, with the
# time it took, and how exposed systemd calls the service. Fails if a cell failed. `matrix.sh smoke` runs, on the cells that are named after it (all
# without), only what must hold on every host.
set -u
cd "$(dirname "$0")/.." || exit
tests=.
cells='bullseye/hybrid bullseye/unified bookworm/hybrid bookworm/unified trixie/hybrid trixie/unified arm64-tests arm64'
if [ "${1:-}" = smoke ]; then
	shift
	tests='^Test(EveryHost|Units)'
	cells=${*:-$cells}
fi
logs=$(mktemp -d)
export SIDECAR_NO_SKIP=1

# cell SUITE/LAYOUT, arm64 (a machine with a kernel of its own), or arm64-tests: the unit tests of packages
# that do without what emulation of a single program lacks, which are seccomp, Landlock and vfork with a pidfd.
cell() {
	case $1 in
	arm64-tests) CGO_ENABLED=0 GOARCH=arm64 go test -exec "$(command -v qemu-aarch64-static)" -count=1 -v -short -timeout 10m \
		./certificate ./client ./config ./doctor ./host ./journal ./listener ./privsep/message ./sign ./units ;;
	arm64) go test -tags matrix -count=1 -v -timeout 15m -run '^TestOnAnArm64Kernel$' ./e2e ;;
	*) SIDECAR_E2E_SUITE=${1%/*} SIDECAR_E2E_CGROUP=${1#*/} \
		go test -count=1 -v -timeout 40m -run "$tests" ./e2e ;;
	esac
}

failed=0
for name in $cells; do
	log=$logs/$(echo "$name" | tr / -)
	began=$(date +%s)
	outcome=passed
	cell "$name" >"$log" 2>&1 || outcome=FAILED
	printf '%-18s %-7s %4d s, %d tests passed\n' "$name" "$outcome" $(($(date +%s) - began)) "$(grep -c '^--- PASS' "$log")"
	if [ "$outcome" = FAILED ]; then
		failed=1
		grep -E '^ *--- FAIL|^panic|^FAIL' "$log" || true
		echo "its whole log: $log"
	fi
done
grep -ho '[^ ]* of systemd [0-9]*: Overall exposure.*' "$logs"/* | sort -u
[ "$failed" -eq 0 ] && rm -r "$logs"
exit "$failed"
