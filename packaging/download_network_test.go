package packaging

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// secure serves the mirror over https, with a self-signed certificate.
func secure(t *testing.T, odd answers) (url string, certificate *x509.Certificate) {
	t.Helper()
	server := httptest.NewUnstartedServer(mirror{releaseFolder(t), odd})
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the tests disconnect on purpose
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, server.Certificate()
}

// configure writes the configuration files of the caller's curl and wget.
func (p place) configure(t *testing.T, curl, wget string) {
	t.Helper()
	for file, text := range map[string]string{".curlrc": curl, ".wgetrc": wget} {
		if err := os.WriteFile(filepath.Join(p.home, file), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDownload_CertificateIsVerified(t *testing.T) {
	t.Parallel()
	url, _ := secure(t, nil)
	for _, called := range []string{"dash, curl", "dash, wget"} {
		here := newPlace(t, callers()[called])
		here.mustFail(t, "hint: the certificate cannot be verified", "--url", url)
		here.configure(t, "insecure", "check_certificate = off")
		here.mustFail(t, "hint: the certificate cannot be verified", "--url", url)
	}
	newPlace(t, callers()["BusyBox with its own wget"]).mustFail(t, "BusyBox wget does not verify certificates", "--url", url)
}

func TestDownload_CertificateTrustedByTheHost(t *testing.T) {
	t.Parallel()
	url, certificate := secure(t, nil)
	for _, called := range []string{"dash, curl", "dash, wget"} {
		here := newPlace(t, callers()[called])
		here.trust(t, certificate)
		_, told := here.mustRun(t, "--url", url, "--arch", "x86_64")
		mustBeDownload(t, here, name, "linux-amd64")
		if strings.Contains(told, "warning: with http") {
			t.Errorf("told %q", told)
		}
	}
}

func (p place) trust(t *testing.T, certificate *x509.Certificate) {
	t.Helper()
	file := filepath.Join(p.home, "authority.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	p.configure(t, "cacert = "+file, "ca_certificate = "+file)
}

func TestDownload_RedirectStaysOnHTTPS(t *testing.T) {
	t.Parallel()
	plain := newMirror(t, nil)
	url, certificate := secure(t, answers{archive: http.RedirectHandler(plain+"/"+archive, http.StatusFound).ServeHTTP})
	for _, called := range []string{"dash, curl", "dash, wget"} {
		here := newPlace(t, callers()[called])
		here.trust(t, certificate)
		here.mustFail(t, "cannot download "+url+"/"+archive, "--url", url, "--arch", "x86_64")
	}
}

func TestDownload_RedirectIsFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := newMirror(t, nil)
	url := newMirror(t, answers{archive: http.RedirectHandler(elsewhere+"/"+archive, http.StatusFound).ServeHTTP})
	eachCaller(t, func(t *testing.T, who caller) {
		here := newPlace(t, who)
		here.mustRun(t, "--url", url, "--arch", "x86_64")
		mustBeDownload(t, here, name, "linux-amd64")
	})
}

func TestDownload_HTTPWarns(t *testing.T) {
	t.Parallel()
	_, told := newPlace(t, plainCaller()).mustRun(t, "--url", newMirror(t, nil))
	if !strings.HasPrefix(told, "warning: with http an attacker on the network can change the program") {
		t.Errorf("told %q", told)
	}
}

// With timeouts of seconds instead of minutes, and once with a server that sends slowly.
func TestDownload_HangingServer(t *testing.T) {
	t.Parallel()
	trickle := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	}
	rows := map[string]struct {
		answer  http.HandlerFunc
		was, is string
	}{
		"silence":  {hang, "STALL_TIME=20", "STALL_TIME=1"},
		"trickles": {trickle, "FILE_TIME=1800", "FILE_TIME=2"},
	}
	for _, called := range []string{"dash, curl", "bash, wget"} {
		for kind, row := range rows {
			t.Run(called+", "+kind, func(t *testing.T) {
				t.Parallel()
				here := newPlace(t, callers()[called]).scriptWith(t, row.was, row.is)
				started := time.Now()
				here.mustFail(t, "cannot download", "--url", newMirror(t, answers{"sha256sums": row.answer}))
				if took := time.Since(started); took > testkit.Patience {
					t.Errorf("it took %v, want an end soon after 1 s or 2 s of silence", took)
				}
			})
		}
	}
}

// After Ctrl-C, kill or a closed terminal the older download is unchanged, and no process runs.
func TestDownload_InterruptedLeavesNothing(t *testing.T) {
	t.Parallel()
	exits := map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 143}
	eachCaller(t, func(t *testing.T, who caller) {
		here := newPlace(t, who)
		here.mustRun(t, "--url", newMirror(t, nil), "--arch", "x86_64")
		before := contents(t, here.dir)
		for signal, exit := range exits {
			interrupt(t, here, signal, exit)
			mustBeSame(t, before, contents(t, here.dir))
		}
	})
}

// interrupt sends the signal only to the script, while it waits for the archive.
func interrupt(t *testing.T, here place, signal syscall.Signal, exit int) {
	t.Helper()
	asked, gone := make(chan struct{}), make(chan struct{})
	url := newMirror(t, answers{archive: func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		hang(w, r)
		close(gone)
	}})
	command := here.command("--url", url, "--arch", "x86_64")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, asked, "the archive is asked for")
	if err := command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait() // its ProcessState tells all
		close(ended)
	}()
	for range 5 { // a shell that is about to wait for its child may miss the first signal
		select {
		case <-ended:
		case <-time.After(3 * time.Second):
			_ = command.Process.Signal(signal)
			continue
		}
		break
	}
	within(t, ended, "the script ends")
	if got := command.ProcessState.ExitCode(); got != exit {
		t.Errorf("%v: exit status %d, want %d", signal, got, exit)
	}
	within(t, gone, "the downloader goes away")
}

func within(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: not within 20s", what)
	}
}
