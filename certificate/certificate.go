// Package certificate reads the certificate and the key for TLS from the files that the configuration
// names.
//
// It must never repeat a part of a key in an error, and never take a key that others than its owner can read.
package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/privsep/message"
)

// Pair is a certificate with the key that belongs to it.
type Pair struct {
	Certificate, Key []byte // PEM, the former with its chain
	Leaf             *x509.Certificate
}

// Load reads what TLS_CERTIFICATE and TLS_KEY name. It refuses a key that others can read, and one that is not the certificate's.
func Load(settings config.Config) (Pair, error) {
	certificate, _, err := readSmall(settings.TLSCertificate, message.MaxCertificate)
	if err != nil {
		return Pair{}, fmt.Errorf("TLS_CERTIFICATE: %w", err)
	}
	key, info, err := readSmall(settings.TLSKey, message.MaxKey)
	if err != nil {
		return Pair{}, ofKey(err)
	}
	if err := errors.Join(ofKey(config.CheckOwner(settings.TLSKey, info)), ofKey(config.CheckMode(settings.TLSKey, info))); err != nil {
		return Pair{}, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return Pair{}, fmt.Errorf("TLS_CERTIFICATE %s and TLS_KEY %s cannot be used together: %s", settings.TLSCertificate, settings.TLSKey, whyNoPair(err, key))
	}
	return Pair{certificate, key, pair.Leaf}, nil
}

func ofKey(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("TLS_KEY: %w", err)
}

// Leaf reads the certificate alone, which everybody may see who can read the configuration.
func Leaf(settings config.Config) (*x509.Certificate, error) {
	text, _, err := readSmall(settings.TLSCertificate, message.MaxCertificate)
	if err != nil {
		return nil, fmt.Errorf("TLS_CERTIFICATE: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("TLS_CERTIFICATE: %s holds no certificate in the PEM form", settings.TLSCertificate)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("TLS_CERTIFICATE: %s holds no certificate that can be read", settings.TLSCertificate)
	}
	return leaf, nil
}

// readSmall reads a regular file; one that is larger than most is not what it should be.
func readSmall(path string, most int64) ([]byte, os.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO is refused rather than waited for
	if errors.Is(err, os.ErrPermission) {
		return nil, nil, config.Unpermitted(path, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read it: %w: correct the path", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, nil, fmt.Errorf("%s is not a regular file of at most %d bytes: correct the path", path, most)
	}
	text, err := io.ReadAll(io.LimitReader(file, most))
	return text, info, err
}

// whyNoPair says what to change. What it repeats of the error quotes no part of a key.
func whyNoPair(err error, key []byte) string {
	block, _ := pem.Decode(key)
	switch {
	case block != nil && (block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != ""):
		return "the key is encrypted, and nobody is there to type its passphrase: write it without, with openssl pkey"
	case strings.Contains(err.Error(), "does not match"):
		return "the key is another certificate's: give the two that were made together, the server's own certificate first in its file"
	}
	return strings.TrimPrefix(err.Error(), "tls: ")
}

// Untimely says how the certificate is outside of its time, or nothing.
func (p Pair) Untimely(now time.Time) string {
	switch {
	case now.After(p.Leaf.NotAfter):
		return "has expired on " + p.Leaf.NotAfter.Format(time.DateOnly)
	case now.Before(p.Leaf.NotBefore):
		return "is not valid before " + p.Leaf.NotBefore.Format(time.DateOnly)
	}
	return ""
}
