package system

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// check wants the given exit status and returns the findings about the configuration. Every Debian
// has a user nobody.
func (p place) check(want int, args ...string) string {
	p.t.Helper()
	args = append([]string{"check", "--config-only", "--config", p.path, "--unit-dir", p.unitDir, "--user", "nobody"}, args...)
	got, out, stderr := testkit.Run(p.t, "", args...)
	out += stderr
	if got != want {
		p.t.Fatalf("check: status %d, want %d\n%s", got, want, out)
	}
	if strings.Contains(out, givenKey) {
		p.t.Errorf("it shows the key:\n%s", out)
	}
	for line := range strings.Lines(out) {
		level, _, _ := strings.Cut(line, ": ")
		if level != "ok" && level != "warning" && level != "failure" && level != "summary" {
			p.t.Errorf("not one line for each finding: %q", line)
		}
	}
	return out
}

// checkHost returns the findings about configuration and host without a call.
func (p place) checkHost(args ...string) string {
	p.t.Helper()
	args = append([]string{"check", "--offline", "--config", p.path, "--unit-dir", p.unitDir, "--user", "nobody"}, args...)
	_, out, _ := testkit.Run(p.t, "", args...) // other findings depend on the host
	return out
}

func (p place) installUnits() {
	p.t.Helper()
	units := map[string]string{
		"dataflux-func-sidecar.socket":  "[Socket]\nListenStream=127.0.0.1:8099\nListenStream=172.17.0.1:8099\n",
		"dataflux-func-sidecar.service": "[Service]\n",
	}
	for name, text := range units {
		if err := os.WriteFile(filepath.Join(p.unitDir, name), []byte(text), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
}

func TestCheck_AfterConfigure(t *testing.T) {
	p := newPlace(t)
	p.installUnits()
	p.write("SECRET_KEY=\"" + givenKey + "\"\nWORKDIR=\"/\"\n")
	p.configure(0, "", "--bind", "127.0.0.1:8099,/run/none-such.sock")
	found := p.check(0)
	wantAll(t, found, "ok: "+p.path+" is valid", "ok: SECRET_KEY 1 of 1 has 22 bytes", "ok: BIND address 127.0.0.1:8099 is an address of this host",
		"ok: BIND address /run/none-such.sock is free", "ok: WORKDIR, /, exists", "ok: SHELL, /bin/sh, is executable", "summary: all ")
	wantAll(t, p.checkHost(), "ok: the socket unit listens on what BIND says", "ok: user nobody exists")
	if err := os.RemoveAll(p.unitDir); err != nil {
		t.Fatal(err)
	}
	if alone := p.check(0); alone != found {
		t.Errorf("--config-only without units: got\n%s, want\n%s", alone, found)
	}
	wantAll(t, p.check(0, "--user", "no-such-user"), "summary: all ")
}

func TestCheck_InvalidConfiguration(t *testing.T) {
	p := newPlace(t)
	wantAll(t, p.check(1), "failure: cannot read the configuration", "create it with dataflux-func-sidecar configure")
	p.write("SECRET_KEY=\"" + givenKey + "\nBIND=1")
	wantAll(t, p.check(1), "failure: "+p.path+": line 1, column", "SECRET_KEY has no closing quote")
	p.write("SECRET_KEY=\"" + givenKey + "\"\nSHEL=1\nMAX_BODY=1\n")
	if err := os.Chmod(p.path, 0o604); err != nil {
		t.Fatal(err)
	}
	wantAll(t, p.check(1), "failure: "+p.path+" has mode 0604", "run chmod 0600 "+p.path, "did you mean SHELL?", "MAX_BODY must be")
}

func TestCheck_Warnings(t *testing.T) {
	p := newPlace(t)
	p.installUnits()
	p.write("SECRET_KEY=[\"short\",\"xxxxxxxxxxxxxxxx\",\"{{ sidecar_secret_key }}\"]\nBIND=\"0.0.0.0:8099,192.0.2.77:8100\"\n" +
		"ALLOW_SUDO=true\nDRAIN_TIMEOUT=\"10m\"\nWORKDIR=\"/\"\n")
	p.configure(0, "")
	wantAll(t, p.check(0), "warning: SECRET_KEY 1 of 3 has fewer than 16 bytes", "warning: SECRET_KEY 2 of 3 repeats one character",
		"warning: SECRET_KEY 3 of 3 holds {{ or ${, as if a template was not filled in",
		"warning: 3 keys are accepted", "warning: BIND address 0.0.0.0:8099 takes connections on every address",
		"warning: BIND address 192.0.2.77:8100 is on no interface now", "warning: ALLOW_SUDO = true")
	wantAll(t, p.checkHost(), "warning: DRAIN_TIMEOUT and twice KILL_GRACE are 10m10s, but systemd kills the service 1m0s after a stop")
}

func TestCheck_SocketUnit(t *testing.T) {
	p := newPlace(t)
	p.write("SECRET_KEY=\"" + givenKey + "\"\nWORKDIR=\"/\"\n")
	wantAll(t, p.checkHost(), "warning: no dataflux-func-sidecar.socket in "+p.unitDir)
	p.installUnits()
	wantAll(t, p.checkHost(), "ok: the socket unit listens on what BIND says") // the unit's own addresses
	p.configure(0, "")
	p.write("SECRET_KEY=\"" + givenKey + "\"\nWORKDIR=\"/\"\nBIND=\"127.0.0.1:1\"\n")
	fix := "run dataflux-func-sidecar configure --config " + p.path + " --unit-dir " + p.unitDir + "\n"
	wantAll(t, p.checkHost(), "failure: the socket unit listens on other addresses than BIND says: "+fix)
	p.configure(0, "")
	wantAll(t, p.checkHost(), "ok: the socket unit listens on what BIND says")
}

func TestCheck_UserShellAndWorkdir(t *testing.T) {
	p := newPlace(t)
	p.write("SECRET_KEY=\"" + givenKey + "\"\nSHELL=\"/etc/passwd\"\nWORKDIR=\"/etc/passwd\"\n")
	wantAll(t, p.check(1), "failure: SHELL, /etc/passwd, is not an executable file", "failure: WORKDIR, /etc/passwd, is not a directory")
	wantAll(t, p.checkHost("--user", "no-such-user"), "failure: there is no user no-such-user in /etc/passwd or in a directory service (LDAP, SSSD) that answers: run useradd")
	wantAll(t, p.checkHost("--user", "root"), `failure: cannot run commands as "root": uid 0 is root's`)
}

func TestCheck_Monitoring(t *testing.T) {
	p := newPlace(t)
	for _, test := range []struct {
		name, config string
		status       int
		says         string
	}{
		{"well", "", 0, "SIDECAR OK: all "},
		{"warning", "ALLOW_SUDO = true\n", 1, "SIDECAR WARNING: 1 warning, "},
		{"failure", "ALLOW_SUDO = true\nWORKDIR = \"/a|b\"\n", 2, "SIDECAR CRITICAL: 1 failure, 1 warning, "},
	} {
		config := "SECRET_KEY = \"" + givenKey + "\"\n" + test.config
		if !strings.Contains(config, "WORKDIR") {
			config += "WORKDIR = \"/\"\n"
		}
		p.write(config)
		args := []string{"check", "--config-only", "--config", p.path, "--user", "nobody", "--monitoring"}
		status, out, _ := testkit.Run(t, "", args...)
		if status != test.status || !strings.HasPrefix(out, test.says) || strings.Contains(out, "|") || strings.Contains(out, "\nok: ") {
			t.Errorf("%s: got %d, %q, want %d, %q…", test.name, status, out, test.status, test.says)
		}
		if status, out, _ := testkit.Run(t, "", append(args, "--json")...); status != test.status || !strings.HasPrefix(out, "{") {
			t.Errorf("%s: with --json: got %d, %q, want %d", test.name, status, out, test.status)
		}
	}
	if status, _, _ := testkit.Run(t, "", "check", "--monitoring", "--mistyped"); status != 3 {
		t.Errorf("wrong usage: got status %d, want 3", status)
	}
}

func TestCheck_SocketFiles(t *testing.T) {
	p := newPlace(t)
	dir := t.TempDir()
	file, sock := filepath.Join(dir, "file"), filepath.Join(dir, "sock")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p.write("SECRET_KEY=\"" + givenKey + "\"\nWORKDIR=\"/\"\nBIND=\"" + file + "," + sock + "\"\n")
	wantAll(t, p.check(1), "failure: BIND address "+file+" is a file and no socket", "ok: BIND address "+sock+" is a socket")
}
