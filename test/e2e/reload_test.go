package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"dataflux-func-sidecar/units"
)

// TestReload_Service reloads a service again and again, with a job that writes, and compares what
// the kernel, systemd and the journal say of it before and after.
func TestReload_Service(t *testing.T) {
	m := installed(t)
	m.sh("mkdir -m 0777 /tmp/reload")
	m.sh(`dataflux-func-sidecar shell --no-wait --job-id long 'i=0; until test -e /tmp/reload/end; do i=$((i+1)); echo line $i; sleep 0.01; done; exit 7'`)
	m.eventually("output", func() bool {
		return strings.Contains(m.run("journalctl", "--quiet", "SIDECAR_JOB_ID=long"), "Command started")
	})
	pid := m.run("pgrep", "--oldest", "-u", "dffs", "-f", "reload/end")
	look := func() string {
		return m.sh(fmt.Sprintf(`
			main=$(systemctl show --value -p MainPID %[1]s)
			echo main $main, $(systemctl show --value -p NRestarts %[1]s) restarts, $(systemctl is-active %[1]s)
			grep -h '^[UG]id:\|^Groups:\|^Cap\|^NoNewPrivs:\|^SigBlk:\|^SigIgn:' /proc/$main/task/*/status | sort -u
			cat /proc/$main/oom_score_adj /proc/$main/comm /proc/$main/cgroup
			grep 'open files' /proc/$main/limits
			cat /proc/%[2]s/cgroup
			test -e /sys/fs/cgroup/cgroup.procs && root=/sys/fs/cgroup || root=/sys/fs/cgroup/unified
			grep . $root$(sed -n s/^0:://p /proc/%[2]s/cgroup)/cgroup.freeze
			stat -c '%%n %%U %%a' /var/lib/dataflux-func-sidecar/*
			ps -o ppid= -p %[2]s`, service, pid))
	}
	before := look()
	m.sh("cp -p /etc/dataflux-func-sidecar /root/before")
	for i := range 10 {
		m.sh(fmt.Sprintf("echo 'MAX_BODY = %d' >> /etc/dataflux-func-sidecar; systemctl reload %s; cp -p /root/before /etc/dataflux-func-sidecar", 2_000_000+i, service))
		m.checkAnswers(defaultAddress)
	}
	if after := look(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	m.eventually("two processes", func() bool {
		return m.run("pgrep", "-c", "-u", "dffs-sidecar") == "1"
	})
	first := m.descriptors()
	for range 5 {
		m.run("systemctl", "reload", service)
	}
	m.eventually("no more descriptors", func() bool { return m.descriptors() <= first })
	if text := m.run("systemctl", "show", "--value", "-p", "StatusText", service); !strings.Contains(text, "; reloaded at ") {
		t.Errorf("got the status %q, want the time of the reload", text)
	}
	m.run("journalctl", "--quiet", "_UID="+m.run("id", "-u", "dffs-sidecar"), "--grep", "Reloaded: version .* 1 command running, 0 callers waiting, took .*; changed: MAX_BODY")

	m.checkHangups()

	m.sh("touch /tmp/reload/end")
	m.eventually("the end", func() bool {
		return strings.Contains(m.run("journalctl", "--quiet", "SIDECAR_JOB_ID=long"), "exit status 7")
	})
	lines := strings.Split(m.run("sh", "-c", "dataflux-func-sidecar jobs --follow long; :"), "\n")
	for i, line := range lines {
		if line != "line "+strconv.Itoa(i+1) {
			t.Fatalf("got %q as line %d", line, i+1)
		}
	}
	if children := m.run("ps", "-o", "stat=", "--ppid", m.executor()); strings.Contains(children, "Z") {
		t.Errorf("got zombies: %s", children)
	}
	m.wantReloadRefused()
}

// checkHangups sends SIGHUP, which is a reload: with a wrong configuration, with another key, and 50
// times in a row.
func (m *machine) checkHangups() {
	m.t.Helper()
	main, former := m.executor(), m.client(defaultAddress)
	hangUp := "kill -HUP " + main
	m.sh("echo 'MAX_QUEUD = 1' >> " + configFile + "; " + hangUp)
	m.awaitEntry("MAX_QUEUD is not a key of this file")
	m.checkAnswers(defaultAddress)

	m.sh("cp -p /root/before " + configFile + "; sed -i 's/^SECRET_KEY.*/SECRET_KEY = \"another-key-0123456789abcdef\"/' " + configFile)
	m.run("systemctl", "kill", "--signal=HUP", "--kill-who=main", service)
	accepts := func(c *client) bool {
		status, _, err := c.post(map[string]any{"command": "true"})
		if err != nil || status != 200 && status != 401 {
			m.t.Fatalf("got status %d, %v", status, err)
		}
		return status == 200
	}
	latter := m.client(defaultAddress)
	m.eventually("the other key is accepted after SIGHUP", func() bool { return accepts(latter) })
	if accepts(former) {
		m.t.Error("after SIGHUP the former key is accepted, want 401")
	}

	const request = "/run/dataflux-func-sidecar/reload-requested"
	refused := latter.shell(m.t, "kill -HUP $PPID 2>&1; (echo >"+request+") 2>&1; rm -f "+request+" 2>&1; :")
	for said, want := range map[string]int{"Operation not permitted": 1, "Permission denied": 2} {
		if got := strings.Count(refused, said); got != want {
			m.t.Errorf("a command that asks for a reload: got %q %d times, want %d: %s", said, got, want, refused)
		}
	}
	said, status := m.try("setpriv", "--reuid=dffs-sidecar", "--clear-groups", "sh", "-c", "id -un; echo >"+request)
	if status == 0 || !strings.HasPrefix(said, "dffs-sidecar\n") || !strings.Contains(said, "Permission denied") {
		m.t.Errorf("dffs-sidecar asks for a reload: status %d: %s", status, said)
	}

	m.sh("cp -p /root/before " + configFile + "; for i in $(seq 50); do " + hangUp + "; done")
	m.eventually("the former key is accepted after 50 times SIGHUP", func() bool { return accepts(former) })
	if accepts(latter) {
		m.t.Error("after 50 times SIGHUP the other key is accepted, want 401")
	}
	m.eventually("no request waits", func() bool {
		return m.sh("stat -c '%s %U %a' "+request) == "0 root 600" && m.state(units.ReloadService) == "inactive"
	})
	if state := m.state(units.ReloadPath); state != "active" {
		m.t.Errorf("%s is %s, want active", units.ReloadPath, state)
	}
	if failed := m.run("systemctl", "list-units", "--failed", "--plain", "--no-legend"); failed != "" {
		m.t.Errorf("failed units: %s", failed)
	}
	if now := m.executor(); now != main {
		m.t.Errorf("the main process is %s, and was %s", now, main)
	}
}

// descriptors is how many the main process has open.
func (m *machine) descriptors() int {
	n, err := strconv.Atoi(m.sh("ls /proc/" + m.executor() + "/fd | wc -l"))
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

// wantReloadRefused reloads with a wrong configuration, and stops while nothing is wrong.
func (m *machine) wantReloadRefused() {
	m.t.Helper()
	main := m.executor()
	m.sh("echo 'MAX_RUNING = 1' >> /etc/dataflux-func-sidecar")
	if out, status := m.try("systemctl", "reload", service); status == 0 {
		m.t.Errorf("a wrong configuration: got success: %s", out)
	}
	m.awaitEntry(`/etc/dataflux-func-sidecar: line \d+, column 1: MAX_RUNING is not a key of this file: did you mean MAX_RUNNING\?`)
	if state := m.state(service); state != "active" || m.executor() != main {
		m.t.Errorf("after a refused reload the service is %s, with %s in place of %s", state, m.executor(), main)
	}
	m.checkAnswers(defaultAddress)
	m.sh("sed -i '/RUNING/d' /etc/dataflux-func-sidecar; systemctl reload " + service)
	m.run("systemctl", "restart", service)
	m.checkAnswers(defaultAddress)
}
