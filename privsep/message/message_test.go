package message

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
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

func setup() Frame {
	return Frame{
		Kind:    Setup,
		Payload: Limits{MaxBody: 1, MaxConnections: 2, CallbackTimeout: time.Second}.Encode(),
	}
}

func TestConn_FramesArriveAsSent(t *testing.T) {
	executor, network := pair(t)
	sent := []Frame{
		setup(),
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
		if err != nil || got.Kind != want.Kind || got.ID != want.ID || got.Last != want.Last ||
			!bytes.Equal(got.Payload, want.Payload) {
			t.Fatalf("got %s with %d bytes, %v; want %s with %d bytes",
				got.Kind, len(got.Payload), err, want.Kind, len(want.Payload))
		}
	}
}

func TestConn_ReusedPayloadIsTheNextOne(t *testing.T) {
	executor, network := pair(t)
	sizes := []int{MaxData, MaxData, 10, MaxData, MaxData - 1, MaxData}
	go func() {
		_ = executor.Send(setup())
		for i, size := range sizes {
			_ = executor.Send(Frame{Kind: Data, ID: 1, Payload: bytes.Repeat([]byte{byte(i)}, size)})
		}
	}()
	if _, err := network.Receive(); err != nil {
		t.Fatal(err)
	}
	for i, size := range sizes {
		f, err := network.Receive()
		if err != nil || !bytes.Equal(f.Payload, bytes.Repeat([]byte{byte(i)}, size)) {
			t.Fatalf("frame %d: got %d bytes, %v; want %d", i, len(f.Payload), err, size)
		}
		network.Reuse(f.Payload)
		network.Reuse(make([]byte, MaxData+1))
		network.Reuse(nil)
	}
}

func TestSend_NothingAfterAFailure(t *testing.T) {
	a, b := net.Pipe()
	conn := NewConn(a, FromNetwork())
	_ = b.Close()
	first := conn.Send(Frame{Kind: Ping})
	if second := conn.Send(Frame{Kind: Ping}); first == nil || second != first {
		t.Errorf("got %v and then %v, want the same error twice", first, second)
	}
}

// fixed is a stream of bytes that a peer has written.
type fixed struct{ io.Reader }

func (fixed) Write(p []byte) (int, error) { return len(p), nil }
func (fixed) Close() error                { return nil }

// raw encodes a frame whose header need not fit its payload.
func raw(kind Kind, flags byte, length uint32, payload string) []byte {
	h := Frame{Kind: kind}.header()
	h[1] = flags
	h[4], h[5], h[6], h[7] = byte(length>>24), byte(length>>16), byte(length>>8), byte(length)
	return append(h[:], payload...)
}

// least encodes the smallest permitted frame of a kind.
func least(kind Kind) []byte {
	return raw(kind, 0, rules[kind].min, string(make([]byte, rules[kind].min)))
}

// receiveAll returns how many of the frames were accepted, and the error that ended the channel.
func receiveAll(from Table, frames ...[]byte) (int, error) {
	conn := NewConn(fixed{bytes.NewReader(slices.Concat(frames...))}, from)
	for n := 0; ; n++ {
		if _, err := conn.Receive(); err != nil {
			return n, err
		}
	}
}

func TestReceive_HeaderOutsideTheTable(t *testing.T) {
	reserved := raw(Pong, 0, 0, "")
	reserved[3] = 1
	for name, frame := range map[string][]byte{
		"kind 0":                 raw(0, 0, 0, ""),
		"unknown kind":           raw(200, 0, 0, ""),
		"first unknown kind":     raw(Kind(len(rules)), 0, 0, ""),
		"the other direction's":  least(Setup),
		"an identity":            least(Certified),
		"an answer from the net": least(Answer),
		"unknown flag":           raw(Pong, 2, 0, ""),
		"reserved byte":          reserved,
		"one byte too long":      raw(Credit, 0, 5, "abcde"),
		"one byte too short":     raw(Credit, 0, 3, "abc"),
		"4 GiB":                  raw(Request, 0, 1<<32-1, ""),
		"payload where none is":  raw(Hangup, 0, 1, "x"),
		"a scrape with payload":  raw(Scrape, 0, 1, "x"),
		"the end of a stream":    raw(Pong, 1, 0, ""),
	} {
		n, err := receiveAll(FromNetwork(), least(Ready), frame)
		if n != 1 || !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: got %d frames, %v; want the first only, and ErrProtocol", name, n, err)
		}
	}
}

// How often and in which order is a matter of the table, not of the session.
func TestReceive_OnceAndOrder(t *testing.T) {
	for _, test := range []struct {
		name  string
		from  Table
		kinds []Kind
		want  int // accepted; fewer than there are means ErrProtocol
	}{
		{"as usual", FromNetwork(), []Kind{
			Ready, Request, Request, Credit, Hangup, Scrape, Posted, Pong, Refused, Drained, Pong,
		}, 11},
		{"Ready twice", FromNetwork(), []Kind{Ready, Request, Ready}, 2},
		{"Drained twice", FromNetwork(), []Kind{Ready, Drained, Drained}, 2},
		{"Request before Ready", FromNetwork(), []Kind{Request}, 0},
		{"Scrape before Ready", FromNetwork(), []Kind{Scrape}, 0},
		{"Credit before Ready", FromNetwork(), []Kind{Credit}, 0},
		{"Hangup before Ready", FromNetwork(), []Kind{Hangup}, 0},
		{"Posted before Ready", FromNetwork(), []Kind{Posted}, 0},
		{"Pong before Ready", FromNetwork(), []Kind{Pong}, 0},
		{"Refused before Ready", FromNetwork(), []Kind{Refused}, 0},
		{"Drained before Ready", FromNetwork(), []Kind{Drained}, 0},
		{"with TLS", FromExecutor(), []Kind{
			Certified, Setup, Answer, Data, Post, Ping, Drain, Answer,
		}, 8},
		{"without TLS", FromExecutor(), []Kind{Setup, Ping}, 2},
		{"Certified twice", FromExecutor(), []Kind{Certified, Certified}, 1},
		{"Certified after Setup", FromExecutor(), []Kind{Setup, Certified}, 1},
		{"Setup twice", FromExecutor(), []Kind{Certified, Setup, Setup}, 2},
		{"Answer before Setup", FromExecutor(), []Kind{Certified, Answer}, 1},
		{"Data before Setup", FromExecutor(), []Kind{Data}, 0},
		{"Post before Setup", FromExecutor(), []Kind{Post}, 0},
		{"Ping before Setup", FromExecutor(), []Kind{Ping}, 0},
		{"Drain before Setup", FromExecutor(), []Kind{Drain}, 0},
	} {
		var frames [][]byte
		for _, kind := range test.kinds {
			frames = append(frames, least(kind))
		}
		got, err := receiveAll(test.from, frames...)
		complete := test.want == len(frames)
		if got != test.want || errors.Is(err, ErrProtocol) == complete {
			t.Errorf("%s: got %d frames, %v; want %d of %d", test.name, got, err, test.want, len(frames))
		}
	}
}

func TestReceive_CutShort(t *testing.T) {
	frame := raw(Credit, 0, 4, "abcd")
	for n := 1; n < len(frame); n++ {
		if _, err := receiveAll(FromNetwork(), least(Ready), frame[:n]); !errors.Is(err, ErrProtocol) {
			t.Errorf("cut at %d: got %v, want ErrProtocol", n, err)
		}
	}
	if _, err := receiveAll(FromNetwork(), least(Ready)); err != io.EOF {
		t.Errorf("closed between frames: got %v, want io.EOF", err)
	}
}

func TestRules_EveryKindHasOne(t *testing.T) {
	for kind := Certified; int(kind) < len(rules); kind++ {
		r := rules[kind]
		if r.name == "" || r.by != executor && r.by != network || r.min > r.max {
			t.Errorf("kind %d: got the rule %+v, want a name, a sender and bounds", kind, r)
		}
		if r.after != 0 && rules[r.after].by != r.by || r.before != 0 && rules[r.before].by != r.by {
			t.Errorf("%s: got an order by a message of the other end, want one of the same", kind)
		}
	}
}

func TestRules_Bounds(t *testing.T) {
	for kind := Certified; int(kind) < len(rules); kind++ {
		r := rules[kind]
		var received kinds
		received[r.after] = true
		check := func(length uint32) error {
			return Table{r.by}.check(Frame{Kind: kind}, length, &received)
		}
		for _, length := range []uint32{r.min, r.max} {
			if err := check(length); err != nil {
				t.Errorf("%s with %d bytes: got %v, want none", kind, length, err)
			}
		}
		for _, length := range []uint32{r.min - 1, r.max + 1} { // below 0 is 4 GiB
			if err := check(length); !errors.Is(err, ErrProtocol) {
				t.Errorf("%s with %d bytes: got %v, want ErrProtocol", kind, length, err)
			}
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add(least(Credit))
	f.Add(append(least(Scrape), raw(Scrape, 1, 1, "x")...))
	f.Add(raw(Request, 0, 12, "\x00\x00\x00\x04POST\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		conn := NewConn(fixed{io.MultiReader(bytes.NewReader(least(Ready)), bytes.NewReader(data))},
			FromNetwork())
		for {
			got, err := conn.Receive()
			if err != nil {
				return
			}
			r := rules[got.Kind]
			if n := uint32(len(got.Payload)); r.by != network || n < r.min || n > r.max {
				t.Fatalf("got %s with %d bytes, want %d to %d from the network role", got.Kind, n, r.min, r.max)
			}
		}
	})
}
