package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// tlsFolder can be entered by root only, as the folders of common ACME clients.
const tlsFolder = "/etc/letsencrypt"

// writeCertificate writes a new certificate for the default addresses with a new key, and returns
// the key.
func (m *machine) writeCertificate() string {
	m.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "a test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(2000 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(172, 17, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		m.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	err = errors.Join(err, os.MkdirAll(m.path(tlsFolder), 0o700),
		os.WriteFile(m.path(tlsFolder+"/cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(m.path(tlsFolder+"/key.pem"), text, 0o600))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

// checkShell makes a signed call to an address, trusting the certificate for its names.
func (m *machine) checkShell(address string) {
	m.t.Helper()
	out := m.run("dataflux-func-sidecar", "shell", "--url", "https://"+address, "--ca", tlsFolder+"/cert.pem", "id -un")
	if strings.TrimSpace(out) != "dffs" {
		m.t.Errorf("%s answers %q", address, out)
	}
}

// TLS must work under the unit as released, with its capabilities, sandbox and sockets.
func TestTLS_FromTheFirstLineToARenewal(t *testing.T) {
	m := installed(t)
	m.addDocker0()
	sockets, key := m.listening(), m.writeCertificate()
	m.sh(fmt.Sprintf(`printf 'TLS_CERTIFICATE="%[1]s/cert.pem"\nTLS_KEY="%[1]s/key.pem"\n' >> %[2]s; systemctl restart %[3]s`, tlsFolder, configuration, service))
	m.checkShell("127.0.0.1:8099")
	m.checkShell("172.17.0.1:8099")
	m.wantWell("with TLS")

	executor := m.executor()
	next := m.writeCertificate()
	if found, _ := m.check(); !hasFinding(found, "answers", "the file was renewed after the service has started") {
		t.Errorf("a renewal without a restart is not found: %+v", found)
	}
	m.run("systemctl", "restart", service)
	m.checkShell("127.0.0.1:8099")
	m.wantWell("renewed")
	if after := m.listening(); after != sockets || m.executor() == executor {
		t.Errorf("the listening sockets were\n%s\nand are\n%s", sockets, after)
	}
	m.checkNoTLSKey(key, next)
	m.checkKeyOfAnotherIsRefused()
}

// checkNoTLSKey checks that no part of a key is in the journal or can be read by a command.
func (m *machine) checkNoTLSKey(keys ...string) {
	m.t.Helper()
	journal := m.run("journalctl", "-o", "export", "--no-pager")
	for _, key := range keys {
		if part := strings.Split(key, "\n")[1]; strings.Contains(journal, part) {
			m.t.Error("the TLS key is in the journal")
		}
	}
	out, status := m.try("dataflux-func-sidecar", "shell", "cat "+tlsFolder+"/key.pem; head -c1 /proc/"+m.executor()+"/mem; head -c1 /proc/"+m.network()+"/mem")
	if strings.Count(out, "ermission denied") != 3 || status == 0 {
		m.t.Errorf("a command is not kept out: %s", out)
	}
}

// Root could read a key of any user, but a key that another user can replace is refused.
func (m *machine) checkKeyOfAnotherIsRefused() {
	m.t.Helper()
	m.sh("chown nobody " + tlsFolder + "/key.pem; systemctl restart --no-block " + service)
	m.awaitEntry("Not serving: TLS_KEY: " + tlsFolder + "/key.pem belongs to user 65534")
	m.sh("chown root " + tlsFolder + "/key.pem; systemctl restart " + service)
	m.checkShell("127.0.0.1:8099")
}

func hasFinding(found []finding, check, text string) bool {
	for _, f := range found {
		if f.Check == check && strings.Contains(f.Message, text) {
			return true
		}
	}
	return false
}
