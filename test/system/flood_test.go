package system

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// Case 5, unsigned and as large as a body may be: memory is bounded in both roles, the network role
// answers the supervisor, and key holders are served meanwhile.
func TestFlood_LargeUnsignedRequests(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	role := d.networkPID()
	r := d.sign("POST", "/shell", strings.Repeat("a", 1<<20))
	r.signature = strings.Repeat("0", 40)
	request := []byte(r.raw())
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			for {
				w := d.dial()
				if _, err := w.Write(request); err == nil {
					if a, err := w.tryAnswer("POST"); err != nil || a.status != 401 && a.status != 503 {
						t.Errorf("%v, %d %.200s", err, a.status, a.body)
					}
				}
				_ = w.Close()
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if a := d.run("echo served"); a.Data.Stdout != "served\n" {
			t.Errorf("meanwhile: %s", a.body)
		}
	}
	close(done)
	wg.Wait()
	if now := d.networkPID(); now != role {
		t.Errorf("the network role is %d and was %d", now, role)
	}
	d.wantPeaks(80, 280)
}
