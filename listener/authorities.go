package listener

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
)

// authorityFiles are the bundles of certificate authorities that crypto/x509 reads on Linux. The
// first that can be read counts. It also reads folders, which cannot be listed inside the sandbox.
var authorityFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
	"/etc/ssl/ca-bundle.pem",                            // SUSE
	"/etc/pki/tls/cacert.pem",                           // OpenELEC
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // CentOS, RHEL 7
	"/etc/ssl/cert.pem",                                 // Alpine
}

// maxAuthorities bounds a bundle, in bytes. Debian's has 220 KiB.
const maxAuthorities = 8 << 20

// authorities are the host's present certificate authorities. crypto/x509 reads them once in the
// life of a process: one that the host adds or withdraws later would count only after a restart.
type authorities struct {
	files []string

	mu   sync.Mutex
	seen string         // the state of the files when pool was read
	pool *x509.CertPool // nil until the first load, and after a failed one
}

// load returns the same pool as before unless a file has changed.
func (a *authorities) load() (*x509.CertPool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.state() // before reading: the next load finds a change in between
	if a.pool != nil && now == a.seen {
		return a.pool, nil
	}
	a.seen, a.pool = now, nil
	pool, err := a.read()
	if err == nil {
		a.pool = pool
	}
	return pool, err
}

// state changes when any of the files is replaced, rewritten, created or removed.
func (a *authorities) state() string {
	var state strings.Builder
	for _, path := range a.files {
		var s syscall.Stat_t
		err := syscall.Stat(path, &s)
		fmt.Fprintln(&state, err, s.Dev, s.Ino, s.Size, s.Mtim, s.Ctim)
	}
	return state.String()
}

func (a *authorities) read() (*x509.CertPool, error) {
	const cannot = "cannot verify the receiver's certificate: "
	var unreadable error
	for _, path := range a.files {
		text, err := readBundle(path)
		if err != nil {
			if unreadable == nil && !errors.Is(err, fs.ErrNotExist) {
				unreadable = err
			}
			continue
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf(cannot+"%s holds no certificate; "+
				"hint: run `update-ca-certificates` or `update-ca-trust` as root", path)
		}
		return pool, nil
	}
	if errors.Is(unreadable, fs.ErrPermission) {
		return nil, fmt.Errorf(cannot+"%w; "+
			"hint: make it and the folders on the way readable for all; "+
			"restart the service if it leads outside of /etc", unreadable)
	}
	if unreadable != nil {
		return nil, fmt.Errorf(cannot+"%w", unreadable)
	}
	return nil, errors.New(cannot + "this host has no certificate authorities; " +
		"hint: install its package ca-certificates")
}

func readBundle(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a FIFO would block
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxAuthorities+1))
	if err == nil && len(text) > maxAuthorities {
		err = fmt.Errorf("%s has more than %d MiB", path, maxAuthorities>>20)
	}
	return text, err
}
