package e2e

import (
	"strings"
	"testing"
)

// since419 lists the system calls added after Linux 4.19: RHEL 8 runs 4.18, openEuler 20.03 runs
// 4.19. since310 lists those added between 3.10, which CentOS 7 runs, and 4.19, except for seccomp,
// without which the daemon does not start.
const (
	since419 = "pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig " +
		"fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 process_madvise epoll_pwait2 " +
		"mount_setattr landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret process_mrelease futex_waitv"
	since310 = "sched_setattr sched_getattr renameat2 getrandom memfd_create kexec_file_load bpf execveat userfaultfd " +
		"membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx io_pgetevents rseq"
)

// withoutCalls runs the daemon and its commands as on a kernel that lacks the system calls. These
// kernels also lack cgroups of version 2 in their usual layout, which is made unreachable.
func (m *machine) withoutCalls(calls string) {
	m.t.Helper()
	m.write("/etc/systemd/system/"+service+".d/old-kernel.conf",
		"[Service]\nSystemCallFilter=~"+calls+"\nSystemCallErrorNumber=ENOSYS\nInaccessiblePaths=/sys/fs/cgroup\n")
	m.sh("systemctl daemon-reload; systemctl restart " + service)
}

// TestKernel_OldOnesOfEnterpriseLinux boots once for all of them.
func TestKernel_OldOnesOfEnterpriseLinux(t *testing.T) {
	m := installed(t)
	for _, calls := range []string{since419, since419 + " " + since310} {
		m.withoutCalls(calls)
		m.checkReload(!strings.Contains(calls, "memfd_create"))
		m.checkCallIsMissing("pidfd_open")
		m.checkServes()
		m.checkEndsWhatLeftItsGroup()
		m.checkStopStartRestart()
		m.checkSurvivesKills()
	}
}

// checkCallIsMissing checks from a command, which inherits the daemon's filter, that the call is
// missing.
func (m *machine) checkCallIsMissing(name string) {
	m.t.Helper()
	script := map[string]string{"pidfd_open": "import os; os.pidfd_open(1)"}[name]
	said := m.client(defaultAddress).shell(m.t, "python3 -c '"+script+"' 2>&1")
	if !strings.Contains(said, "Function not implemented") {
		m.t.Fatalf("%s is there: %s", name, said)
	}
}

// checkReload reloads, which needs memfd_create and execveat, and a command that runs.
func (m *machine) checkReload(works bool) {
	t := m.t
	t.Helper()
	executor, c := m.executor(), m.client(defaultAddress)
	m.sh("rm -f /tmp/runs /tmp/go")
	waiting := c.inBackground(map[string]any{"command": "touch /tmp/runs; until [ -e /tmp/go ]; do sleep 0.1; done; echo end"})
	m.eventually("the command runs", func() bool { _, status := m.try("test", "-e", "/tmp/runs"); return status == 0 })
	if output, status := m.try("systemctl", "reload", service); (status == 0) != works {
		t.Errorf("systemctl reload: got status %d, want success %v: %s", status, works, output)
	}
	if !works {
		m.awaitEntry("no daemon that can reload was reached: a reload needs Linux 3.19")
	}
	m.run("touch", "/tmp/go")
	if got := <-waiting; got.err != nil || got.answer.Data == nil || got.answer.Data.Stdout != "end\n" {
		t.Errorf("got the answer %+v, %v, want end", got.answer, got.err)
	}
	if got := m.executor(); got != executor {
		t.Errorf("got executor %s, want %s as before", got, executor)
	}
}
