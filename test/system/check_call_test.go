package system

import (
	"net/http/httptest"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// check also calls a service that was started by hand. A missing home directory is no failure.
func TestCheck_CallsTheService(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	d := newDaemon(t, "\""+testKey+"\"")
	d.configure("\""+testKey+"\"", `BIND = "`+d.address+`"`, `WORKDIR = "/"`)
	check := []string{"check", "--config", d.config, "--state-dir", d.stateDir(), "--unit-dir", "", "--user", "nobody"}
	s := invoke(t, invocation{args: check})
	silent := "failure: nothing answers at BIND address " + d.address + ": cannot reach http://" + d.address + ": connection refused: run "
	if wantText(t, s.stdout, silent+"dataflux-func-sidecar serve --config "+d.config+" --state-dir "+d.stateDir()+" --bind "+d.address+" --user nobody\n"); s.status != 1 {
		t.Errorf("got status %d, want 1", s.status)
	}
	wantByHand(t, s.stdout)
	wantText(t, invoke(t, invocation{args: append(check, "--unit-dir", t.TempDir())}).stdout, silent+"systemctl restart dataflux-func-sidecar\n")
	d.start()
	s = invoke(t, invocation{args: check})
	if wantText(t, s.stdout, "ok: a Sidecar of version 1.0.0 answers at "+d.address, "ok: a signed call ran a command as user nobody in "); s.status != 0 || s.stderr != "" {
		t.Errorf("%+v", s)
	}
	d.cli("jobs", "--quiet").want(t, 0, "")
	if s := invoke(t, invocation{args: append(check, "--offline")}); strings.Contains(s.stdout, "answers") || !strings.Contains(s.stdout, "seccomp") {
		t.Errorf("--offline: %s", s.stdout)
	}
	if s := invoke(t, invocation{args: append(check, "--config-only")}); strings.Contains(s.stdout, "answers") || strings.Contains(s.stdout, "seccomp") {
		t.Errorf("--config-only: %s", s.stdout)
	}
}

func TestCheck_DaemonOfAnotherVersion(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(sidecarLike(200, strings.Replace(welcome, "1.0.0", "0.9.9", 1)))
	defer server.Close()
	d := newDaemon(t, "\""+testKey+"\"")
	d.configure("\""+testKey+"\"", `BIND = "`+strings.TrimPrefix(server.URL, "http://")+`"`)
	s := invoke(t, invocation{args: []string{"check", "--config", d.config, "--unit-dir", t.TempDir()}})
	wantText(t, s.stdout, "warning: another version than 1.0.0 answers at ", ": run systemctl restart dataflux-func-sidecar\n")
	s = invoke(t, invocation{args: []string{"check", "--config", d.config, "--unit-dir", ""}})
	wantText(t, s.stdout, "warning: another version than 1.0.0 answers at ", ": restart the daemon\n")
	wantByHand(t, s.stdout)
}

// wantByHand checks that no advice mentions an installation, which a start by hand lacks.
func wantByHand(t *testing.T, advice string) {
	t.Helper()
	for _, word := range []string{"systemctl", "journalctl", "install.sh", ".service", ".socket"} {
		if strings.Contains(advice, word) {
			t.Errorf("got advice about %s, want none:\n%s", word, advice)
		}
	}
}

func TestCheck_BusyService(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	d := newDaemon(t, "\""+testKey+"\"")
	d.configure("\""+testKey+"\"", `BIND = "`+d.address+`"`, `WORKDIR = "/"`, "MAX_RUNNING = 1", `DRAIN_TIMEOUT = "1s"`)
	d.start()
	d.cli("shell", "--no-wait", "--job-id", "fills", "sleep 60").want(t, 0, "fills\n")
	s := invoke(t, invocation{args: []string{"check", "--config", d.config, "--state-dir", d.stateDir(), "--unit-dir", "", "--user", "nobody"}})
	if wantText(t, s.stdout, "warning: the service was busy: a signed call was refused with 503"); s.status != 0 {
		t.Errorf("%+v", s)
	}
}
