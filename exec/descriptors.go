package exec

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors are kept open for starting commands. A child is born with a copy of all descriptors
// below the last of these, and closes it before execve: open them before anything else.
type Descriptors struct {
	stdin *os.File // /dev/null for reading, every command's standard input
	null  *os.File // /dev/null for writing, which takes the output beyond the limit
	slots chan slot
}

// slot is the right to start one command. Its two files are /dev/null except during a birth, when
// they are the writing ends of the command's pipes.
type slot struct{ stdout, stderr *os.File }

// maxBirths bounds concurrent births: more than there are processors only delay each other.
func maxBirths() int { return min(max(2, runtime.GOMAXPROCS(0)), 8) }

// slowBirth is when a slot in use gets a replacement: births that hang must not block the others.
const slowBirth = 200 * time.Millisecond

// NewDescriptors opens the descriptors for one Runner. After a reload as well it comes first: the
// numbers of those of the program before are free, and lower than all that stayed open.
func NewDescriptors() (*Descriptors, error) {
	d := &Descriptors{slots: make(chan slot, maxBirths())}
	var err error
	if d.stdin, err = os.Open(os.DevNull); err == nil {
		d.null, err = openNull()
	}
	for range cap(d.slots) {
		var s slot
		if err == nil {
			s, err = newSlot()
		}
		d.slots <- s
	}
	if err != nil {
		return nil, fmt.Errorf("cannot prepare commands' input and output: %w", err)
	}
	return d, nil
}

func newSlot() (s slot, err error) {
	if s.stdout, err = openNull(); err != nil {
		return s, err
	}
	if s.stderr, err = openNull(); err != nil {
		s.stdout.Close()
	}
	return s, err
}

func openNull() (*os.File, error) { return os.OpenFile(os.DevNull, os.O_WRONLY, 0) }

// lease is a slot in use.
type lease struct {
	slot
	from *Descriptors

	mu       sync.Mutex
	slow     *time.Timer // nil once released
	replaced bool        // another slot has taken its place
}

// lease waits for a slot.
func (d *Descriptors) lease() *lease {
	l := &lease{slot: <-d.slots, from: d}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow = time.AfterFunc(slowBirth, l.replace)
	return l
}

func (l *lease) replace() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slow == nil || l.replaced {
		return
	}
	if s, err := newSlot(); err == nil {
		l.replaced = true
		l.from.slots <- s
	}
}

// release closes the daemon's copies of the pipes' writing ends, without which the readers would
// never see their end, and returns the slot. It may block: a command can hold a pipe's lock.
func (l *lease) release() {
	null := int(l.from.null.Fd())
	_ = unix.Dup3(null, int(l.stdout.Fd()), unix.O_CLOEXEC)
	_ = unix.Dup3(null, int(l.stderr.Fd()), unix.O_CLOEXEC)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow.Stop()
	l.slow = nil
	if l.replaced {
		l.stdout.Close()
		l.stderr.Close()
		return
	}
	l.from.slots <- l.slot
}
