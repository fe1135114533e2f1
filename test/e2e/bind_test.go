package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// textAfter returns the rest of the last line that contains the mark.
func textAfter(t *testing.T, mark, text string) string {
	t.Helper()
	at := strings.LastIndex(text, mark)
	if at < 0 {
		t.Fatalf("no %q in\n%s", mark, text)
	}
	rest, _, _ := strings.Cut(text[at+len(mark):], "\n")
	return rest
}

func (m *machine) checkIsGone(path string) {
	m.t.Helper()
	m.eventually(path+" is gone", func() bool { // the sockets stop a moment after the service
		_, status := m.try("test", "-e", path)
		return status != 0
	})
}

const applyCommand = "dataflux-func-sidecar configure --apply"

func TestBind_RemovedUnixSocketLeavesNoFile(t *testing.T) {
	m := installed(t, "--bind", "127.0.0.1:8200,/run/sidecar.sock")
	m.sh(textAfter(t, "to apply: ", m.run("dataflux-func-sidecar", "configure", "--bind", "127.0.0.1:8200,/run/other.sock")))
	m.wantServed("127.0.0.1:8200,/run/other.sock")
	m.checkIsGone("/run/sidecar.sock")

	m.run("dataflux-func-sidecar", "configure", "--apply", "--bind", "127.0.0.1:8200")
	m.wantServed("127.0.0.1:8200")
	m.checkIsGone("/run/other.sock")
}

// Without an address that stays, the sockets stop before systemd reads the new ones. That is no
// reason for a warning.
func TestBind_NoAddressStaysWithoutWarnings(t *testing.T) {
	m := installed(t, "--bind", "127.0.0.1:8200")
	m.run("dataflux-func-sidecar", "configure", "--apply", "--bind", "127.0.0.1:8201")
	m.wantServed("127.0.0.1:8201")
	if got, _ := m.try("journalctl", "--quiet", "-u", "dataflux-func-sidecar*", "-p", "warning", "-o", "cat"); got != "" {
		t.Errorf("got warnings, want none:\n%s", got)
	}
}

// wantServed waits until the listening sockets are those of bind, and calls each.
func (m *machine) wantServed(bind string) {
	m.t.Helper()
	want := strings.Split(bind, ",")
	slices.Sort(want)
	m.eventually("listening on "+bind, func() bool {
		got := strings.Fields(m.sh(`ss -H -l -t -n | awk '{ print $4 }'; ss -H -l -x -n | awk '$5 ~ "^/run/[a-z]*.sock" { print $5 }'`))
		slices.Sort(got)
		return slices.Equal(slices.Compact(got), want)
	})
	for _, address := range want {
		call := "curl --silent --max-time 60 http://" + address
		if strings.HasPrefix(address, "/") {
			call = "curl --silent --max-time 60 --unix-socket " + address + " http://sidecar"
		}
		if got := m.sh(call); !strings.HasPrefix(got, "Welcome to DataFlux Func Sidecar") {
			m.t.Errorf("%s: got %q, want the welcome", address, got)
		}
	}
}

// editBind writes BIND as an editor would.
func (m *machine) editBind(bind string) {
	m.t.Helper()
	m.sh(fmt.Sprintf("sed -i 's|^BIND.*|BIND = %q|' %s", bind, configuration))
}

// Each order of two things that people and packages do after an edit of BIND: the next start serves
// what BIND says, and the service is started as often as it was asked for.
func TestBind_AnyOrderOfCommands(t *testing.T) {
	binds := []string{"127.0.0.1:8200,127.0.0.1:8201", "127.0.0.1:8201,/run/first.sock", "127.0.0.1:8202,/run/first.sock", "[::1]:8300"}
	m := installed(t, "--bind", binds[0])
	edits := 0
	edit := func() {
		edits++
		m.editBind(binds[edits%len(binds)])
	}
	type step struct {
		name   string
		starts bool
		run    func()
	}
	script := func(text string) func() { return func() { m.sh(text) } }
	steps := []step{
		{"edit", false, edit},
		{"configure", false, script("dataflux-func-sidecar configure")},
		{"daemon-reload", false, script("systemctl daemon-reload")},
		{"reload", false, func() {
			said, status := m.try("dataflux-func-sidecar", "reload")
			if refused := strings.Contains(said, applyCommand); refused != (status == 1) || status > 1 {
				t.Errorf("reload: status %d:\n%s", status, said)
			}
		}},
		{"restart of the service", true, script("systemctl restart " + service)},
		{"restart of the socket", true, script("systemctl restart " + socket)},
		{"stop and start", true, script("systemctl stop " + service + "; systemctl start " + service)},
		{"kill", true, func() {
			m.eventually("it runs", func() bool { return m.state(service) == "active" })
			before := m.executor()
			m.run("kill", "-9", before)
			m.eventually("it was started again", func() bool {
				now := m.mainPID()
				return now != "0" && now != before && m.state(service) == "active"
			})
		}},
		{"reboot", true, m.reboot},
	}
	for _, first := range steps {
		for _, second := range steps {
			if first.name == "reboot" { // the state is that of the one before, healed
				continue
			}
			name := first.name + ", then " + second.name
			t.Log(name)
			edit()
			first.run()
			// systemd 247 refuses to start a socket whose service is about to start.
			m.eventually("systemd has no job", func() bool { return !strings.Contains(m.run("systemctl", "list-jobs"), service) })
			second.run()
			if second.starts {
				m.wantServed(binds[edits%len(binds)])
			}
			if !second.starts || second.name == "reboot" {
				m.run("systemctl", "restart", service)
				m.wantServed(binds[edits%len(binds)])
			}
			if restarts := m.run("systemctl", "show", "--value", "-p", "NRestarts", service); restarts != "0" && second.name != "kill" {
				t.Errorf("%s: got %s restarts, want 0", name, restarts)
			}
			for _, want := range []string{"", "nothing to do"} {
				if said, status := m.try(strings.Fields(applyCommand)...); status != 0 || !strings.Contains(said, want) {
					t.Errorf("%s: configure --apply: status %d, want 0, and %q in\n%s", name, status, want, said)
				}
			}
			m.wantServed(binds[edits%len(binds)])
			if t.Failed() {
				t.Fatalf("stopped after: %s, with BIND %s", name, binds[edits%len(binds)])
			}
		}
	}
	m.wantWell("in the end")
}

// An address that stays keeps its socket, and a connection that waits in it is answered.
func TestBind_ApplyKeepsSocketsThatStay(t *testing.T) {
	m := installed(t, "--bind", "127.0.0.1:8200,127.0.0.1:8201")
	inode := func() string { return m.sh("ss -H -l -t -n -e sport = :8200 | grep -o 'ino:[0-9]*'") }
	before, load := inode(), m.client("127.0.0.1:8200")
	answered := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		for {
			if _, _, err := load.post(map[string]any{"command": "true"}); err != nil {
				answered <- err
				return
			}
			select {
			case <-stop:
				answered <- nil
				return
			default:
			}
		}
	}()
	said := m.run("dataflux-func-sidecar", "configure", "--apply", "--bind", "127.0.0.1:8200,127.0.0.1:8202")
	close(stop)
	if err := <-answered; err != nil {
		t.Errorf("a call to the address that stays failed: %v", err)
	}
	m.wantServed("127.0.0.1:8200,127.0.0.1:8202")
	if after := inode(); after != before {
		t.Errorf("the socket of the address that stays was %s and is %s", before, after)
	}
	for _, want := range []string{
		"BIND was 127.0.0.1:8200,127.0.0.1:8201 and is 127.0.0.1:8200,127.0.0.1:8202",
		"systemd keeps 127.0.0.1:8200 open", "have up to 30s to finish", "the service listens on",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
}

func TestApply_WhatItSays(t *testing.T) {
	m := installed(t, "--bind", "127.0.0.1:8200")
	pid := m.occupy("other", "s = socket.create_server(('127.0.0.1', 8299))")
	executor := m.executor()
	for _, test := range []struct{ name, script, args, want string }{
		{"nothing changed", "", "", "nothing to do"},
		{"an address of another process", "", "--bind 127.0.0.1:8299", takenBy("127.0.0.1:8299", pid)},
		{"another file", "", "--config /tmp/other", "--apply is for the installed service"},
		{"a configuration that is not valid", "echo 'SHEL = \"/bin/sh\"' >> " + configuration, "", "did you mean SHELL"},
	} {
		m.sh("cp -p " + configuration + " /tmp/good; " + test.script)
		said, status := m.try(append(strings.Fields(applyCommand), strings.Fields(test.args)...)...)
		for part := range strings.SplitSeq(test.want, "\x00") {
			if !strings.Contains(said, part) || status == 0 != (test.want == "nothing to do") {
				t.Errorf("%s: status %d, want %q in\n%s", test.name, status, part, said)
			}
		}
		m.run("cp", "-p", "/tmp/good", configuration)
	}
	m.vacate("other")
	if now := m.executor(); now != executor {
		t.Errorf("the main process was %s and is %s", executor, now)
	}

	m.sh("sed -i 's/^SECRET_KEY = \"/&x/; s/^SECRET_KEY=\"/&x/' " + configuration)
	if said := m.run(strings.Fields(applyCommand)...); !strings.Contains(said, "changed since the service has read it: "+configuration) {
		t.Errorf("it does not say what has changed:\n%s", said)
	}
	m.checkAnswers("127.0.0.1:8200") // with the key of the file
	if now := m.executor(); now != executor {
		t.Errorf("the main process was %s and is %s after a reload", executor, now)
	}
	if said := m.run(strings.Fields(applyCommand)...); !strings.Contains(said, "nothing to do") {
		t.Errorf("it does not know of the reload:\n%s", said)
	}
	m.rotateKey()
	m.run("systemctl", "stop", service)
	if said := m.run(strings.Fields(applyCommand)...); !strings.Contains(said, "starting the service") {
		t.Errorf("it does not say that it starts the service:\n%s", said)
	}
	m.wantServed("127.0.0.1:8200")

	// In the cgroup of the service, as a command with ALLOW_SUDO is.
	said, status := m.try("sh", "-c", "for file in $(find /sys/fs/cgroup -path '*/"+service+"/daemon/cgroup.procs'); do echo $$ > $file || :; done; "+
		"exec "+applyCommand+" --bind 127.0.0.1:8201")
	if status != 1 || !strings.Contains(said, "would end this command") {
		t.Errorf("inside a command: status %d, want 1, and why it is refused in\n%s", status, said)
	}
	m.wantServed("127.0.0.1:8200")
	m.sh(textAfter(t, "hint: ", said))
	m.wantServed("127.0.0.1:8201")
}

// rotateKey checks that no call is refused during a rotation, and the old key after it.
func (m *machine) rotateKey() {
	m.t.Helper()
	call := "umask 077; printf '%s' '%s' >/root/key; dataflux-func-sidecar shell --url http://127.0.0.1:8200 --secret-key-file /root/key true"
	accepts := func(key string) bool {
		_, status := m.try("sh", "-c", fmt.Sprintf(call, "%s", key))
		return status == 0
	}
	old := m.secretKey()
	said := m.run(append(strings.Fields(applyCommand), "--add-key")...)
	added := strings.TrimSpace(textAfter(m.t, "Secret Key:\n", said))
	if !accepts(old) || !accepts(added) {
		m.t.Errorf("after --add-key it does not accept both keys:\n%s", said)
	}
	m.sh(textAfter(m.t, "as root: ", said))
	if accepts(old) || !accepts(added) {
		m.t.Error("after --drop-key it accepts the old key, or refuses the new one")
	}
}
