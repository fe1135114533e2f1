package journal

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// disk is a log that can fail.
type disk struct {
	mu   sync.Mutex
	err  error
	text []string
}

func (d *disk) write(e entry) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.text = append(d.text, e.message)
	}
	return d.err
}

func (d *disk) set(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *disk) holds() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.text, "|")
}

// await returns once the log holds want and nothing else.
func (d *disk) await(t *testing.T, want string) {
	t.Helper()
	for late := time.Now().Add(testkit.Patience); time.Now().Before(late); {
		if d.holds() == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("got %s\nwant %s", d.holds(), want)
}

func TestQueue_EntriesThatCannotBeWrittenAreReportedOnce(t *testing.T) {
	d := &disk{}
	log := &Log{queue: newQueue(d.write, nil)}
	say := func(text string) {
		log.Write(Ready(), text, nil)
		log.Flush(testkit.Patience)
	}
	say("one")
	d.set(errors.New("no space left"))
	say("two")
	say("three")
	d.set(nil)
	say("four") // whether the timer or this entry comes first, there is one report
	say("five")
	got := d.holds()
	const report = "2 entries were lost: no space left"
	if strings.Count(got, "lost") != 1 || strings.ReplaceAll(got, "|"+report,
		"") != "one|four|five" {
		t.Errorf("got %s", got)
	}
	d.set(io.ErrClosedPipe)
	say("six")
	d.set(nil)
	log.Flush(testkit.Patience)
	d.await(t, got+"|1 entry was lost: io: read/write on closed pipe")
}

// Nothing else needs to be written for the report to come.
func TestQueue_TheReportComesByItself(t *testing.T) {
	d := &disk{err: errors.New("away")}
	log := &Log{queue: newQueue(d.write, nil)}
	log.Write(Ready(), "one", nil)
	log.Write(Ready(), "two", nil)
	log.Flush(testkit.Patience)
	d.set(nil)
	d.await(t, "2 entries were lost: away")
}

func TestQueue_FullAndFailedEntriesAreCountedTogether(t *testing.T) {
	d := &disk{err: errors.New("away")}
	began, release := make(chan struct{}, 1), make(chan struct{})
	log := &Log{queue: newQueue(func(e entry) error {
		select {
		case began <- struct{}{}:
		default:
		}
		<-release
		return d.write(e)
	}, nil)}
	log.Write(Ready(), "x", nil)
	<-began
	for range maxWaiting + 7 { // 7 more than there is room for
		log.Write(Ready(), "x", nil)
	}
	close(release)
	log.Flush(testkit.Patience)
	d.set(nil)
	d.await(t, fmt.Sprintf("%d entries were lost: away", 1+maxWaiting+7))
}

func TestQueue_AnEntryThatTheReportCannotFollowIsNotLostAgain(t *testing.T) {
	d := &disk{}
	failing := errors.New("away")
	log := &Log{queue: newQueue(func(e entry) error {
		err := d.write(e)
		if e.message == "two" {
			d.set(failing) // between the entry and its report
		}
		return err
	}, nil)}
	d.set(failing)
	log.Write(Ready(), "one", nil)
	log.Flush(testkit.Patience)
	d.set(nil)
	log.Write(Ready(), "two", nil)
	log.Flush(testkit.Patience)
	d.set(nil)
	log.Flush(testkit.Patience)
	if got := d.holds(); got != "two|1 entry was lost: away" &&
		got != "1 entry was lost: away|two" {
		t.Errorf("got %s", got)
	}
}

// systemctl stop systemd-journald.socket takes the socket away, also while the queue waits for a
// full one.
func TestJournal_AwayForAWhile(t *testing.T) {
	first := socketOf(t)
	path := first.LocalAddr().String()
	log := to(first)
	log.Write(Ready(), "before", nil)
	receive(t, first)
	_ = first.Close()
	_ = os.Remove(path)
	log.Write(Ready(), "lost", nil)
	log.Write(Ready(), "lost", nil)
	log.Flush(testkit.Patience)
	second, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	got := receive(t, second)
	if !strings.HasPrefix(got,
		"MESSAGE=2 entries were lost: cannot write to the journal: ") ||
		!strings.Contains(got, EntriesLost().ID) {
		t.Errorf("got %q", got)
	}
	log.Write(Ready(), "after", nil)
	if got := receive(t, second); !strings.HasPrefix(got, "MESSAGE=after\n") {
		t.Errorf("got %q", got)
	}
}

func TestJournal_AwayWhileItsSocketIsFull(t *testing.T) {
	first := socketOf(t)
	path := first.LocalAddr().String()
	log := to(first)
	for range maxWaiting / 2 {
		log.Write(Ready(), "x", nil)
	}
	log.Flush(10 * time.Millisecond)
	_ = first.Close()
	_ = os.Remove(path)
	log.Flush(testkit.Patience)
	second, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	if got := receive(t, second); !strings.Contains(got, EntriesLost().ID) {
		t.Errorf("got %q", got)
	}
}

// A datagram may have 208 KiB by default; no entry needs another way.
func TestJournal_ALongEntryIsBounded(t *testing.T) {
	socket := socketOf(t)
	long := strings.Repeat("你", 1<<20)
	fields := Fields{}
	for i := range 8 {
		fields[fmt.Sprintf("SIDECAR_%d", i)] = long
	}
	to(socket).Write(Ready(), long, fields)
	buffer := make([]byte, 1<<20)
	_ = socket.SetReadDeadline(time.Now().Add(testkit.Patience))
	n, err := socket.Read(buffer)
	if err != nil || n > 200<<10 || strings.Count(string(buffer[:n]), "… (3145728 bytes)\n") != 9 {
		t.Errorf("got %d bytes, %v, want 9 values that are cut", n, err)
	}
}

// The reader of standard error may stop reading, or go away.
func TestText_AReaderThatStopsReading(t *testing.T) {
	reading, writing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writing.Close() }()
	write := textWriter(writing)
	log := &Log{write: write, queue: newQueue(write, nil)}
	const written = 5 * maxWaiting
	for range written {
		log.Write(Ready(), strings.Repeat("x", 100), nil)
	}
	log.Flush(10 * time.Millisecond) // returns although nothing is read
	text := make(chan string)
	go func() {
		all, _ := io.ReadAll(reading)
		text <- string(all)
	}()
	log.Flush(testkit.Patience)
	_ = writing.Close()
	lines, lost := strings.Split(strings.TrimSpace(<-text), "\n"), 0
	for _, line := range lines {
		if _, after, found := strings.Cut(line, `msg="`); found && strings.Contains(after,
			"entries were lost: the journal did not take them in time") {
			n := 0
			_, _ = fmt.Sscan(after, &n)
			lost += n
			lines = lines[1:]
		}
	}
	if lost == 0 || len(lines)+lost != written {
		t.Errorf("got %d lines and %d lost, %d in all, want %d", len(lines), lost, len(lines)+lost,
			written)
	}
}

// A reload must not lose entries without a report: the program that takes over is told how many its
// predecessor could not write.
func TestLog_EntriesOwedToAnotherProgram(t *testing.T) {
	const n = maxWaiting + 50
	began, release := make(chan struct{}, 1), make(chan struct{})
	before := &Log{queue: newQueue(func(entry) error {
		select {
		case began <- struct{}{}:
		default:
		}
		<-release
		return nil
	}, nil)}
	before.Write(Ready(), "x", nil)
	<-began
	for range n - 1 {
		before.Write(Ready(), "x", nil)
	}
	if got := before.Owed(); got != n {
		t.Errorf("while the journal hangs: got %d entries owed, want %d", got, n)
	}
	d := &disk{}
	after := &Log{queue: newQueue(d.write, nil)}
	after.AddLost(before.Owed())
	after.Write(Ready(), "reloaded", nil)
	d.await(t, fmt.Sprintf("reloaded|%d entries were lost: the journal did not take them in time", n))
	after.Flush(testkit.Patience)
	if got := after.Owed(); got != 0 {
		t.Errorf("after the report: got %d entries owed, want 0", got)
	}
	close(release)
	before.Flush(testkit.Patience)
	if got := before.Owed(); got != 0 {
		t.Errorf("when the journal goes on: got %d entries owed, want 0", got)
	}
}
