package system

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// A host whose configuration has keys with names and no SECRET_KEY.
func TestCheck_NamedKeys(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	const secret = "canary-named-key-0123456789"
	d := newDaemon(t, `"replaced below"`)
	program := filepath.Join(t.TempDir(), "deploy")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(program, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	d.key = secret
	for _, test := range []struct {
		name, line string
		want       []string
		status     int
	}{
		{"a key for an action", "ACTIONS = ['deploy']", []string{
			"ok: KEY.ops has 27 bytes: the key ops may run the action deploy",
			"warning: user nobody, and so every command, can change " + program + " of ACTION.deploy: " + program + " belongs to that user: run chown -h root: " + program,
			"ok: a signed call with the key ops was answered; no command was run",
		}, 0},
		{"a key for any command", "EXPIRES = 2999-01-01", []string{
			"the key ops may run any command", "ok: a signed call ran a command as user nobody in ",
		}, 0},
		{"an expired key", "EXPIRES = 2020-01-01", []string{
			"warning: KEY.ops has expired at 2020-01-02T00:00:00Z", "ok: no signed call was made: no key may be used from this host now",
		}, 0},
	} {
		text := "BIND = '" + d.address + "'\nWORKDIR = '/'\n[KEY.ops]\nSECRET = '" + secret + "'\n" + test.line +
			"\n[ACTION.deploy]\nRUN = ['" + program + "']\n"
		if err := os.WriteFile(d.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d.start()
		s := invoke(t, invocation{args: []string{"check", "--config", d.config, "--state-dir", d.stateDir(), "--unit-dir", "", "--user", "nobody"}})
		if wantText(t, s.stdout, test.want...); s.status != test.status || s.stderr != "" || strings.Contains(s.stdout, secret) {
			t.Errorf("%s: %+v", test.name, s)
		}
		d.stop()
	}
}
