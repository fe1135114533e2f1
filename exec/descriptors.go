package exec

import (
	"fmt"
	"os"
	"runtime"
)

// Descriptors are those that the daemon keeps open for starting commands. A
// child is born with a copy of all that are open below the last of these, and
// closes it when it executes the shell: they come before anything else that is
// opened.
type Descriptors struct {
	stdin *os.File // /dev/null for reading, every command's standard input
	null  *os.File // /dev/null for writing, where output beyond the limit goes
	slots chan slot
}

// slot is a place among those that fork at the same time. Its two files are
// /dev/null but while a command starts, when they are the writing ends of its
// pipes.
type slot struct{ stdout, stderr *os.File }

// forksAtOnce bounds the forks that run at the same time, until the child has
// executed the shell: more than there are processors only make each other, and
// everything else, wait.
func forksAtOnce() int { return min(max(2, runtime.NumCPU()), 8) }

// NewDescriptors opens them. They are for one Runner.
func NewDescriptors() (*Descriptors, error) {
	d := &Descriptors{slots: make(chan slot, forksAtOnce())}
	err := openNull(os.O_RDONLY, &d.stdin)
	if err == nil {
		err = openNull(os.O_WRONLY, &d.null)
	}
	for range cap(d.slots) {
		var s slot
		if err == nil {
			err = openNull(os.O_WRONLY, &s.stdout)
		}
		if err == nil {
			err = openNull(os.O_WRONLY, &s.stderr)
		}
		d.slots <- s
	}
	if err != nil {
		return nil, fmt.Errorf("cannot prepare commands' input and output: %w", err)
	}
	return d, nil
}

func openNull(mode int, file **os.File) (err error) {
	*file, err = os.OpenFile(os.DevNull, mode, 0)
	return err
}
