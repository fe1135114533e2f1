package system

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Each source of the key works, and a wrong key is reported.
func TestCommandLine_SourcesOfTheKey(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `BIND = "192.0.2.1:8099"`)
	file := filepath.Join(sharedDir(t), "key")
	if err := os.WriteFile(file, []byte(testKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	public := filepath.Join(filepath.Dir(file), "public key")
	if err := errors.Join(os.WriteFile(public, []byte(testKey+"\n"), 0o600), os.Chmod(public, 0o640)); err != nil {
		t.Fatal(err)
	}
	url, wrong := "--url=http://"+d.address, keyVariable("wrong-0123456789abcdef")
	for name, test := range map[string]struct {
		i      invocation
		status int
		hint   string
	}{
		"file":                        {invocation{args: []string{"--secret-key-file", file}, env: wrong}, 0, ""},
		"standard input":              {invocation{args: []string{"--secret-key-file", "-"}, stdin: testKey + "\n", env: wrong}, 0, ""},
		"environment":                 {invocation{env: keyVariable(testKey)}, 0, ""},
		"configuration, when named":   {invocation{args: []string{"--config", d.config}, env: wrong}, 0, ""},
		"wrong key":                   {invocation{env: wrong}, 125, "the key here came from SIDECAR_SECRET_KEY"},
		"empty variable":              {invocation{env: keyVariable("")}, 125, "SIDECAR_SECRET_KEY is empty"},
		"two lines on standard input": {invocation{args: []string{"--secret-key-file", "-"}, stdin: testKey + "\nmore\n"}, 125, "the key on standard input holds a line break"},
		"mode 0640": {
			invocation{args: []string{"--secret-key-file", public}, env: keyVariable(testKey)},
			125,
			"'" + public + "'\nhint: where the mode cannot be changed, give it on standard input: --secret-key-file - <'" + public + "'\n",
		},
		"a pipe":                          {invocation{args: []string{"--secret-key-file", "/dev/stdin"}, stdin: testKey + "\n", env: wrong}, 0, ""},
		"no file":                         {invocation{args: []string{"--secret-key-file", file + "x"}}, 125, "cannot be read"},
		"configuration that is not there": {invocation{args: []string{"--config", file + "x"}}, 125, "--secret-key-file, or in SIDECAR_SECRET_KEY"},
	} {
		test.i.args = append([]string{"shell", url, "echo in"}, test.i.args...)
		s := invoke(t, test.i)
		if s.status != test.status || !strings.Contains(s.stderr, test.hint) || test.status == 0 && s.stdout != "in\n" {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func keyVariable(key string) []string { return []string{"SIDECAR_SECRET_KEY=" + key} }

func TestCommandLine_AddressFromBind(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "\""+testKey+"\"")
	path := filepath.Join(sharedDir(t), "cli.sock")
	file, _ := listeningFile(t, "unix", path)
	d.configure("\""+testKey+"\"", `BIND = "192.0.2.1:8099,`+path+`,127.0.0.1:1"`) // the first is not on any interface
	d.launchWithSockets([]*os.File{file})
	d.awaitLog("Ready: ")
	invoke(t, invocation{args: []string{"shell", "--config", d.config, "echo over it"}}).want(t, 0, "over it\n")
	invoke(t, invocation{args: []string{"version", "--url", "unix:" + path}}).want(t, 0,
		"dataflux-func-sidecar 1.0.0 (released 2026-11-23 00:00:00)\nunix:"+path+": 1.0.0 (released 2026-11-23 00:00:00)\n")
}

func TestCommandLine_FailuresHaveHints(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_RUNNING = 1", `DRAIN_TIMEOUT = "1s"`)
	for _, test := range []struct {
		args []string
		hint string
	}{
		{[]string{"--url", "http://127.0.0.1:3", "true"}, "connection refused\nhint: see systemctl status dataflux-func-sidecar, and compare the address with BIND"},
		{[]string{"--url", "unix:/nonexistent/x.sock", "true"}, "no such file or directory\nhint: see systemctl status"},
		{[]string{"--url", "https://" + d.address, "true"}, "write http:// in place of https://"},
		{[]string{"--url", "127.0.0.1:8099", "true"}, "must be like http://127.0.0.1:8099"},
		{[]string{"--url", "http://127.0.0.1:8099/shell", "true"}, "must end after the port"},
		{[]string{"--url", "unix:x.sock", "true"}, "absolute path"},
		{[]string{"--ca", "/etc/passwd", "true"}, "no certificate"},
		{[]string{"echo", "two"}, "as one argument, in quotes"},
		{[]string{" "}, "the command is empty"},
		{[]string{"--env", "novalue", "true"}, "write NAME=value"},
		{[]string{"--timeout", "5x", "true"}, "write seconds, or a duration such as"},
		{[]string{"--job-id", "a/b", "true"}, "--job-id must be"},
		{[]string{"echo caf\xe9"}, `the command is not UTF-8, and a request is: have the command make such a byte, as "$(printf '\351')"`},
		{[]string{"--env", "A=\xe9", "true"}, "--env is not UTF-8"},
		{[]string{"--workdir", "/caf\xe9", "true"}, "--workdir is not UTF-8"},
		{[]string{"--callback", "http://127.0.0.1:1/\xe9", "true"}, "--callback is not UTF-8"},
		{[]string{"--url", "", "true"}, "give it a value, or leave the option out"},
		{[]string{"--secret-key-file=", "true"}, "give it a value"},
		{[]string{"--ca", "", "true"}, "give it a value"},
		{[]string{"--workdir", "", "true"}, "give it a value"},
		{[]string{"--follow", "--json", "true"}, "leave --no-wait and --json out"},
		{[]string{"--workdir", "/nonexistent", "true"}, "refused with 400: cannot use the working directory"},
	} {
		s := invoke(t, invocation{args: append([]string{"shell", "--url", "http://" + d.address, "--config", d.config}, test.args...)})
		s.want(t, 125, "", test.hint)
	}
	d.cli("shell", "--no-wait", "--job-id", "fills", "sleep 60").want(t, 0, "fills\n")
	d.cli("shell", "true").want(t, 125, "", "refused with 503", "MAX_RUNNING", "(try again in 1s)")
	for _, args := range [][]string{{"jobs", "a", "b"}, {"jobs", "a/b"}, {"jobs", "--url", ""}, {"cancel"}, {"cancel", "a b"}, {"version", "x"}, {"jobs", "--nonsense"}, {"jobs", "--running", "a"}, {"jobs", "--since", "0"}, {"logs"}, {"logs", "a", "b"}} {
		if s := d.cli(args...); s.status != 2 || s.stderr == "" || s.stdout != "" {
			t.Errorf("%q: %+v", args, s)
		}
	}
	for _, args := range [][]string{{"jobs", "--follow"}, {"jobs", "--nonsense", "--follow", "x"}, {"jobs", "--follow", "x", "--config", "/nonexistent"}, {"logs", "--follow"}, {"wait"}, {"wait", "x", "--config", "/nonexistent"}, {"jobs", "--follow", "x", "--secret-key-file", "/nonexistent"}} {
		if s := invoke(t, invocation{args: args}); s.status != 125 || s.stderr == "" || s.stdout != "" {
			t.Errorf("%q: %+v", args, s)
		}
	}
	for _, command := range []string{"shell", "jobs", "logs", "wait", "cancel", "version", "check", "serve", "configure", "sign"} {
		if s := invoke(t, invocation{args: []string{command, "--help"}}); s.status != 0 || !strings.Contains(s.stdout, "Usage: dataflux-func-sidecar "+command) || s.stderr != "" {
			t.Errorf("%s --help: %+v", command, s)
		}
	}
}

func TestCommandLine_OtherServer(t *testing.T) {
	t.Parallel()
	v := newReceiver(t, ok)
	for _, args := range [][]string{{"shell", "true"}, {"jobs"}, {"jobs", "a"}, {"jobs", "--follow", "a"}, {"version"}} {
		s := invoke(t, invocation{args: append(args, "--url", v.URL), env: keyVariable(testKey)})
		if s.status == 0 || !strings.HasPrefix(s.stderr, "error: ") || s.stdout != "" && args[0] != "jobs" {
			t.Errorf("%q: %+v", args, s)
		}
	}
}

// sidecarLike answers every request with a status and a body. Its clock is an hour late.
func sidecarLike(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body) // the client may have gone
	})
}

func TestCommandLine_ClockDifference(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(sidecarLike(401, `{"ok":false,"message":"the timestamp is outside the time window","data":null}`))
	defer server.Close()
	s := invoke(t, invocation{args: []string{"jobs", "--url", server.URL}, env: keyVariable(testKey)})
	if s.want(t, 1, "", "outside the time window"); !strings.Contains(s.stderr, "the clock of this host is 1h0m0s ahead of the other's") && !strings.Contains(s.stderr, "is 1h0m1s ahead") {
		t.Errorf("got %s", s.stderr)
	}
}

func TestCommandLine_TrustedCertificates(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(sidecarLike(200, welcome))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, certificate, 0o644); err != nil {
		t.Fatal(err)
	}
	unknown := invoke(t, invocation{args: []string{"version", "--url", server.URL}})
	unknown.want(t, 1, "", "certificate signed by unknown authority\nhint: name the certificate of its authority with --ca")
	known := invoke(t, invocation{args: []string{"version", "--url", server.URL, "--ca", file}})
	known.want(t, 0, "dataflux-func-sidecar 1.0.0 (released 2026-11-23 00:00:00)\n"+server.URL+": 1.0.0 (released 2026-11-23 00:00:00)\n")
}

// A redirect would send the signature to another server.
func TestCommandLine_RedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	s := invoke(t, invocation{args: []string{"shell", "true", "--url", server.URL}, env: keyVariable(testKey)})
	if s.want(t, 125, "", "307", "not an answer of a Sidecar"); asked != 1 {
		t.Errorf("%d requests were sent", asked)
	}
}

// After an incomplete answer the command may have run, and the message says so.
func TestCommandLine_BrokenAnswer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = fmt.Fprint(w, `{"ok":true,"message":"","data":{"stdout":"half`)
	}))
	defer server.Close()
	s := invoke(t, invocation{args: []string{"shell", "--job-id", "mine", "true", "--url", server.URL}, env: keyVariable(testKey)})
	s.want(t, 125, "", "gave no whole answer", "not known whether the command was accepted, as job mine", "dataflux-func-sidecar jobs --url "+server.URL+" mine")
}
