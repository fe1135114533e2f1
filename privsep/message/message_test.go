package message

import (
	"bytes"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"
)

func pair(t *testing.T) (executor, network *Conn) {
	t.Helper()
	a, b := net.Pipe()
	executor, network = NewConn(a, FromNetwork()), NewConn(b, FromExecutor())
	t.Cleanup(func() { _ = executor.Close(); _ = network.Close() })
	return executor, network
}

func TestFramesArriveAsTheyWereSent(t *testing.T) {
	executor, network := pair(t)
	sent := []Frame{
		{Kind: Setup, Payload: Limits{MaxBody: 1, MaxConnections: 2, CallbackTimeout: time.Second}.Encode()},
		{Kind: Ping, ID: 7},
		{Kind: Data, Last: true, ID: 9 | PostFlag, Payload: bytes.Repeat([]byte("x"), MaxData)},
	}
	go func() {
		for _, f := range sent {
			_ = executor.Send(f)
		}
	}()
	for _, want := range sent {
		got, err := network.Receive()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got kind %d with %d bytes, %v; want kind %d with %d bytes", got.Kind, len(got.Payload), err, want.Kind, len(want.Payload))
		}
	}
}

func TestWhatIsReusedIsTheNextPayloadAndNothingElse(t *testing.T) {
	executor, network := pair(t)
	sizes := []int{MaxData, MaxData, 10, MaxData, MaxData - 1, MaxData}
	go func() {
		for i, size := range sizes {
			_ = executor.Send(Frame{Kind: Data, ID: 1, Payload: bytes.Repeat([]byte{byte(i)}, size)})
		}
	}()
	for i, size := range sizes {
		f, err := network.Receive()
		if err != nil || !bytes.Equal(f.Payload, bytes.Repeat([]byte{byte(i)}, size)) {
			t.Fatalf("frame %d has %d bytes, %v; want %d", i, len(f.Payload), err, size)
		}
		network.Reuse(f.Payload)
		network.Reuse(make([]byte, MaxData+1))
		network.Reuse(nil)
	}
}

// stream reads from fixed bytes; the channel's peer is whoever wrote them.
type stream struct{ io.Reader }

func (stream) Write(p []byte) (int, error) { return len(p), nil }
func (stream) Close() error                { return nil }

func receive(raw []byte, table Table) (Frame, error) {
	return NewConn(stream{bytes.NewReader(raw)}, table).Receive()
}

func raw(kind Kind, flags byte, length uint32, payload string) []byte {
	f := Frame{Kind: kind}
	h := f.header()
	h[1] = flags
	h[4], h[5], h[6], h[7] = byte(length>>24), byte(length>>16), byte(length>>8), byte(length)
	return append(h[:], payload...)
}

func TestALyingPeerIsFoundOutByTheHeaderAlone(t *testing.T) {
	reserved := raw(Pong, 0, 0, "")
	reserved[3] = 1
	cases := map[string][]byte{
		"kind 0":                 raw(0, 0, 0, ""),
		"unknown kind":           raw(200, 0, 0, ""),
		"the other direction's":  raw(Setup, 0, 0, ""),
		"an answer from the net": raw(Answer, 0, 4, "abcd"),
		"unknown flag":           raw(Pong, 2, 0, ""),
		"reserved byte":          reserved,
		"one byte too long":      raw(Credit, 0, 5, "abcde"),
		"4 GiB":                  raw(Request, 0, 1<<32-1, ""),
		"payload where none is":  raw(Hangup, 0, 1, "x"),
		"a scrape with payload":  raw(Scrape, 0, 1, "x"),
	}
	for name, bytes := range cases {
		if _, err := receive(bytes, FromNetwork()); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: got %v, want ErrProtocol", name, err)
		}
	}
}

func TestAFrameCutShortIsNotAnEnd(t *testing.T) {
	whole := raw(Credit, 0, 4, "abcd")
	for n := 1; n < len(whole); n++ {
		if _, err := receive(whole[:n], FromNetwork()); !errors.Is(err, ErrProtocol) {
			t.Errorf("cut at %d: got %v, want ErrProtocol", n, err)
		}
	}
	if _, err := receive(nil, FromNetwork()); err != io.EOF {
		t.Errorf("closed between frames: got %v, want io.EOF", err)
	}
}

func TestEveryPermittedKindHasALimitAtWhichItPassesAndAboveWhichItFails(t *testing.T) {
	for _, table := range []Table{FromNetwork(), FromExecutor()} {
		for kind, limit := range table {
			if _, _, err := parseHeader([16]byte(raw(kind, 0, limit, "")), table); err != nil {
				t.Errorf("kind %d at its limit: %v", kind, err)
			}
			if _, _, err := parseHeader([16]byte(raw(kind, 0, limit+1, "")), table); !errors.Is(err, ErrProtocol) {
				t.Errorf("kind %d above its limit: got %v, want ErrProtocol", kind, err)
			}
		}
	}
}

func TestPayloadsSurviveTheRoundTrip(t *testing.T) {
	limits := Limits{MaxBody: 1 << 20, MaxConnections: 3, CallbackTimeout: time.Minute, MetricsSockets: 2}
	if got, err := DecodeLimits(limits.Encode()); err != nil || got != limits {
		t.Errorf("Limits: %+v, %v", got, err)
	}
	call := Call{Method: "POST", Path: "/shell", Nonce: "n", Timestamp: "1", Signature: "s", Remote: "r", Body: []byte("{}")}
	if got, err := DecodeCall(call.Encode()); err != nil || !reflect.DeepEqual(got, call) {
		t.Errorf("Call: %+v, %v", got, err)
	}
	head := Head{Status: 503, RetryAfter: 1, Allow: "POST", ContentType: "application/json", Length: -1, Body: []byte("b")}
	if got, err := DecodeHead(head.Encode()); err != nil || !reflect.DeepEqual(got, head) {
		t.Errorf("Head: %+v, %v", got, err)
	}
	callback := Callback{URL: "http://h/", Headers: []string{"A", "1", "B", ""}, Length: 5}
	if got, err := DecodeCallback(callback.Encode()); err != nil || !reflect.DeepEqual(got, callback) {
		t.Errorf("Callback: %+v, %v", got, err)
	}
	outcome := Outcome{Status: 429, RetryAfter: 7, Error: "e"}
	if got, err := DecodeOutcome(outcome.Encode()); err != nil || got != outcome {
		t.Errorf("Outcome: %+v, %v", got, err)
	}
	refusal := Refusal{Status: 401, Count: 9, Remote: "r", Reason: "why"}
	if got, err := DecodeRefusal(refusal.Encode()); err != nil || got != refusal {
		t.Errorf("Refusal: %+v, %v", got, err)
	}
}

func TestLongTextsAreCutToWhatTheirFrameHolds(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for kind, payload := range map[Kind][]byte{
		Posted:  Outcome{Error: long}.Encode(),
		Refused: Refusal{Remote: long, Reason: long}.Encode(),
	} {
		if len(payload) > int(FromNetwork()[kind]) {
			t.Errorf("kind %d: %d bytes, the limit is %d", kind, len(payload), FromNetwork()[kind])
		}
	}
}

func TestAfterAFailedSendNothingMoreIsSent(t *testing.T) {
	a, b := net.Pipe()
	conn := NewConn(a, FromNetwork())
	_ = b.Close()
	first := conn.Send(Frame{Kind: Ping})
	if first == nil || conn.Send(Frame{Kind: Ping}) != first {
		t.Error("a second Send after a failed one did not return its error")
	}
}

func FuzzReceive(f *testing.F) {
	f.Add(raw(Credit, 0, 4, "abcd"))
	f.Add(append(raw(Scrape, 0, 0, ""), raw(Scrape, 1, 1, "x")...))
	f.Add(raw(Request, 0, 12, "\x00\x00\x00\x04POST\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		conn := NewConn(stream{bytes.NewReader(data)}, FromNetwork())
		for {
			frame, err := conn.Receive()
			if err != nil {
				return
			}
			if limit, permitted := FromNetwork()[frame.Kind]; !permitted || len(frame.Payload) > int(limit) {
				t.Fatalf("kind %d with %d bytes got through", frame.Kind, len(frame.Payload))
			}
		}
	})
}

func FuzzPayloads(f *testing.F) {
	f.Add(Call{Method: "POST", Path: "/shell", Body: []byte("{}")}.Encode())
	f.Add(Callback{URL: "http://h/", Headers: []string{"A", "1"}}.Encode())
	f.Add(Head{Status: 200, Body: []byte("x")}.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if call, err := DecodeCall(data); err == nil {
			again, err := DecodeCall(call.Encode())
			if err != nil || !reflect.DeepEqual(call, again) {
				t.Fatalf("Call changed on its way: %v", err)
			}
		}
		for _, err := range []error{
			second(DecodeHead(data)), second(DecodeCallback(data)), second(DecodeOutcome(data)),
			second(DecodeRefusal(data)), second(DecodeLimits(data)), second(DecodeCredit(data)), second(DecodeIdentity(data)),
		} {
			if err != nil && !errors.Is(err, ErrProtocol) {
				t.Fatalf("an error that is not ErrProtocol: %v", err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }
