package main

import (
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attacks each try one thing and return how the kernel answered. Without the sandbox, and as root,
// they succeed or fail in another way than inside it.
var attacks = map[string]func() error{
	// Running programs.
	"exec": func() error { return syscall.Exec("/bin/echo", []string{"echo", "succeeded"}, nil) },
	"execveat": func() error {
		argv := []*byte{cstring("echo"), cstring("succeeded"), nil}
		return sys(unix.SYS_EXECVEAT, at, text("/bin/echo"), uintptr(unsafe.Pointer(&argv[0])), 0)
	},
	"reexec": func() error {
		return syscall.Exec("/proc/self/exe", []string{"attack", "own-pid"}, nil)
	},
	"fork":           func() error { return child(uintptr(syscall.SIGCHLD)) },
	"clone-user":     func() error { return child(unix.CLONE_NEWUSER | uintptr(syscall.SIGCHLD)) },
	"clone-high-bit": func() error { return child(1<<32 | uintptr(syscall.SIGCHLD)) },
	"clone3":         func() error { return sys(unix.SYS_CLONE3, 0, 0) },

	// Other processes.
	"ptrace":          func() error { return sys(unix.SYS_PTRACE, unix.PTRACE_CONT, parent(), 0, 0) },
	"kill-parent":     func() error { return sys(unix.SYS_KILL, parent(), 0) },
	"kill-group":      func() error { return sys(unix.SYS_KILL, 0, 0) },
	"tkill-parent":    func() error { return sys(unix.SYS_TKILL, parent(), 0) },
	"tgkill-parent":   func() error { return sys(unix.SYS_TGKILL, parent(), parent(), 0) },
	"sigqueue-parent": func() error { return sys(unix.SYS_RT_SIGQUEUEINFO, parent(), 0, 0) },
	"process-vm-read": func() error {
		return sys(unix.SYS_PROCESS_VM_READV, parent(), 0, 0, 0, 0, 0)
	},
	"process-vm-write": func() error {
		return sys(unix.SYS_PROCESS_VM_WRITEV, parent(), 0, 0, 0, 0, 0)
	},
	"pidfd-open":   func() error { return sys(unix.SYS_PIDFD_OPEN, parent(), 0) },
	"pidfd-getfd":  func() error { return sys(unix.SYS_PIDFD_GETFD, 0, 0, 0) },
	"pidfd-signal": func() error { return sys(unix.SYS_PIDFD_SEND_SIGNAL, 0, 0, 0, 0) },
	"prlimit-parent": func() error {
		return sys(unix.SYS_PRLIMIT64, parent(), unix.RLIMIT_NOFILE, 0, 0)
	},
	"setpriority": func() error {
		return sys(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, parent(), 0)
	},
	"fcntl-setown": func() error { return sys(unix.SYS_FCNTL, 0, unix.F_SETOWN, parent()) },

	// Memory.
	"mmap-exec": func() error {
		return mapped(unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	},
	"mmap-exec-bit": func() error {
		return mapped(1<<32|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	},
	"mmap-file":     func() error { return mapped(unix.PROT_READ, unix.MAP_PRIVATE) },
	"mprotect-exec": mprotectExec,
	"memfd":         func() error { return sys(unix.SYS_MEMFD_CREATE, text("x"), 0) },
	"userfaultfd":   func() error { return sys(unix.SYS_USERFAULTFD, 0) },
	"personality":   func() error { return sys(unix.SYS_PERSONALITY, 0x0400000) },

	// What it is.
	"dumpable": func() error { return sys(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1, 0, 0, 0) },
	"keepcaps": func() error { return sys(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0) },
	"prctl-seccomp": func() error {
		return sys(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0)
	},
	"seccomp": func() error {
		return sys(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0)
	},
	"landlock":   func() error { return sys(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, 1) },
	"setuid":     func() error { return sys(unix.SYS_SETUID, 0) },
	"setgroups":  func() error { return sys(unix.SYS_SETGROUPS, 0, 0) },
	"capset":     func() error { return sys(unix.SYS_CAPSET, 0, 0) },
	"unshare":    func() error { return sys(unix.SYS_UNSHARE, unix.CLONE_NEWNS) },
	"setns":      func() error { return sys(unix.SYS_SETNS, 0, 0) },
	"chroot":     func() error { return sys(unix.SYS_CHROOT, text("/")) },
	"mount":      func() error { return sys(unix.SYS_MOUNT, 0, 0, 0, 0, 0) },
	"pivot-root": func() error { return sys(unix.SYS_PIVOT_ROOT, 0, 0) },
	"raise-core": func() error { return sys(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CORE, 0, 0) },
	"own-pid":    func() error { return sys(unix.SYS_GETPID) },
	"signal-self": func() error {
		return sys(unix.SYS_TGKILL, uintptr(os.Getpid()), uintptr(unix.Gettid()), 0)
	},
	"proof-of-itself": func() error { return sys(unix.SYS_PRCTL, unix.PR_GET_SECCOMP, 0, 0, 0, 0) },

	// The kernel.
	"io-uring":    func() error { return sys(unix.SYS_IO_URING_SETUP, 0, 0) },
	"bpf":         func() error { return sys(unix.SYS_BPF, 0, 0, 0) },
	"perf":        func() error { return sys(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, 0, 0) },
	"keyctl":      func() error { return sys(unix.SYS_KEYCTL, 0, 0, 0, 0, 0) },
	"init-module": func() error { return sys(unix.SYS_INIT_MODULE, 0, 0, 0) },
	"kexec":       func() error { return sys(unix.SYS_KEXEC_LOAD, 0, 1<<20, 0, 0) },
	"handle":      func() error { return sys(unix.SYS_OPEN_BY_HANDLE_AT, 0, 0, 0) },
	"ioctl":       func() error { return sys(unix.SYS_IOCTL, 0, unix.TIOCSTI, 0) },
	"inotify":     func() error { return sys(unix.SYS_INOTIFY_INIT1, 0) },
	"shmget":      func() error { return sys(unix.SYS_SHMGET, 0, 4096, unix.IPC_CREAT|0o600) },
}

// at is AT_FDCWD as a system call takes it.
const at = ^uintptr(99)

func sys(number uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := syscall.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return errno
	}
	return nil
}

func cstring(s string) *byte {
	p, err := syscall.BytePtrFromString(s)
	if err != nil {
		panic(err)
	}
	return p
}

// kept holds strings whose addresses were handed out as numbers.
var kept []*byte

func text(s string) uintptr {
	p := cstring(s)
	kept = append(kept, p)
	return uintptr(unsafe.Pointer(p))
}

// parent is the process that runs the tests. The environment names it, as the sandbox refuses
// getppid too.
func parent() uintptr {
	pid, err := strconv.Atoi(os.Getenv("ATTACK_PARENT"))
	if err != nil {
		panic("ATTACK_PARENT must be set")
	}
	return uintptr(pid)
}

// child clones a process, which ends at once, and collects it.
func child(flags uintptr) error {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, flags, 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	_, err := syscall.Wait4(int(pid), nil, 0, nil)
	return err
}

// mapped maps a page, of /etc/hosts if it is not anonymous.
func mapped(protection, flags uintptr) error {
	fd := ^uintptr(0)
	if flags&unix.MAP_ANONYMOUS == 0 {
		f, err := os.Open("/etc/hosts")
		if err != nil {
			return err
		}
		defer f.Close()
		fd = f.Fd()
	}
	return sys(unix.SYS_MMAP, 0, 4096, protection, flags, fd, 0)
}

func mprotectExec() error {
	page, _, errno := syscall.Syscall6(unix.SYS_MMAP, 0, 4096,
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	if errno != 0 {
		return os.NewSyscallError("mmap", errno)
	}
	return sys(unix.SYS_MPROTECT, page, 4096, unix.PROT_READ|unix.PROT_EXEC)
}
