package exec

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Program is a process of the daemon itself, not of a command: a network role, or the rehearsal of
// a reload.
type Program struct {
	File      *os.File // nil: the running program
	Arguments []string
	Files     []int // the descriptors that it has as 0 and up
}

// Launch returns the process id of the program once it is executed: in a process group of its own,
// in /, without an environment or other descriptors, and with the real user and group of the daemon
// in all of its ids. It is killed when the calling thread ends, so the caller has locked that.
//
// It fails after maxBirth if the program does not start, for example as a file system does not
// answer, or software that permits each execve (fanotify). During that time syscall.ForkExec would
// hold a processor of the Go runtime, and with it, from the next garbage collection on, the whole
// daemon.
func (p Program) Launch() (pid int, err error) { return p.launch(newSpawner(), maxBirth) }

func (p Program) launch(s spawner, limit time.Duration) (int, error) {
	files, err := p.duplicates()
	defer func() {
		for _, fd := range files {
			unix.Close(fd)
		}
	}()
	if err != nil {
		return 0, err
	}
	s.pidfd = false
	l := new(callList)
	if err := p.prepare(l, s, files); err != nil {
		return 0, err
	}
	pid, err := s.start(l)
	if err != nil {
		return 0, err
	}
	if !l.await(limit) {
		l.kill()
		go l.afterDeath(func() { awaitChild(pid) })
		return 0, fmt.Errorf("the program does not start within %s; hint: check its file system, "+
			"and software that examines programs before they are executed", limit)
	}
	if l.progress.errno != 0 {
		awaitChild(pid)
		return 0, l.progress.errno
	}
	return pid, nil
}

// duplicates returns close-on-exec copies of Files and File, in this order. Their numbers are above
// those that they get in the process. The caller closes them, also after an error.
func (p Program) duplicates() (files []int, err error) {
	duplicate := func(fd uintptr) {
		copied := -1
		if err == nil {
			copied, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, len(p.Files)+1)
		}
		if err == nil {
			files = append(files, copied)
		}
	}
	for _, fd := range p.Files {
		duplicate(uintptr(fd))
	}
	if p.File != nil && err == nil {
		var raw syscall.RawConn
		if raw, err = p.File.SyscallConn(); err == nil {
			closed := raw.Control(duplicate)
			err = errors.Join(err, closed)
		}
	}
	return files, err
}

// prepare lists the system calls of the process.
func (p Program) prepare(l *callList, s spawner, files []int) (err error) {
	s.begin(l, -1)
	last := 0
	for _, fd := range files {
		last = max(last, fd)
	}
	s.keepDescriptorsBelow(l, last+1)
	for to, from := range files {
		flags := uintptr(0)
		if to == len(p.Files) {
			flags = unix.O_CLOEXEC
		}
		l.add(unix.SYS_DUP3, uintptr(from), uintptr(to), flags)
	}
	s.keepDescriptorsBelow(l, len(files))
	uid, gid := os.Getuid(), os.Getgid()
	credentials{change: uid != os.Geteuid() || gid != os.Getegid(), uid: uid, gid: gid}.set(l)
	l.add(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL)) // a change of ids clears it
	if l.dir, err = syscall.BytePtrFromString("/"); err != nil {
		return err
	}
	l.add(unix.SYS_CHDIR, address(l.dir))
	l.unblockSignals()
	path := "/proc/self/exe"
	if p.File != nil {
		path = "/proc/self/fd/" + strconv.Itoa(len(p.Files))
	}
	return l.execute(path, p.Arguments, []string{})
}
