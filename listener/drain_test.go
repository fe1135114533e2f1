package listener

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// answerAll plays an executor that answers everything with that status, and tells when Drained has come.
func (r *rig) answerAll(status uint16) (drained chan struct{}) {
	drained = make(chan struct{})
	go func() {
		for {
			f, err := r.executor.Receive()
			if err != nil {
				return
			}
			switch f.Kind {
			case message.Request, message.Scrape:
				head := message.Head{Status: status, ContentType: "a/b", Length: 32 << 10, Body: make([]byte, 32<<10)}
				_ = r.executor.Send(message.Frame{Kind: message.Answer, Last: true, ID: f.ID, Payload: head.Encode()})
			case message.Drained:
				close(drained)
			}
		}
	}()
	return drained
}

// pipeline sends a request over and over until nobody takes it any more, and reads nothing.
func pipeline(conn net.Conn, request string) {
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	for {
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := io.WriteString(conn, strings.Repeat(request, 100)); err != nil {
			return
		}
	}
}

func TestADrainDoesNotWaitForWhoHasNothingDone(t *testing.T) {
	const welcome = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	for name, c := range map[string]struct {
		call   func(r *rig)
		within time.Duration
	}{
		"silent":                            {func(r *rig) { r.dial() }, 4 * time.Second},
		"half of the headers":               {func(r *rig) { _, _ = io.WriteString(r.dial(), "GET / HTTP/1.1\r\n") }, 4 * time.Second},
		"half of a body":                    {func(r *rig) { _, _ = io.WriteString(r.dial(), strings.TrimSuffix(signedRequest("{}"), "}")) }, 10 * time.Second},
		"reads no welcome":                  {func(r *rig) { pipeline(r.dial(), welcome) }, 10 * time.Second},
		"reads no metrics":                  {func(r *rig) { pipeline(r.dialTo(r.metrics), scrapeRequest) }, 4 * time.Second},
		"signs wrongly and reads no answer": {func(r *rig) { pipeline(r.dial(), signedRequest("{}")) }, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRigWithMetrics(t)
			drained := r.answerAll(401)
			c.call(r)
			time.Sleep(50 * time.Millisecond)
			r.send(message.Frame{Kind: message.Drain})
			select {
			case <-drained:
			case <-time.After(c.within):
				t.Errorf("still waiting after %s", c.within)
			}
		})
	}
}

func TestADrainLeavesASlowReaderHisTime(t *testing.T) {
	t.Parallel()
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	r.expect(message.Request)
	const size = 16 << 20 // more than the kernel takes for a connection
	go func() {
		left := size
		_ = r.executor.Send(message.Frame{Kind: message.Answer, ID: 1, Payload: message.Head{Status: 200, ContentType: "a/b", Length: size}.Encode()})
		for ; left > 0; left -= message.MaxData {
			_ = r.executor.Send(message.Frame{Kind: message.Data, ID: 1, Last: left == message.MaxData, Payload: make([]byte, message.MaxData)})
		}
	}()
	r.send(message.Frame{Kind: message.Drain})
	go func() { // the credits
		for {
			if _, err := r.executor.Receive(); err != nil {
				return
			}
		}
	}()
	time.Sleep(6 * time.Second)
	if _, body := r.readAnswer(conn); len(body) != size {
		t.Errorf("%d bytes came", len(body))
	}
}
