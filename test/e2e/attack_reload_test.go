package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// TestAttack_DuringReloads attacks the executor from two commands while it replaces itself: for a
// moment its saved user id is that of the commands.
func TestAttack_DuringReloads(t *testing.T) {
	tg := attackable(t)
	m := tg.m
	executor, end := m.executor(), "/tmp/assault-end"
	jobs := "/sys/fs/cgroup" + m.sh("sed -n s/^0:://p /proc/"+executor+"/cgroup | sed s,/daemon$,/jobs,")
	var said []<-chan result
	for range 2 {
		said = append(said, m.client(defaultAddress).inBackground(map[string]any{
			"command": fmt.Sprintf("python3 /srv/assault.py %s %s %s", executor, jobs, end),
		}))
	}
	m.eventually("the assault has begun", func() bool {
		found, _ := m.try("sh", "-c", "ls "+end+"-begun-* | wc -l")
		return found == "2"
	})
	const program = "/usr/local/bin/dataflux-func-sidecar"
	for i := range 40 {
		if i%4 == 0 { // another file, so that the network role is replaced as well
			m.sh("cp -p " + program + " " + program + ".next && mv " + program + ".next " + program)
		}
		m.run("systemctl", "reload", service)
		if now := m.executor(); now != executor {
			t.Fatalf("after reload %d the executor is %s, and was %s", i+1, now, executor)
		}
		m.checkAnswers(defaultAddress)
	}
	m.sh("touch " + end)
	for _, one := range said {
		r := <-one
		if r.err != nil || r.answer.Data == nil {
			t.Fatalf("got %v, %+v", r.err, r.answer)
		}
		if strings.Contains(r.answer.Data.Stdout, "allowed") {
			t.Errorf("got %s", r.answer.Data.Stdout)
		}
		_, text, _ := strings.Cut(r.answer.Data.Stdout, "attempts ")
		count, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || count < 10_000 {
			t.Errorf("got %+v, want 10000 attempts", r.answer.Data)
		}
		t.Logf("%d attempts", count)
	}
	if frozen := m.run("cat", jobs+"/cgroup.freeze"); frozen != "0" {
		t.Errorf("the commands are frozen: %s", frozen)
	}
}

// TestAttack_ReloadWithAHeldPipe: a command that locks its pipe makes the execve impossible. The
// reload is refused, the daemon goes on, and a removed key is out nevertheless.
func TestAttack_ReloadWithAHeldPipe(t *testing.T) {
	tg := attackable(t)
	m := tg.m
	const leaked = "leaked-key-0123456789abcdef"
	key, other := m.secretKey(), m.client(defaultAddress)
	m.sh(fmt.Sprintf(`sed -i 's/^SECRET_KEY.*/SECRET_KEY = ["%s", "%s"]/' /etc/dataflux-func-sidecar; systemctl reload %s`, key, leaked, service))
	other.key = leaked
	if got := other.shell(t, "echo in"); got != "in" {
		t.Fatalf("the second key: got %q", got)
	}
	executor, server := m.executor(), tg.holdPipe("released")
	m.sh(fmt.Sprintf(`sed -i 's/^SECRET_KEY.*/SECRET_KEY = "%s"/' /etc/dataflux-func-sidecar`, key))
	m.eventually("a thread of the executor hangs", func() bool {
		_, status := m.try("sh", "-c", "grep -q pipe_ /proc/"+executor+"/task/*/wchan")
		return status == 0
	})
	out, status := m.try("dataflux-func-sidecar", "reload")
	if status != 1 || !strings.Contains(out, "only the removal of keys is in force") || !strings.Contains(out, "hint: ") {
		t.Errorf("reload while a pipe is held: got status %d, %s", status, out)
	}
	if now := m.executor(); now != executor {
		t.Errorf("the executor is %s, and was %s", now, executor)
	}
	if status, _, err := other.post(map[string]any{"command": "echo in"}); status != 401 {
		t.Errorf("the removed key: got status %d, %v, want 401", status, err)
	}
	if err := tg.calls(10); err != nil {
		t.Error(err)
	}
	m.run("kill", "-9", server)
	m.eventually("a reload succeeds", func() bool {
		_, status := m.try("dataflux-func-sidecar", "reload")
		return status == 0
	})
	if err := tg.calls(10); err != nil {
		t.Error(err)
	}
}
