package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// SpeaksTLS reports whether a listening address speaks TLS. A Unix socket never does: its traffic
// does not leave the host.
func (c Config) SpeaksTLS(a Address) bool {
	if c.TLSCertificate == "" || a.Network != "tcp" {
		return false
	}
	return len(c.TLSAddresses) == 0 || slices.Contains(c.TLSAddresses, a)
}

// TLSPair is a certificate with its private key. No error holds a part of the key.
type TLSPair struct {
	Certificate, Key []byte // PEM; the certificate with its chain
	Leaf             *x509.Certificate
}

// LoadTLS reads the files that TLS_CERTIFICATE and TLS_KEY name. It refuses a key that other users
// can read, and one that does not belong to the certificate.
func (c Config) LoadTLS() (TLSPair, error) {
	certificate, _, err := readRegular(c.TLSCertificate, message.MaxCertificate)
	if err != nil {
		return TLSPair{}, fmt.Errorf("TLS_CERTIFICATE: %w", err)
	}
	key, info, err := readRegular(c.TLSKey, message.MaxKey)
	if err != nil {
		return TLSPair{}, fmt.Errorf("TLS_KEY: %w", err)
	}
	var faults []error
	for _, err := range []error{CheckOwner(c.TLSKey, info), CheckMode(c.TLSKey, info)} {
		if err != nil {
			faults = append(faults, fmt.Errorf("TLS_KEY: %w", err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return TLSPair{}, err
	}
	return c.ParseTLS(certificate, key)
}

// ParseTLS makes a pair of the texts of the files that TLS_CERTIFICATE and TLS_KEY name. It refuses
// a key that does not belong to the certificate.
func (c Config) ParseTLS(certificate, key []byte) (TLSPair, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return TLSPair{}, fmt.Errorf("cannot use TLS_CERTIFICATE %s and TLS_KEY %s together: %s",
			c.TLSCertificate, c.TLSKey, explainPair(err, key))
	}
	return TLSPair{certificate, key, pair.Leaf}, nil
}

// explainPair says what to change. The errors of crypto/tls hold no part of a key.
func explainPair(err error, key []byte) string {
	block, _ := pem.Decode(key)
	switch {
	case block != nil && (block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != ""):
		return "the key is encrypted, and no one can type its passphrase at a start: write it " +
			"without, with openssl pkey"
	case strings.Contains(err.Error(), "does not match"):
		return "the key is another certificate's: give the two that were made together, the " +
			"server's own certificate first in its file"
	}
	return strings.TrimPrefix(err.Error(), "tls: ")
}

// Validity returns an error if the certificate has expired or is not valid yet.
func (p TLSPair) Validity(now time.Time) error {
	switch {
	case now.After(p.Leaf.NotAfter):
		return errors.New("has expired on " + p.Leaf.NotAfter.Format(time.DateOnly))
	case now.Before(p.Leaf.NotBefore):
		return errors.New("is not valid before " + p.Leaf.NotBefore.Format(time.DateOnly))
	}
	return nil
}

// LoadLeaf reads the certificate without its key.
func (c Config) LoadLeaf() (*x509.Certificate, error) {
	text, _, err := readRegular(c.TLSCertificate, message.MaxCertificate)
	if err != nil {
		return nil, fmt.Errorf("TLS_CERTIFICATE: %w", err)
	}
	leaf, err := ParseLeaf(text)
	if err != nil {
		return nil, fmt.Errorf("TLS_CERTIFICATE: %s %w", c.TLSCertificate, err)
	}
	return leaf, nil
}

// ParseLeaf returns the first certificate of a text in the PEM form.
func ParseLeaf(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("holds no certificate in the PEM form")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errors.New("holds no certificate that can be read")
	}
	return leaf, nil
}

// readRegular reads a regular file of at most maxSize bytes.
func readRegular(path string, maxSize int64) ([]byte, os.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block
	if errors.Is(err, os.ErrPermission) {
		return nil, nil, unreadableByRoot(path, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read it: %w: correct the path", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	unsuitable := fmt.Errorf("%s is not a regular file of at most %d bytes: correct the path", path,
		maxSize)
	if !info.Mode().IsRegular() {
		return nil, nil, unsuitable
	}
	// The size that fstat told may be another one by now, and is 0 in /proc.
	text, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read it: %w", err)
	}
	if int64(len(text)) > maxSize {
		return nil, nil, unsuitable
	}
	return text, info, nil
}
