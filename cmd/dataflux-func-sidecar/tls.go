package main

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/journal"
	"dataflux-func-sidecar/privsep/message"
)

// identityOf reads certificate and key while the process is still root, and says which sockets speak TLS.
// It returns nil where none does. A certificate that has expired is served nevertheless: callers on Unix
// sockets and those who do not look are not to suffer, and the others say what is wrong.
func identityOf(settings config.Config, sockets []socket, log *journal.Log) (*message.Identity, error) {
	speak, any := make([]bool, len(sockets)), false
	for i, s := range sockets {
		speak[i] = !s.metrics && settings.SpeaksTLS(s.address)
		any = any || speak[i]
	}
	if !any {
		return nil, nil
	}
	files, err := readTLS(settings)
	if err != nil {
		return nil, err
	}
	if wrong := files.untimely(time.Now()); wrong != "" {
		log.Write(journal.Degraded(), fmt.Sprintf("The TLS certificate %s: callers who check it will refuse it. Renew it, then: %s", wrong, restart), nil)
	}
	return &message.Identity{Certificate: files.certificate, Key: files.key, Listeners: speak}, nil
}

// tlsFiles are TLS_CERTIFICATE and TLS_KEY, which belong together.
type tlsFiles struct {
	certificate, key []byte
	pair             tls.Certificate
}

// readTLS refuses a key that others can read, and one that is not the certificate's.
func readTLS(settings config.Config) (tlsFiles, error) {
	certificate, _, err := readSmall(settings.TLSCertificate, message.MaxCertificate)
	if err != nil {
		return tlsFiles{}, fmt.Errorf("TLS_CERTIFICATE: %w", err)
	}
	key, info, err := readSmall(settings.TLSKey, message.MaxKey)
	if err == nil {
		err = errors.Join(config.CheckOwner(settings.TLSKey, info), config.CheckMode(settings.TLSKey, info))
	}
	if err != nil {
		return tlsFiles{}, fmt.Errorf("TLS_KEY: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return tlsFiles{}, fmt.Errorf("TLS_CERTIFICATE %s and TLS_KEY %s cannot be used together: %s", settings.TLSCertificate, settings.TLSKey, whyNoPair(err, key))
	}
	return tlsFiles{certificate, key, pair}, nil
}

// readSmall reads a regular file; one that is larger than most is not what it should be.
func readSmall(path string, most int64) ([]byte, os.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO is refused rather than waited for
	if errors.Is(err, os.ErrPermission) {
		return nil, nil, fmt.Errorf("%w: the service reads it as root, who may pass over no file modes there: run chown root: %s", err, config.ShellQuote(path))
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

// untimely says how a certificate is outside of its time, or nothing.
func (f tlsFiles) untimely(now time.Time) string {
	leaf := f.pair.Leaf
	switch {
	case now.After(leaf.NotAfter):
		return "has expired on " + leaf.NotAfter.Format(time.DateOnly)
	case now.Before(leaf.NotBefore):
		return "is not valid before " + leaf.NotBefore.Format(time.DateOnly)
	}
	return ""
}

// certify hands over what TLS needs. If that fails, so does all that is sent after it.
func (s *supervisor) certify(conn *message.Conn) {
	if s.identity != nil {
		_ = conn.Send(message.Frame{Kind: message.Certified, Payload: s.identity.Encode()})
	}
}

// where lists what is listened on, which of it speaks TLS, and where the metrics are.
func (s *supervisor) where() string {
	ordinary, forMetrics := divided(s.sockets)
	where := config.JoinBind(addressesOf(ordinary))
	if s.identity != nil {
		where += fmt.Sprintf(" (TLS on %s)", config.JoinBind(s.secured()))
	}
	if len(forMetrics) > 0 {
		where += fmt.Sprintf(" (metrics on %s)", config.JoinBind(addressesOf(forMetrics)))
	}
	return where
}

func (s *supervisor) secured() (secured []config.Address) {
	for i, speaks := range s.identity.Listeners {
		if speaks {
			secured = append(secured, s.sockets[i].address)
		}
	}
	return secured
}
