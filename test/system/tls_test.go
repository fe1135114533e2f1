package system

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

func TestTLS_SignedCallInTheSandbox(t *testing.T) {
	t.Parallel()
	d, c := newTLSDaemon(t)
	d.start()
	if a := d.tlsShell(c, "echo over TLS"); a.status != 200 || a.Data.Stdout != "over TLS\n" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	for range 3 { // many records on one connection
		w := d.dialTLS(c)
		for range 3 {
			a := w.put(d.sign("POST", "/shell", jsonOf(fields{"command": "head -c 3000000 /dev/zero | tr '\\0' x"})).raw()).answer("POST")
			if a.status != 200 || len(a.Data.Stdout) != 3_000_000 {
				t.Fatalf("got %d, %d bytes", a.status, len(a.Data.Stdout))
			}
		}
	}
	d.awaitLog("listening on " + d.address + " (TLS on " + d.address + ")")
	d.dialTLS(c).put("NONSENSE\r\n\r\n").answer("GET").wantPlainRefusal(t, 400)
	unsigned := d.dialTLS(c).put("GET /jobs HTTP/1.1\r\nHost: h\r\n\r\n").answer("GET")
	unsigned.wantRefusal(t, 401, "must be signed")
}

func TestTLS_VersionsAndNoHTTP2(t *testing.T) {
	t.Parallel()
	d, c := newTLSDaemon(t)
	d.start()
	for version, accepted := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", d.address, &tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS10, MaxVersion: version, NextProtos: []string{"h2", "http/1.1"}})
		if (err == nil) != accepted {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			if got := conn.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
				t.Errorf("%s: %q was agreed on", tls.VersionName(version), got)
			}
			_ = conn.Close()
		}
	}
	d.awaitLog("the TLS handshake failed: tls: client offered only unsupported versions")
}

// A caller without TLS gets a plain answer that says so, and the log reports it.
func TestTLS_PlainHTTPIsAnswered(t *testing.T) {
	t.Parallel()
	d, _ := newTLSDaemon(t)
	d.start()
	d.exchange(d.sign("POST", "/shell", `{"command":"id"}`).raw()).wantRefusal(t, 400, "this address speaks TLS: call it with https://")
	d.awaitLog("it spoke no TLS, which this address expects")
	d.wantNothingRun()
}

func TestTLS_UnfinishedHandshake(t *testing.T) {
	t.Parallel()
	d, c := newTLSDaemon(t)
	d.start()
	const beginning = "\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03" // of a ClientHello
	silent, half := d.dial(), d.dial().put(beginning)
	began := time.Now()
	if a := d.tlsShell(c, "echo meanwhile"); a.status != 200 {
		t.Errorf("got %s", a.body)
	}
	for _, w := range []*wire{silent, half} {
		w.awaitClose(testkit.Patience)
	}
	if took := time.Since(began); took < 8*time.Second || took > time.Minute {
		t.Errorf("they were let go after %s, want 10 s", took)
	}
}

func TestTLS_RenewedCertificate(t *testing.T) {
	t.Parallel()
	d, c := newTLSDaemon(t)
	socket, _ := listeningFile(t, "tcp", d.address)
	d.launchWithSockets([]*os.File{socket})
	d.awaitLog("Ready: ")
	d.tlsShell(c, "true")
	c.renew(t, time.Now().Add(500*time.Hour), c.certificate.IPAddresses[0].String())
	s := invoke(t, invocation{args: []string{"check", "--config", d.config, "--unit-dir", ""}})
	wantText(t, s.stdout, "warning: the service at "+d.address+" shows another TLS certificate than "+c.certificateFile()+": the file was renewed after the service has started: restart the daemon\n")
	invoke(t, invocation{args: []string{"shell", "--config", d.config, "true"}}).want(t, 125, "", "hint: after TLS_CERTIFICATE was renewed: systemctl reload dataflux-func-sidecar")
	d.stop()
	d.launchWithSockets([]*os.File{socket})
	if a := d.tlsShell(c, "echo renewed"); a.status != 200 || a.Data.Stdout != "renewed\n" {
		t.Errorf("got %s", a.body)
	}
}

func TestTLS_OtherAddressesStayPlain(t *testing.T) {
	t.Parallel()
	d, c := newTLSDaemon(t)
	plain, plainAddress := listeningFile(t, "tcp", "127.0.0.1:0")
	unix, path := listeningFile(t, "unix", sharedDir(t)+"/sidecar.sock")
	secured, _ := listeningFile(t, "tcp", d.address)
	bind := fmt.Sprintf(`BIND = "%s,%s,%s"`, plainAddress, path, d.address)
	d.configure(strconv.Quote(testKey), c.lines(bind, `TLS_ADDRESSES = "`+d.address+`"`)...)
	d.launchWithSockets([]*os.File{plain, unix, secured})
	d.awaitLog("Ready: ")
	if a := d.tlsShell(c, "echo secured"); a.status != 200 {
		t.Errorf("got %s", a.body)
	}
	for _, url := range []string{"http://" + plainAddress, "unix:" + path} {
		invoke(t, invocation{args: []string{"shell", "--config", d.config, "--url", url, "echo plain"}}).want(t, 0, "plain\n")
	}
}

func TestTLS_CommandLineUsesTheConfiguration(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	d, _ := newTLSDaemon(t)
	d.start()
	invoke(t, invocation{args: []string{"shell", "--config", d.config, "echo here"}}).want(t, 0, "here\n")
	s := invoke(t, invocation{args: []string{"check", "--config", d.config, "--state-dir", d.stateDir(), "--unit-dir", "", "--user", "nobody"}})
	wantText(t, s.stdout, "ok: TLS_KEY is the key of TLS_CERTIFICATE", "ok: the TLS certificate is valid for 41 more days",
		"ok: the TLS certificate is for 127.", "answers at "+d.address, "ok: a signed call ran a command as user nobody")
	other := newCredential(t, time.Now().Add(time.Hour), "127.0.0.1")
	s = invoke(t, invocation{args: []string{"shell", "--config", d.config, "--ca", other.certificateFile(), "id"}})
	if wantText(t, s.stderr, "--ca"); s.status == 0 {
		t.Error("another authority than the certificate's was believed")
	}
}

func TestTLS_CheckSaysWhatCallersRefuse(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]*credential{
		"warning: the TLS certificate expires in 9 days: renew it, then reload the daemon":                newCredential(t, time.Now().Add(9*24*time.Hour+time.Hour), "127.0.0.1"),
		"failure: the TLS certificate has expired on " + time.Now().Add(-time.Hour).Format(time.DateOnly): newCredential(t, time.Now().Add(-time.Hour), "127.0.0.1"),
		"warning: the TLS certificate is not for BIND address 172.17.0.1:8099":                            newCredential(t, time.Now().Add(999*time.Hour), "127.0.0.1"),
		"ok: the TLS certificate is for host.example.org, 127.0.0.1":                                      newCredential(t, time.Now().Add(999*time.Hour), "127.0.0.1", "host.example.org"),
	} {
		d := newDaemon(t, strconv.Quote(testKey), c.lines()...)
		s := invoke(t, invocation{args: []string{"check", "--config", d.config, "--config-only"}})
		wantText(t, s.stdout, want)
	}
}

func TestTLS_ExpiredCertificateWarns(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	c := newCredential(t, time.Now().Add(-time.Hour), "127.0.0.1")
	d.configure(strconv.Quote(testKey), c.lines()...)
	d.start()
	d.awaitLog("The TLS certificate has expired on ")
	conn, err := tls.Dial("tcp", d.address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	if a := d.newWire(conn).put(d.sign("POST", "/shell", `{"command":"echo late"}`).raw()).answer("POST"); a.status != 200 {
		t.Errorf("got %s", a.body)
	}
}

func TestTLS_UnusableKeyPair(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(time.Hour)
	cases := map[string]func(c *credential){
		"the key is another certificate's":                         func(c *credential) { c.write(t, c.keyFile(), newCredential(t, until, "127.0.0.1").key) },
		"has mode 0640, so other users can read":                   func(c *credential) { _ = os.Chmod(c.keyFile(), 0o640) },
		"belongs to user 1, who can change it":                     func(c *credential) { testkit.NeedRoot(t); _ = os.Chown(c.keyFile(), 1, 1) },
		"TLS_KEY: cannot read it: open ":                           func(c *credential) { _ = os.Remove(c.keyFile()) },
		"TLS_CERTIFICATE: cannot read it: open ":                   func(c *credential) { _ = os.Remove(c.certificateFile()) },
		"is not a regular file of at most 16384":                   func(c *credential) { c.write(t, c.keyFile(), make([]byte, 16385)) },
		"is not a regular file of at most 65536":                   func(c *credential) { c.write(t, c.certificateFile(), make([]byte, 65537)) },
		"failed to find any PEM data in certificate":               func(c *credential) { c.write(t, c.certificateFile(), []byte("canary")) },
		"the key is encrypted, and no one can type its passphrase": func(c *credential) { c.write(t, c.keyFile(), encrypted()) },
		"found a certificate rather than a key":                    func(c *credential) { swap(c) },
		"TLS_KEY: /":                                               func(c *credential) { _ = os.Remove(c.keyFile()); _ = os.Mkdir(c.keyFile(), 0o700) },
	}
	for want, spoil := range cases {
		d := newDaemon(t, strconv.Quote(testKey))
		c := newCredential(t, until, "127.0.0.1")
		spoil(c)
		d.configure(strconv.Quote(testKey), c.lines()...)
		d.wantNoStart(want)
		wantNoKey(t, c, d.log())
	}
}

// encrypted has only the form of an encrypted key, with no usable content.
func encrypted() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("canary")})
}

func swap(c *credential) {
	_ = os.Remove(c.keyFile())
	text, _ := os.ReadFile(c.certificateFile())
	_ = os.WriteFile(c.keyFile(), text, 0o600)
}

// The TLS key is only in the memory of the two roles.
func TestTLS_KeyReachesNoCommandAndNoLog(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	d, c := newTLSDaemon(t)
	d.start()
	a := d.tlsShell(c, "cat /proc/self/environ /proc/$$/environ; ls -l /proc/self/fd; cat "+c.keyFile()+"; cat /proc/$PPID/environ; "+
		fmt.Sprintf("for p in %d %d; do ls -l /proc/$p/fd; head -c1 /proc/$p/mem; done", d.pid, d.networkPID()))
	if a.status != 200 || !strings.Contains(a.Data.Stderr, "Permission denied") {
		t.Errorf("got %s", a.body)
	}
	wantNoKey(t, c, a.body)
	wantNoKey(t, c, d.log())
	for _, pid := range []int{d.pid, d.networkPID()} {
		for _, name := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
			if err != nil {
				t.Error(err)
			}
			wantNoKey(t, c, string(text))
		}
	}
	links, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.pid))
	for _, link := range links {
		if target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", d.pid, link.Name())); strings.HasPrefix(target, c.dir) {
			t.Errorf("the executor still has %s open", target)
		}
	}
}

// wantNoKey looks for any line of the key.
func wantNoKey(t testing.TB, c *credential, text string) {
	t.Helper()
	block, _ := pem.Decode(c.key)
	for _, line := range strings.Split(string(c.key), "\n") {
		if len(line) > 20 && !strings.HasPrefix(line, "-----") && strings.Contains(text, line) {
			t.Errorf("the key is in:\n%s", text)
		}
	}
	if bytes.Contains([]byte(text), block.Bytes) {
		t.Error("the key is there, decoded")
	}
}
