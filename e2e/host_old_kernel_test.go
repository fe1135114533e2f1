package e2e

import (
	"strings"
	"testing"
)

// since419 are the system calls that came after Linux 4.19: RHEL 8 runs 4.18, openEuler 20.03 runs 4.19.
// since310 came between 3.10, which CentOS 7 runs, and 4.19, less seccomp, without which there is no start.
const (
	since419 = "pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig " +
		"fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 process_madvise epoll_pwait2 " +
		"mount_setattr landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret process_mrelease futex_waitv"
	since310 = "sched_setattr sched_getattr renameat2 getrandom memfd_create kexec_file_load bpf execveat userfaultfd " +
		"membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx io_pgetevents rseq"
)

// withoutCalls makes the daemon and its commands live as on a kernel that lacks system calls. What these
// kernels lack besides, cgroups of version 2 in their usual layout, is put out of reach.
func (m *machine) withoutCalls(calls string) {
	m.t.Helper()
	m.write("/etc/systemd/system/"+service+".d/old-kernel.conf",
		"[Service]\nSystemCallFilter=~"+calls+"\nSystemCallErrorNumber=ENOSYS\nInaccessiblePaths=/sys/fs/cgroup\n")
	m.sh("systemctl daemon-reload; systemctl restart " + service)
}

// TestKernelsOfEnterpriseLinux boots once for all of them.
func TestKernelsOfEnterpriseLinux(t *testing.T) {
	m := installed(t)
	for _, calls := range []string{since419, since419 + " " + since310} {
		m.withoutCalls(calls)
		m.checkCallIsMissing("pidfd_open")
		m.checkServes()
		m.checkEndsWhatLeftItsGroup()
		m.checkStopStartRestart()
		m.checkSurvivesKills()
	}
}

// checkCallIsMissing looks from within a command, which inherits what the daemon has to live with.
func (m *machine) checkCallIsMissing(name string) {
	m.t.Helper()
	script := map[string]string{"pidfd_open": "import os; os.pidfd_open(1)"}[name]
	said := m.client(defaultAddress).shell(m.t, "python3 -c '"+script+"' 2>&1")
	if !strings.Contains(said, "Function not implemented") {
		m.t.Fatalf("%s is there: %s", name, said)
	}
}
