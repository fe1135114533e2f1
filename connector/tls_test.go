package connector_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// serveTLS stands in front of the daemon as a reverse proxy does: it speaks TLS and passes the bytes on.
func serveTLS(t *testing.T, address string) (l net.Listener, roots []byte) {
	t.Helper()
	certificate, roots := newCertificate(t)
	l = tls.NewListener(listen(t), &tls.Config{Certificates: []tls.Certificate{certificate}})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			go passOn(conn, address)
		}
	}()
	return l, roots
}

func passOn(client net.Conn, address string) {
	defer func() { _ = client.Close() }()
	daemon, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return // the client sees a connection that ends
	}
	defer func() { _ = daemon.Close() }()
	go func() {
		_, _ = io.Copy(daemon, client)
		_ = daemon.Close()
	}()
	_, _ = io.Copy(client, daemon)
}

// newCertificate is one for 127.0.0.1 from an authority of its own, as Python's strict checks want them.
func newCertificate(t *testing.T) (certificate tls.Certificate, roots []byte) {
	t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey, authorityDER := issue(t, authority, authority, nil)
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	issuer, err := x509.ParseCertificate(authorityDER)
	if err != nil {
		t.Fatal(err)
	}
	key, der := issue(t, server, issuer, authorityKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authorityDER})
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
