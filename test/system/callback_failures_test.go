package system

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// Case 45: a callback that is answered with an error is reported and retried.
func TestCallback_ErrorIsRetried(t *testing.T) {
	t.Parallel()
	d, v := startDaemon(t), newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	a := d.shell(fields{"command": "echo out", "callbackURL": v.URL})
	got := v.await(d, 2)
	d.awaitLog("Callback delivered")
	if !strings.Contains(d.log(), "answered HTTP 500") {
		t.Errorf("the failure is not told:\n%s", d.log())
	}
	for i, c := range got {
		c.wantOutput(t, "out\n", "")
		c.wantSigned(t, testKey)
		if c.header.Get("X-Sidecar-Attempt") != strconv.Itoa(i+1) || c.header.Get("X-Sidecar-Job-Id") != a.Data.JobID {
			t.Errorf("attempt %d: %v", i+1, c.header)
		}
	}
	if got[0].header.Get("X-Auth-Nonce") == got[1].header.Get("X-Auth-Nonce") {
		t.Error("a nonce was used twice")
	}
}

// Case 45: Retry-After of a 429 asks for three seconds; the usual first pause is one second.
func TestCallback_RetryAfter(t *testing.T) {
	t.Parallel()
	var first, second time.Time
	d, v := startDaemon(t), newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n > 1 {
			second = time.Now()
			return
		}
		first = time.Now()
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	d.shell(fields{"command": "true", "callbackURL": v.URL})
	v.await(d, 2)
	d.awaitLog("Callback delivered")
	v.Close() // no handler writes after this
	if pause := second.Sub(first); pause < 2900*time.Millisecond {
		t.Errorf("tried again after %s", pause)
	}
}

// Case 45: a redirect of a callback is reported and not followed.
func TestCallback_RedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	d, elsewhere := startDaemon(t), newReceiver(t, ok)
	v := newReceiver(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+"/canary-redirect", http.StatusFound)
	})
	d.shell(fields{"command": "true", "callbackURL": v.URL})
	v.await(d, 2)
	d.awaitLog("which is not followed")
	if n := len(elsewhere.all()); n > 0 {
		t.Errorf("the result went elsewhere, %d times", n)
	}
}

// Case 45: receivers hang before or after the beginning of their answer.
func TestCallback_HangingReceiver(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `CALLBACK_TIMEOUT = "1s"`)
	release := make(chan struct{})
	v := newReceiver(t, func(n int, _ http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			<-release
		}
	})
	defer close(release)
	d.shell(fields{"command": "echo out", "callbackURL": v.URL})
	v.await(d, 2)[1].wantOutput(t, "out\n", "")
	d.awaitLog("Callback delivered")
	if !strings.Contains(d.log(), "no answer in time") {
		t.Errorf("the failure is not told:\n%s", d.log())
	}
}

// Case 45: an endless answer of a receiver is cut off.
func TestCallback_EndlessAnswer(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `CALLBACK_TIMEOUT = "2s"`)
	ended := make(chan int64, 10)
	v := newReceiver(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		n, _ := io.Copy(w, endless{})
		ended <- n
	})
	d.shell(fields{"command": "echo out", "callbackURL": v.URL})
	d.awaitLog("Callback delivered")
	select {
	case n := <-ended:
		if n > 32<<20 {
			t.Errorf("%d bytes were taken", n)
		}
	case <-time.After(testkit.Patience):
		t.Error("it is still read")
	}
	d.wantPeaks(48, 48)
}

// endless is a reader of at most 1 GB of the letter x.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// Case 45: receivers break off, do not speak HTTP, or send endless headers.
func TestCallback_ReceiverBreaksHTTP(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `CALLBACK_TIMEOUT = "5s"`)
	for name, reply := range map[string]string{
		"closes":       "",
		"is no HTTP":   "220 mail.example ESMTP\r\n\x1b[2Jforged\r\n",
		"huge headers": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 300_000) + "\r\n\r\n",
		"bad status":   "HTTP/1.1 99999 ?\r\n\r\n",
		"only 1xx":     strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 1000),
	} {
		address := rawReceiver(t, reply)
		d.shell(fields{"command": "true", "callbackURL": "http://" + address + "/"})
		d.eventually(name+" to be reported", func() bool { return strings.Contains(d.log(), "Callback to "+address+" failed") })
		if strings.Contains(d.log(), "Callback delivered to "+address) {
			t.Errorf("%s: taken for a success", name)
		}
	}
	if a := d.run("echo well"); a.Data.Stdout != "well\n" {
		t.Errorf("afterwards: %s", a.body)
	}
	d.stop()
	d.wantReadableLog()
}

// rawReceiver answers each request with the same bytes and closes.
func rawReceiver(t testing.TB, reply string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(conn, reply)
			}
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

// Case 45: a certificate that no known authority has signed.
func TestCallback_TLSFailure(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	v := httptest.NewUnstartedServer(okReceiver())
	v.Config.ErrorLog = log.New(io.Discard, "", 0)
	v.StartTLS()
	defer v.Close()
	d.shell(fields{"command": "true", "callbackURL": v.URL})
	d.awaitLog("failed to verify certificate")
	if strings.Contains(d.log(), "Callback delivered") {
		t.Error("it was delivered")
	}
}

// Cases 47 and 32: a dead receiver delays neither commands nor other receivers.
func TestCallback_DeadReceiverDelaysNothing(t *testing.T) {
	t.Parallel()
	d, v := startDaemon(t, "MAX_RUNNING = 2", `DRAIN_TIMEOUT = "1s"`), newReceiver(t, ok)
	for range 6 {
		d.shell(fields{"command": "true", "callbackURL": "http://127.0.0.1:1/dead"})
	}
	d.awaitLog("Callback to 127.0.0.1:1 failed")
	a := d.try200(fields{"command": "echo well", "callbackURL": v.URL})
	if a.status != 200 {
		t.Fatalf("while callbacks wait for a dead receiver: got %d %s", a.status, a.body)
	}
	v.await(d, 1)[0].wantOutput(t, "well\n", "")
}

// Case 47: the queue of callbacks is bounded, and refusals say so.
func TestCallback_FullQueue(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_CALLBACKS = 3", `DRAIN_TIMEOUT = "1s"`)
	for range 3 {
		d.shell(fields{"command": "true", "callbackURL": "http://127.0.0.1:1/dead"})
	}
	a := d.try200(fields{"command": "echo fourth", "callbackURL": "http://127.0.0.1:1/dead"})
	a.wantRefusal(t, 503, "MAX_CALLBACKS")
	if a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	if a := d.run("echo without"); a.Data.Stdout != "without\n" {
		t.Errorf("got %s", a.body)
	}
}
