package listener

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// answerAll plays an executor that answers everything with a status. It closes drained when Drained
// comes.
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
				head := message.Head{
					Status: status, ContentType: "a/b", Length: 32 << 10, Body: make([]byte, 32<<10),
				}
				_ = r.executor.Send(message.Frame{
					Kind: message.Answer, Last: true, ID: f.ID, Payload: head.Encode(),
				})
			case message.Drained:
				close(drained)
			}
		}
	}()
	return drained
}

// pipeline sends a request over and over until the connection takes no more, and reads nothing.
func pipeline(conn net.Conn, request string) {
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	for {
		_ = conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := io.WriteString(conn, strings.Repeat(request, 100)); err != nil {
			return
		}
	}
}

// Each case ends by the timeout that is short; the other one is longer than the test.
func TestDrain_CallersWithoutAForwardedRequest(t *testing.T) {
	const short, long = 100 * time.Millisecond, time.Hour
	ifReading := timeouts{drainReading: short, drainHandling: long}
	ifHandling := timeouts{drainReading: 0, drainHandling: short}
	welcome := headers("GET / HTTP/1.1", "Host: h")
	for name, c := range map[string]struct {
		call  func(r *rig)
		bound timeouts
	}{
		"silent": {func(r *rig) { r.dial() }, ifReading},
		"half of the headers": {
			func(r *rig) { _, _ = io.WriteString(r.dial(), "GET / HTTP/1.1\r\n") }, ifReading,
		},
		"half of a body": {func(r *rig) {
			_, _ = io.WriteString(r.dial(), strings.TrimSuffix(signedRequest("{}"), "}"))
		}, ifHandling},
		"reads no welcome": {func(r *rig) { pipeline(r.dial(), welcome) }, ifHandling},
		"reads no metrics": {
			func(r *rig) { pipeline(r.dialTo(r.metrics), scrapeRequest) }, ifReading,
		},
		"signs wrongly and reads no answer": {
			func(r *rig) { pipeline(r.dial(), signedRequest("{}")) }, ifHandling,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limits := usualLimits()
			limits.MetricsSockets = 1
			r := newRigWith(t, limits, message.Identity{}, func(role *Role) {
				role.timeouts.drainReading = c.bound.drainReading
				role.timeouts.drainHandling = c.bound.drainHandling
			})
			drained := r.answerAll(401)
			c.call(r)
			time.Sleep(50 * time.Millisecond) // the role should have read it, but the drain ends either way
			r.send(message.Frame{Kind: message.Drain})
			select {
			case <-drained:
			case <-time.After(30 * time.Second):
				t.Error("got no Drained within 30 s")
			}
		})
	}
}

func TestDrain_SlowReader(t *testing.T) {
	r := newRigWith(t, usualLimits(), message.Identity{}, func(role *Role) {
		role.timeouts.drainReading, role.timeouts.drainHandling = 10*time.Millisecond, 20*time.Millisecond
	})
	conn := r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	r.expect(message.Request)
	const size = 16 << 20 // more than the kernel buffers for a connection
	go func() {
		head := message.Head{Status: 200, ContentType: "a/b", Length: size}
		_ = r.executor.Send(message.Frame{Kind: message.Answer, ID: 1, Payload: head.Encode()})
		for left := size; left > 0; left -= message.MaxData {
			data := message.Frame{
				Kind: message.Data, ID: 1, Last: left == message.MaxData,
				Payload: make([]byte, message.MaxData),
			}
			_ = r.executor.Send(data)
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
	time.Sleep(500 * time.Millisecond)
	if _, body := r.readAnswer(conn); len(body) != size {
		t.Errorf("got %d bytes, want %d", len(body), size)
	}
}

// Once the role has answered the Ping after a Drain, its successor gets every caller.
func TestDrain_PongAfterTheEndOfAccepting(t *testing.T) {
	for range 20 {
		r := newRig(t, usualLimits())
		served := r.dial()
		_, _ = io.WriteString(served, headers("GET / HTTP/1.1", "Host: h"))
		r.readAnswer(served)
		r.send(message.Frame{Kind: message.Drain})
		r.send(message.Frame{Kind: message.Ping, ID: 1})
		for r.receive().Kind != message.Pong {
		}
		if conn, err := net.Dial("tcp", r.address); err == nil {
			_ = conn.Close()
			t.Fatal("got a connection after the Pong, want none")
		}
	}
}

// A caller who calls again may not know yet that the role drains.
func TestDrain_RequestOnAnIdleConnection(t *testing.T) {
	r := newRigWith(t, usualLimits(), message.Identity{}, func(role *Role) {
		role.timeouts.drainIdle, role.timeouts.drainReading = time.Hour, time.Hour
	})
	conn := r.dial()
	for id, want := range []bool{false, true} {
		_, _ = io.WriteString(conn, signedRequest("{}"))
		r.expect(message.Request)
		r.send(answerTo(uint64(id+1), "ok"))
		response, body := r.readAnswer(conn)
		if body != "ok" || response.Close != want {
			t.Errorf("answer %d: got %q, closing %t, want ok, closing %t",
				id+1, body, response.Close, want)
		}
		if !want {
			r.send(message.Frame{Kind: message.Drain})
			r.send(message.Frame{Kind: message.Ping, ID: 1})
			r.expect(message.Pong)
		}
	}
	r.expect(message.Drained)
}

// Refusals that are not reported yet must not be forgotten.
func TestDrain_ReportsRefusals(t *testing.T) {
	r := newRigWith(t, usualLimits(), message.Identity{},
		func(role *Role) { role.refusals.interval = time.Hour })
	for range 3 {
		r.raw(headers("POST /shell HTTP/1.1", "Host: h", "Content-Length: 0"))
	}
	r.send(message.Frame{Kind: message.Drain})
	got, err := message.DecodeRefusal(r.expect(message.Refused).Payload)
	if err != nil || got.Count != 3 || got.Status != 401 {
		t.Errorf("got %+v, %v; want 3 with status 401", got, err)
	}
	r.expect(message.Drained)
}
