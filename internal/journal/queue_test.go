package journal

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// socketOf stands for journald: a socket whose entries the test reads, or lets wait.
func socketOf(t *testing.T) *net.UnixConn {
	t.Helper()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(),
		"journal"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

func receive(t *testing.T, socket *net.UnixConn) string {
	t.Helper()
	buffer := make([]byte, 1<<16)
	_ = socket.SetReadDeadline(time.Now().Add(testkit.Patience))
	n, err := socket.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

func to(socket *net.UnixConn) *Log {
	s := &sender{path: socket.LocalAddr().String()}
	return &Log{write: s.send, queue: newQueue(s.send, s.settle)}
}

func TestJournal_NativeForm(t *testing.T) {
	socket := socketOf(t)
	to(socket).Write(CommandStarted(), "Command started", Fields{
		Command: "first\nsecond",
		JobID:   "a",
	})
	got := receive(t, socket)
	lines := string(append(binary.LittleEndian.AppendUint64([]byte(Command+"\n"), 12),
		"first\nsecond\n"...))
	for _, want := range []string{"MESSAGE=Job a: Command started\n", "PRIORITY=6\n", "MESSAGE_ID=" +
		CommandStarted().ID + "\n", "SYSLOG_IDENTIFIER=dataflux-func-sidecar\n", JobID +
		"=a\n", lines} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

// Nobody waits for a journal that hangs, and what it misses is counted.
func TestQueue_JournalHangs(t *testing.T) {
	socket := socketOf(t)
	log := to(socket)
	const written = 3 * maxWaiting
	for range written {
		log.Write(CommandStarted(), "x", nil)
	}
	log.Flush(10 * time.Millisecond) // returns although nothing is read
	told, lost := 0, ""
	for told = 0; lost == ""; {
		got := receive(t, socket)
		if strings.Contains(got, "MESSAGE=x\n") {
			told++
		}
		if strings.Contains(got, EntriesLost().ID) {
			lost, _, _ = strings.Cut(strings.TrimPrefix(got, "MESSAGE="), "\n")
		}
	}
	go func() {
		for {
			if _, err := socket.Read(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}()
	if told == 0 || !strings.HasSuffix(lost, " entries were lost: the journal did not take them "+
		"in time") {
		t.Errorf("got %d entries and %q, want some and their loss", told, lost)
	}
	log.Flush(testkit.Patience)
}

func TestJournal_Reconnects(t *testing.T) {
	first := socketOf(t)
	path := first.LocalAddr().String()
	log := to(first)
	log.Write(Ready(), "one", nil)
	receive(t, first)
	_ = first.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	log.Write(Ready(), "two", nil)
	if got := receive(t, second); !strings.Contains(got, "MESSAGE=two\n") {
		t.Errorf("got %q", got)
	}
}

func TestFlush_WaitsForEarlierEntries(t *testing.T) {
	var out bytes.Buffer
	write := textWriter(&out)
	log := &Log{
		write: write,
		queue: newQueue(func(e entry) error { time.Sleep(time.Millisecond); return write(e) }, nil),
	}
	for range 20 {
		log.Write(Ready(), "x", nil)
	}
	log.Flush(testkit.Patience)
	if n := strings.Count(out.String(), "msg=x"); n != 20 {
		t.Errorf("got %d entries, want 20", n)
	}
}

// The last entry of a process that exits at once must have reached journald, not just its queue.
func TestFlush_WaitsUntilJournaldHasProcessed(t *testing.T) {
	socket := socketOf(t)
	log := to(socket)
	log.Write(Ready(), "last words", nil)
	flushed := make(chan struct{})
	go func() { log.Flush(testkit.Patience); close(flushed) }()
	if got := receive(t, socket); !strings.Contains(got, "MESSAGE=last words\n") {
		t.Errorf("got %q", got)
	}
	select {
	case <-flushed:
		t.Error("Flush returned while the entry was being processed")
	case <-time.After(50 * time.Millisecond):
	}
	if got := receive(t, socket); got != "" {
		t.Errorf("got %q, want an empty datagram", got)
	}
	<-flushed
	begun := time.Now()
	log.Write(Ready(), "unread", nil)
	log.Flush(50 * time.Millisecond)
	if took := time.Since(begun); took > testkit.Patience {
		t.Errorf("Flush took %s", took)
	}
}
