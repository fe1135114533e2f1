package privsep

import "golang.org/x/sys/unix"

func errnoAction(errno unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(errno) }

// networkRules is all that the network role may ask of the kernel. What no rule
// names is answered with EPERM.
func networkRules(pid int) []rule {
	rules := freely(plainCalls)
	rules = append(rules, runtimeRules(pid)...)
	rules = append(rules, socketRules()...)
	for _, number := range append(hostileCalls, archHostileCalls...) {
		rules = append(rules, rule{number: number, match: unix.SECCOMP_RET_KILL_PROCESS})
	}
	return rules
}

func freely(numbers []uintptr) []rule {
	rules := make([]rule, 0, len(numbers))
	for _, number := range numbers {
		rules = append(rules, rule{number: number, match: unix.SECCOMP_RET_ALLOW})
	}
	return rules
}

// allowWhen allows a call when one of the clauses holds and refuses it otherwise.
func allowWhen(number uintptr, clauses ...clause) rule {
	return rule{number, unix.SECCOMP_RET_ALLOW, clauses, errnoAction(unix.EPERM)}
}

// plainCalls are harmless whatever their arguments are. The hot ones come
// first, as the kernel reads the rules in this order.
var plainCalls = []uintptr{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_EPOLL_PWAIT, unix.SYS_FUTEX, unix.SYS_NANOSLEEP,
	unix.SYS_EPOLL_CTL, unix.SYS_ACCEPT4, unix.SYS_CLOSE, unix.SYS_CONNECT, unix.SYS_SHUTDOWN,
	unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_WRITEV,
	// The resolver and the certificate pool read files and watch for changes; the
	// resolver takes its default search domain from the host's name.
	unix.SYS_FSTAT, unix.SYS_NEWFSTATAT, unix.SYS_UNAME,
	// The Go runtime: memory, threads, signals, time, random numbers.
	unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGACTION, unix.SYS_SIGALTSTACK,
	unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_RESTART_SYSCALL,
	unix.SYS_CLOCK_GETTIME, unix.SYS_GETRANDOM,
}

// runtimeRules are what the Go runtime needs, held to what it really does.
func runtimeRules(pid int) []rule {
	const read = unix.O_RDONLY | unix.O_CLOEXEC | openLargeFile
	return []rule{
		// Data only: what is written can never be run.
		allowWhen(unix.SYS_MMAP, clause{within(2, unix.PROT_READ|unix.PROT_WRITE), has(3, unix.MAP_ANONYMOUS)}),
		allowWhen(unix.SYS_OPENAT, clause{within(2, read)}),
		// Preemption interrupts a thread of its own process by a signal.
		allowWhen(unix.SYS_TGKILL, clause{equal(0, uint64(pid))}),
		// A new thread; anything else would be a new process.
		{unix.SYS_CLONE, unix.SECCOMP_RET_ALLOW, []clause{{equal(0, threadFlags)}}, unix.SECCOMP_RET_KILL_PROCESS},
		// Its flags lie in memory, where no filter can read them.
		{number: unix.SYS_CLONE3, match: errnoAction(unix.ENOSYS)},
		allowWhen(unix.SYS_PRCTL,
			// Names of memory areas, and the proof that this filter is in force.
			clause{equal(0, unix.PR_SET_VMA), equal(1, unix.PR_SET_VMA_ANON_NAME)},
			clause{equal(0, unix.PR_GET_SECCOMP)}),
	}
}

// threadFlags is what the runtime of every architecture starts a thread with.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
	unix.CLONE_SYSVSEM | unix.CLONE_THREAD | archThreadFlags

// socketRules allow TCP and UDP from an ephemeral port. Listening sockets are
// inherited, so neither bind nor listen is here.
func socketRules() []rule {
	return []rule{
		allowWhen(unix.SYS_SOCKET, socketKinds()...),
		allowWhen(unix.SYS_SETSOCKOPT,
			option(unix.SOL_SOCKET, unix.SO_KEEPALIVE),
			option(unix.SOL_SOCKET, unix.SO_BROADCAST),
			option(unix.IPPROTO_TCP, unix.TCP_NODELAY),
			option(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE),
			option(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL),
			option(unix.IPPROTO_TCP, unix.TCP_KEEPCNT),
			option(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)),
		allowWhen(unix.SYS_GETSOCKOPT,
			option(unix.SOL_SOCKET, unix.SO_ERROR),
			option(unix.SOL_SOCKET, unix.SO_TYPE)),
		allowWhen(unix.SYS_FCNTL,
			clause{equal(1, unix.F_GETFL)},
			clause{equal(1, unix.F_SETFL), within(2, unix.O_NONBLOCK|unix.O_RDWR|openLargeFile)},
			clause{equal(1, unix.F_DUPFD_CLOEXEC)}),
	}
}

func option(level, name uint64) clause { return clause{equal(1, level), equal(2, name)} }

// socketKinds lists families and types with their own protocol or the default,
// as MPTCP (262) and SCTP (132) pass by rules that are made for TCP.
func socketKinds() []clause {
	const flags = uint64(unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK)
	var kinds []clause
	for _, family := range []uint64{unix.AF_INET, unix.AF_INET6} {
		for _, kind := range []struct{ socket, protocol uint64 }{
			{unix.SOCK_STREAM, 0},
			{unix.SOCK_STREAM, unix.IPPROTO_TCP},
			{unix.SOCK_DGRAM, 0},
			{unix.SOCK_DGRAM, unix.IPPROTO_UDP},
		} {
			kinds = append(kinds, clause{equal(0, family), {1, ^flags, kind.socket}, equal(2, kind.protocol)})
		}
	}
	return kinds
}

// hostileCalls have no place in a network role: asking for one means that
// somebody else is at work, and the process ends.
var hostileCalls = []uintptr{
	// Running programs and reaching into other processes.
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV,
	unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
	// Changing who it is.
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID,
	unix.SYS_SETRESGID, unix.SYS_SETGROUPS, unix.SYS_SETFSUID, unix.SYS_SETFSGID, unix.SYS_CAPSET,
	// Namespaces and mounts.
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_CHROOT, unix.SYS_PIVOT_ROOT, unix.SYS_MOUNT,
	unix.SYS_UMOUNT2, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG,
	unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
	// Parts of the kernel that attacks on it begin with.
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP,
	unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_KEYCTL, unix.SYS_ADD_KEY,
	unix.SYS_REQUEST_KEY, unix.SYS_PERSONALITY,
	// The machine itself.
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD,
	unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_SYSLOG,
}
