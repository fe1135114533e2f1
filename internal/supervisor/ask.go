package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"dataflux-func-sidecar/internal/config"
)

// Reload asks the daemon of a state directory to go on as this program, with the configuration at
// path, and the TLS pair and the files of secrets that it names. It returns the daemon's answer,
// one line, or ErrNoDaemon if there is none, and takes a minute at most.
func Reload(path, stateDir string) (string, error) {
	read := time.Now()
	r, err := readForReload(path)
	if err != nil {
		return "", err
	}
	a, err := sendRequest(stateDir, r)
	if err == nil && !a.Done {
		err = errors.New(a.Text)
	}
	if err == nil {
		// configure --apply, check and install.sh compare it with that of the configuration.
		_ = os.Chtimes(filepath.Join(stateDir, controlName), read, read)
	}
	return a.Text, err
}

// readForReload reads and checks what a reload brings.
func readForReload(path string) (r request, err error) {
	settings, text, err := config.LoadText(path)
	if err != nil {
		return r, err
	}
	r = request{
		Path: path, Config: string(text),
		Keys: credentials(settings), SecretFiles: settings.FileSecrets(),
		Bind: config.Texts(settings.Bind), MetricsBind: config.Texts(settings.MetricsBind),
	}
	if settings.TLSCertificate != "" {
		pair, err := settings.LoadTLS()
		if err != nil {
			return r, err
		}
		r.Certificate, r.Key = pair.Certificate, pair.Key
	}
	return r, nil
}

// followHangups makes SIGHUP a reload where the daemon can read its configuration.
func (s *supervisor) followHangups() {
	for range s.signals.hangups {
		if err := s.reloadByItself(); err != nil {
			s.logRefused(err)
		}
	}
}

// reloadByItself reloads with the program that has this one's path now.
func (s *supervisor) reloadByItself() error {
	r, err := readForReload(s.options.Config)
	if err != nil {
		return err
	}
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find the program: %w", err)
	}
	program, err := openProgram(path)
	if err != nil {
		return err
	}
	q := &reloadRequest{
		request: r, program: program, began: monotonic(), answered: make(chan struct{}),
	}
	s.reloads <- q
	<-q.answered
	return nil
}
