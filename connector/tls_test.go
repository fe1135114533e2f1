package connector_test

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
	"testing"
	"time"
)

// certify makes a certificate for 127.0.0.1 from an authority of its own, as Python's strict checks want them,
// and returns what the configuration says of it.
func (d *daemon) certify() string {
	d.t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey, authorityDER := issue(d.t, authority, authority, nil)
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	issuer, err := x509.ParseCertificate(authorityDER)
	if err != nil {
		d.t.Fatal(err)
	}
	key, der := issue(d.t, server, issuer, authorityKey)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	err = errors.Join(err, d.writePEM("ca.pem", "CERTIFICATE", authorityDER), d.writePEM("server.pem", "CERTIFICATE", der), d.writePEM("server.key", "PRIVATE KEY", private))
	if err != nil {
		d.t.Fatal(err)
	}
	return fmt.Sprintf("BIND = \"%s,%s\"\nTLS_ADDRESSES = %q\nTLS_CERTIFICATE = %q\nTLS_KEY = %q\n",
		d.listener.Addr(), d.tls.Addr(), d.tls.Addr().String(), d.file("server.pem"), d.file("server.key"))
}

func (d *daemon) writePEM(name, kind string, der []byte) error {
	return os.WriteFile(d.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// issue signs a certificate with the issuer's key; without one it signs itself.
func issue(t *testing.T, certificate, issuer *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, issuer, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}
