package exec

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
)

// census looks through all processes of the host. Who asks gets a look that
// began after they asked, and shares it with all others who asked meanwhile:
// a thousand commands may end at once.
type census struct {
	turn sync.Mutex // held while looking

	mu   sync.Mutex
	next *look // the one that has not begun
}

type look struct {
	done chan struct{}
	list []process
}

func (c *census) take() []process {
	c.mu.Lock()
	l := c.next
	if l == nil {
		l = &look{done: make(chan struct{})}
		c.next = l
		go c.look(l)
	}
	c.mu.Unlock()
	<-l.done
	return l.list
}

func (c *census) look(l *look) {
	c.turn.Lock()
	defer c.turn.Unlock()
	c.mu.Lock()
	c.next = nil
	c.mu.Unlock()
	l.list = processes()
	close(l.done)
}

// process is what /proc tells of one.
type process struct {
	pid, parent, group, session int
	started                     uint64 // clock ticks after the host's start
	dead                        bool
}

func readProcess(pid int) (process, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, err
	}
	// The name stands in parentheses and may hold anything, also parentheses.
	end := strings.LastIndexByte(string(text), ')')
	fields := strings.Fields(string(text[end+1:]))
	const startTime = 19
	if len(fields) <= startTime {
		return process{}, errors.New("cannot read what /proc tells of a process")
	}
	p := process{pid: pid, dead: fields[0] == "Z" || fields[0] == "X"}
	for i, into := range []*int{&p.parent, &p.group, &p.session} {
		if *into, err = strconv.Atoi(fields[i+1]); err != nil {
			return process{}, err
		}
	}
	p.started, err = strconv.ParseUint(fields[startTime], 10, 64)
	return p, err
}

// processes lists all there are.
func processes() (list []process) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil {
			list = append(list, p)
		}
	}
	return list
}
