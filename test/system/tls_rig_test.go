package system

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// credential is a self-signed certificate and its key, as files.
type credential struct {
	dir         string
	certificate *x509.Certificate
	roots       *x509.CertPool
	key         []byte // PEM
}

// newCredential returns a credential that is valid until a time, for an address and names.
func newCredential(t testing.TB, until time.Time, ip string, names ...string) *credential {
	t.Helper()
	c := &credential{dir: t.TempDir()}
	c.renew(t, until, ip, names...)
	return c
}

func (c *credential) renew(t testing.TB, until time.Time, ip string, names ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "a test"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.ParseIP(ip)}, DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c.certificate, _ = x509.ParseCertificate(der)
	c.roots = x509.NewCertPool()
	c.roots.AddCert(c.certificate)
	c.key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	c.write(t, c.certificateFile(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	c.write(t, c.keyFile(), c.key)
}

func (c *credential) write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c *credential) certificateFile() string { return filepath.Join(c.dir, "certificate.pem") }
func (c *credential) keyFile() string         { return filepath.Join(c.dir, "key.pem") }

// lines returns its lines of the configuration.
func (c *credential) lines(more ...string) []string {
	return append([]string{"TLS_CERTIFICATE = " + strconv.Quote(c.certificateFile()), "TLS_KEY = " + strconv.Quote(c.keyFile())}, more...)
}

// dialTLS trusts only the credential.
func (d *daemon) dialTLS(c *credential) *wire {
	d.t.Helper()
	conn, err := tls.Dial("tcp", d.address, &tls.Config{RootCAs: c.roots})
	if err != nil {
		d.t.Fatal(err)
	}
	return d.newWire(conn)
}

func (d *daemon) tlsShell(c *credential, command string) answer {
	d.t.Helper()
	return d.dialTLS(c).put(d.sign("POST", "/shell", jsonOf(fields{"command": command})).raw()).answer("POST")
}

// newTLSDaemon prepares a daemon with a valid certificate for its address.
func newTLSDaemon(t testing.TB) (*daemon, *credential) {
	t.Helper()
	d := newDaemon(t, strconv.Quote(testKey))
	host, _, _ := net.SplitHostPort(d.address)
	c := newCredential(t, time.Now().Add(1000*time.Hour), host)
	d.configure(strconv.Quote(testKey), c.lines(`BIND = "`+d.address+`"`)...)
	return d, c
}
