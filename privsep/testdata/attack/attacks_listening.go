package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/privsep"
)

// inherited are the listening sockets from descriptor 3 on, which are inherited once: before the
// sandbox where there is one. ATTACK_LISTENERS is their number.
var inherited = sync.OnceValues(func() ([]*privsep.Listener, error) {
	var count int
	_, _ = fmt.Sscan(os.Getenv("ATTACK_LISTENERS"), &count)
	return privsep.InheritListeners(3, count)
})

// attackListening attacks the first listening socket, or standard error where none is inherited.
// Other processes have both too.
func attackListening(args []string) error {
	listeners, err := inherited()
	if err != nil {
		return err
	}
	fd := uintptr(2)
	if len(listeners) > 0 {
		fd = listeners[0].Descriptor()
	}
	fmt.Println(outcome(listeningAttacks[args[0]](fd)))
	return nil
}

// listeningAttacks end in a call that changes the socket itself, perhaps by way of another number
// for it.
var listeningAttacks = map[string]func(fd uintptr) error{
	"shutdown":      func(fd uintptr) error { return shutdown(fd) },
	"shutdown-high": func(fd uintptr) error { return shutdown(1<<32 | fd) },
	"connect":       func(fd uintptr) error { return connectNowhere(fd) },
	"connect-high":  func(fd uintptr) error { return connectNowhere(1<<63 | fd) },
	"dup":           func(fd uintptr) error { return through(unix.SYS_DUP, fd) },
	"dup3":          func(fd uintptr) error { return through(unix.SYS_DUP3, fd, 200, unix.O_CLOEXEC) },
	"fcntl-dup":     func(fd uintptr) error { return through(unix.SYS_FCNTL, fd, unix.F_DUPFD, 100) },
	"fcntl-cloexec": func(fd uintptr) error {
		return through(unix.SYS_FCNTL, fd, unix.F_DUPFD_CLOEXEC, 100)
	},
	"fcntl-high": func(fd uintptr) error {
		return through(unix.SYS_FCNTL, 1<<32|fd, unix.F_DUPFD_CLOEXEC, 100)
	},
	"rights": throughRights,
	"pidfd":  throughPidfd,
	"blocking": func(fd uintptr) error {
		return sys(unix.SYS_FCNTL, fd, unix.F_SETFL, unix.O_RDWR)
	},
	"listen":    func(fd uintptr) error { return sys(unix.SYS_LISTEN, fd, 0) },
	"keepalive": func(fd uintptr) error { return setInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE) },
	"keepidle": func(fd uintptr) error {
		return setInt(1<<32|fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
	},
	"defer-accept": func(fd uintptr) error {
		return setInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT)
	},
	"receive-time": setReceiveTimeout,
	"fork":         func(fd uintptr) error { return inChild(uintptr(syscall.SIGCHLD), fd) },
}

func shutdown(fd uintptr) error { return sys(unix.SYS_SHUTDOWN, fd, unix.SHUT_RDWR) }

// connectNowhere disconnects, which for a listening socket means to listen no more.
func connectNowhere(fd uintptr) error {
	address := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	return sys(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&address)), unsafe.Sizeof(address))
}

// connectAndShutdown does to a socket of its own what is refused on those of others.
func connectAndShutdown() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := setInt(uintptr(fd), unix.SOL_SOCKET, unix.SO_BROADCAST); err != nil {
		return err
	}
	return shutdown(uintptr(fd))
}

// through makes a second number for the socket and shuts that down.
func through(number uintptr, args ...uintptr) error {
	var a [3]uintptr
	copy(a[:], args)
	second, _, errno := syscall.Syscall(number, a[0], a[1], a[2])
	if errno != 0 {
		return errno
	}
	return shutdown(second)
}

// throughRights sends the socket to this process itself.
func throughRights(fd uintptr) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(int(fd)), nil, 0); err != nil {
		return err
	}
	rights := make([]byte, unix.CmsgSpace(4))
	if _, _, _, _, err := unix.Recvmsg(pair[1], make([]byte, 1), rights, 0); err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return err
	}
	received, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	return shutdown(uintptr(received[0]))
}

func throughPidfd(fd uintptr) error {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	return through(unix.SYS_PIDFD_GETFD, uintptr(self), fd)
}

func setInt(fd, level, name uintptr) error {
	one := int32(1)
	return sys(unix.SYS_SETSOCKOPT, fd, level, name, uintptr(unsafe.Pointer(&one)), 4)
}

func setReceiveTimeout(fd uintptr) error {
	short := unix.Timeval{Usec: 1}
	return sys(unix.SYS_SETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO,
		uintptr(unsafe.Pointer(&short)), unsafe.Sizeof(short))
}

// inChild shuts the socket down from a process of its own.
func inChild(flags, fd uintptr) error {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, flags, 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		_, _, errno := syscall.RawSyscall(unix.SYS_SHUTDOWN, fd, unix.SHUT_RDWR, 0)
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(int(pid), &status, 0, nil); err != nil {
		return err
	}
	if status.ExitStatus() != 0 {
		return syscall.Errno(status.ExitStatus())
	}
	return nil
}

func init() {
	// A socket cannot be opened by its name in /proc anyway (ENXIO); standard input stands for one
	// here.
	attacks["open-descriptor"] = func() error {
		return open(filepath.Join("/proc/self/fd", "0"), unix.O_RDONLY)
	}
	attacks["own-socket"] = connectAndShutdown
	attacks["fcntl-get"] = func() error { return sys(unix.SYS_FCNTL, 0, unix.F_GETFL) }
}
