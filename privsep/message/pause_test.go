package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

// conversation is what a network role sends, as bytes, and the frames in it.
func conversation() (stream []byte, frames []Frame) {
	frames = []Frame{
		{Kind: Ready, Payload: []byte{7}},
		{Kind: Request, ID: 1, Payload: bytes.Repeat([]byte("r"), 40)},
		{Kind: Pong, ID: 3},
		{Kind: Credit, ID: 1 | PostFlag, Payload: []byte{0, 0, 1, 0}},
		{Kind: Scrape, ID: 2},
		{Kind: Drained},
	}
	for _, f := range frames {
		header := f.header()
		stream = append(append(stream, header[:]...), f.Payload...)
	}
	return stream, frames
}

func sameFrame(a, b Frame) bool {
	return a.Kind == b.Kind && a.Last == b.Last && a.ID == b.ID && bytes.Equal(a.Payload, b.Payload)
}

// received is the outcome of one call of Receive.
type received struct {
	frame Frame
	err   error
}

// receiveUntilError sends each outcome up to the first error.
func receiveUntilError(c *Conn) <-chan received {
	outcomes := make(chan received, 100)
	go func() {
		defer close(outcomes)
		for {
			f, err := c.Receive()
			outcomes <- received{f, err}
			if err != nil {
				return
			}
		}
	}()
	return outcomes
}

// collect returns all frames, and the error that ended them.
func collect(outcomes <-chan received) (frames []Frame, err error) {
	for o := range outcomes {
		if o.err != nil {
			return frames, o.err
		}
		frames = append(frames, o.frame)
	}
	return frames, errors.New("no error at the end")
}

// throughJSON is how a state reaches another process.
func throughJSON(t *testing.T, s ConnState) (copied ConnState) {
	t.Helper()
	text, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(text, &copied)
	}
	if err != nil {
		t.Fatal(err)
	}
	return copied
}

func TestPause_AtEachByte(t *testing.T) {
	stream, want := conversation()
	for _, restored := range []bool{false, true} {
		for cut := range len(stream) + 1 {
			ours, theirs := net.Pipe()
			conn := NewConn(ours, FromNetwork())
			outcomes := receiveUntilError(conn)
			if _, err := theirs.Write(stream[:cut]); err != nil { // returns when it is read
				t.Fatal(err)
			}
			if err := conn.Pause(); err != nil {
				t.Fatal(err)
			}
			got, err := collect(outcomes)
			if !errors.Is(err, ErrPaused) {
				t.Fatalf("cut at %d: got %v, want ErrPaused", cut, err)
			}
			if _, err := conn.Receive(); !errors.Is(err, ErrPaused) {
				t.Fatalf("cut at %d, once more: got %v, want ErrPaused", cut, err)
			}
			if restored {
				state := throughJSON(t, conn.State())
				_ = ours.SetReadDeadline(time.Time{}) // the other process opens the stream again
				conn = RestoreConn(ours, FromNetwork(), state)
			} else if err := conn.Resume(); err != nil {
				t.Fatal(err)
			}
			outcomes = receiveUntilError(conn)
			go func() {
				_, _ = theirs.Write(stream[cut:])
				_ = theirs.Close()
			}()
			rest, err := collect(outcomes)
			got = append(got, rest...)
			if err != io.EOF || !slices.EqualFunc(got, want, sameFrame) {
				t.Fatalf("cut at %d, restored %t: got %d frames, %v; want all %d, and io.EOF",
					cut, restored, len(got), err, len(want))
			}
		}
	}
}

// What must come once is remembered by name.
func TestRestoreConn_TableGoesOn(t *testing.T) {
	for _, test := range []struct {
		received []string
		next     Kind
		want     error
	}{
		{nil, Ready, nil},
		{nil, Pong, ErrProtocol},
		{[]string{"Ready"}, Pong, nil},
		{[]string{"Ready"}, Ready, ErrProtocol},
		{[]string{"Ready", "Of a later release", ""}, Drained, nil},
		{[]string{"Ready", "Drained"}, Drained, ErrProtocol},
	} {
		state := ConnState{Received: test.received, Unread: least(test.next)}
		conn := RestoreConn(fixed{bytes.NewReader(nil)}, FromNetwork(), state)
		if _, err := conn.Receive(); !errors.Is(err, test.want) {
			t.Errorf("%s after %q: got %v, want %v", test.next, test.received, err, test.want)
		}
		state.Received = append(slices.Clone(state.Received), test.next.String())
		if got := conn.State().Received; test.want == nil && !containsAll(got, state.Received) {
			t.Errorf("%s after %q: got the state %q", test.next, test.received, got)
		}
	}
}

// containsAll reports whether the kinds that exist are in got.
func containsAll(got, names []string) bool {
	for _, name := range names {
		known := slices.ContainsFunc(rules[1:], func(r rule) bool { return r.name == name })
		if known && !slices.Contains(got, name) {
			return false
		}
	}
	return true
}

// socketPair is a channel as it is in production: files in the runtime's poller.
func socketPair(t *testing.T) (a, b *os.File) {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX,
		syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b = os.NewFile(uintptr(pair[0]), "a"), os.NewFile(uintptr(pair[1]), "b")
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a, b
}

// A request as large as can be is interrupted again and again, each time with another process.
func TestPause_LargestFrame(t *testing.T) {
	ours, theirs := net.Pipe()
	want := Frame{Kind: Request, ID: 5, Payload: make([]byte, MaxHead+MaxBody)}
	for i := range want.Payload {
		want.Payload[i] = byte(i * 7 >> 3)
	}
	header := want.header()
	stream := slices.Concat(least(Ready), header[:], want.Payload, least(Pong))
	conn := NewConn(ours, FromNetwork())
	var got []Frame
	for piece := range slices.Chunk(stream, 3_000_001) {
		outcomes := receiveUntilError(conn)
		if _, err := theirs.Write(piece); err != nil { // returns when it is read
			t.Fatal(err)
		}
		if err := conn.Pause(); err != nil {
			t.Fatal(err)
		}
		frames, err := collect(outcomes)
		if got = append(got, frames...); !errors.Is(err, ErrPaused) {
			t.Fatalf("after %d frames: got %v, want ErrPaused", len(got), err)
		}
		_ = ours.SetReadDeadline(time.Time{})
		conn = RestoreConn(ours, FromNetwork(), conn.State())
	}
	if len(got) != 3 || !sameFrame(got[1], want) || got[2].Kind != Pong {
		t.Errorf("got %d frames, want Ready, the request as it was sent, and Pong", len(got))
	}
}

func TestPause_SendGoesOn(t *testing.T) {
	ours, theirs := socketPair(t)
	conn, network := NewConn(ours, FromNetwork()), NewConn(theirs, FromExecutor())
	outcomes := receiveUntilError(conn)
	if err := conn.Pause(); err != nil {
		t.Fatal(err)
	}
	if frames, err := collect(outcomes); len(frames) > 0 || !errors.Is(err, ErrPaused) {
		t.Errorf("got %d frames, %v; want none, and ErrPaused", len(frames), err)
	}
	if err := conn.Send(setup()); err != nil {
		t.Fatalf("Send in a pause: got %v", err)
	}
	if f, err := network.Receive(); err != nil || f.Kind != Setup {
		t.Errorf("the peer got %s, %v; want Setup", f.Kind, err)
	}
}

func TestPause_StreamWithoutDeadlines(t *testing.T) {
	conn := NewConn(fixed{bytes.NewReader(least(Ready))}, FromNetwork())
	if err := conn.Pause(); err == nil {
		t.Error("Pause: got nil, want an error")
	}
	if f, err := conn.Receive(); err != nil || f.Kind != Ready {
		t.Errorf("got %s, %v; want Ready as without Pause", f.Kind, err)
	}
}

// A frame that was cut off is not followed by another one, in no process.
func TestRestoreConn_NoSendAfterAFailure(t *testing.T) {
	ours, theirs := net.Pipe()
	_ = theirs.Close()
	conn := NewConn(ours, FromNetwork())
	failed := conn.Send(Frame{Kind: Ping})
	restored := RestoreConn(ours, FromNetwork(), throughJSON(t, conn.State()))
	if err := restored.Send(Frame{Kind: Ping}); err == nil || err.Error() != failed.Error() {
		t.Errorf("got %v, want %v", err, failed)
	}
}

// slices of a stream: each read returns one, and a deadline error before it.
type interrupted struct {
	rest   []byte
	pieces []byte // their sizes
	ended  bool   // the deadline error was returned
}

func (s *interrupted) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	if len(s.pieces) == 0 {
		n := copy(p, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	}
	if s.ended = !s.ended; s.ended {
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(p[:min(len(p), int(s.pieces[0]))], s.rest)
	s.rest, s.pieces = s.rest[n:], s.pieces[1:]
	return n, nil
}

func (*interrupted) Write(p []byte) (int, error)     { return len(p), nil }
func (*interrupted) Close() error                    { return nil }
func (*interrupted) SetReadDeadline(time.Time) error { return nil }

// Whatever the peer sends, and wherever it is interrupted, the result is that of one read.
func FuzzPause(f *testing.F) {
	stream, _ := conversation()
	f.Add(stream, []byte{1, 15, 1, 3, 20, 40}, true)
	f.Add(stream[:len(stream)-5], []byte{16, 16, 16, 16, 1, 1}, false)
	f.Add(append(least(Ready), least(Ready)...), []byte{17, 3, 3}, true)
	f.Fuzz(func(t *testing.T, data, pieces []byte, restore bool) {
		want, wantErr := collect(receiveUntilError(NewConn(fixed{bytes.NewReader(data)}, FromNetwork())))
		stream := &interrupted{rest: data, pieces: pieces}
		conn := NewConn(stream, FromNetwork())
		var got []Frame
		for {
			conn.paused.Store(true)
			frame, err := conn.receive() // as Receive that began before the pause
			if err == nil {
				got = append(got, frame)
				continue
			}
			if !errors.Is(err, ErrPaused) {
				if !slices.EqualFunc(got, want, sameFrame) || errors.Is(err, io.EOF) != errors.Is(wantErr, io.EOF) {
					t.Fatalf("got %d frames, %v; want %d, %v", len(got), err, len(want), wantErr)
				}
				return
			}
			if restore {
				conn = RestoreConn(stream, FromNetwork(), conn.State())
			}
		}
	})
}

// A channel can be handed on again before the bytes of the first time were read.
func TestPause_HandedOnTwice(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	payload := bytes.Repeat([]byte("x"), 3*readSize)
	want := Frame{Kind: Request, ID: 1, Payload: payload}
	header := want.header()
	unread := append(slices.Clone(header[:]), payload[:2*readSize]...)
	state := ConnState{Received: []string{"Ready"}, Unread: unread}
	for range 3 {
		c := RestoreConn(ours, FromNetwork(), state)
		if err := c.Pause(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Receive(); !errors.Is(err, ErrPaused) {
			t.Fatalf("got %v, want %v", err, ErrPaused)
		}
		state = throughJSON(t, c.State())
		if !bytes.Equal(state.Unread, unread) {
			t.Fatalf("got %d unread bytes, want %d", len(state.Unread), len(unread))
		}
		_ = c.Resume()
	}
	go func() { _, _ = theirs.Write(payload[2*readSize:]) }()
	got, err := RestoreConn(ours, FromNetwork(), state).Receive()
	if err != nil || !sameFrame(got, want) {
		t.Errorf("got %d bytes, %v, want the whole frame", len(got.Payload), err)
	}
}

func TestParseKind_EveryName(t *testing.T) {
	for kind := Certified; int(kind) < len(rules); kind++ {
		if got, known := ParseKind(kind.String()); !known || got != kind {
			t.Errorf("%s: got %d, %t, want %d", kind, got, known, kind)
		}
	}
	for _, name := range []string{"", "kind 0", "Setup2"} {
		if got, known := ParseKind(name); known {
			t.Errorf("%q: got %d, want none", name, got)
		}
	}
}
