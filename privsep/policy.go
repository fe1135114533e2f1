package privsep

import (
	"slices"

	"golang.org/x/sys/unix"
)

// This file is the policy of the sandbox: what the network role may do, and why. A new permission
// is a row in networkRules (system calls) or in readablePaths (files); a right of a newer Landlock
// is a row in landlockRights. The attacks that test them are rows in sandbox_test.go and in
// testdata/attack.

// networkRules lists the system calls that the network role may make. A call without a rule is
// refused with EPERM. The kernel reads the rules in this order, so the frequent calls come first.
//
// Shared are the descriptors of the sockets that other processes use too: the listening sockets and
// standard error. Such a socket is the same one in every process that has it: after shutdown, or
// connect with AF_UNSPEC, systemd's port would refuse all callers until the socket unit is
// restarted. No filter can read the address that connect is given, so both calls are refused by the
// descriptor's number. That holds because no permitted call gives a socket a second number (dup,
// dup2, dup3, fcntl, recvmsg, pidfd_getfd, opening /proc/self/fd), and because Listener keeps the
// number until the process ends.
func networkRules(pid int, shared []int) []rule {
	const readOnly = unix.O_RDONLY | unix.O_CLOEXEC | openLargeFile
	return slices.Concat(
		allow("connections and the channel",
			unix.SYS_READ, unix.SYS_WRITE, unix.SYS_EPOLL_PWAIT, unix.SYS_FUTEX, unix.SYS_NANOSLEEP,
			unix.SYS_EPOLL_CTL, unix.SYS_ACCEPT4, unix.SYS_CLOSE,
			unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_WRITEV),
		allow("the resolver and the certificate pool look whether a file has changed",
			unix.SYS_FSTAT, unix.SYS_NEWFSTATAT),
		allow("the resolver takes its default search domain from the host's name",
			unix.SYS_UNAME),
		allow("the Go runtime: memory and scheduling",
			unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY),
		allow("the Go runtime: signals and threads",
			unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGACTION,
			unix.SYS_SIGALTSTACK, unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_EXIT,
			unix.SYS_EXIT_GROUP, unix.SYS_RESTART_SYSCALL),
		allow("the Go runtime: time and random numbers",
			unix.SYS_CLOCK_GETTIME, unix.SYS_GETRANDOM),

		allowIf("memory for data only: what is written can never be run",
			unix.SYS_MMAP,
			clause{within(2, unix.PROT_READ|unix.PROT_WRITE), has(3, unix.MAP_ANONYMOUS)}),
		allowIf("the resolver and the certificate pool read files; Landlock says which",
			unix.SYS_OPENAT, clause{within(2, readOnly)}),
		allowIf("the Go runtime preempts a thread of its own process by a signal",
			unix.SYS_TGKILL, clause{equal(0, uint64(pid))}),
		allowOrKill("the Go runtime starts a thread; other flags start a process",
			unix.SYS_CLONE, clause{equal(0, threadFlags)}),
		refuse("no filter can read its flags, in memory; after ENOSYS the Go runtime uses clone",
			unix.SYS_CLONE3, unix.ENOSYS),
		allowIf("names of memory areas, and the proof that this filter is in force",
			unix.SYS_PRCTL,
			clause{equal(0, unix.PR_SET_VMA), equal(1, unix.PR_SET_VMA_ANON_NAME)},
			clause{equal(0, unix.PR_GET_SECCOMP)}),

		allowExcept("callbacks and name servers", shared, unix.SYS_CONNECT),
		allowExcept("the end of an answer while the caller still sends", shared, unix.SYS_SHUTDOWN),
		// Listening sockets are inherited, so neither bind nor listen is here.
		allowIf("callbacks and name servers over TCP and UDP, from an ephemeral port",
			unix.SYS_SOCKET, socketKinds()...),
		allowExcept("what package net sets on a new connection or socket", shared,
			unix.SYS_SETSOCKOPT,
			option(unix.SOL_SOCKET, unix.SO_KEEPALIVE),
			option(unix.SOL_SOCKET, unix.SO_BROADCAST),
			option(unix.IPPROTO_TCP, unix.TCP_NODELAY),
			option(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE),
			option(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL),
			option(unix.IPPROTO_TCP, unix.TCP_KEEPCNT),
			option(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)),
		allowIf("whether a connection was made, and of what type a socket is",
			unix.SYS_GETSOCKOPT,
			option(unix.SOL_SOCKET, unix.SO_ERROR),
			option(unix.SOL_SOCKET, unix.SO_TYPE)),
		// F_SETFL would change a shared socket between blocking and nonblocking.
		allowIf("the Go runtime asks for the flags of a file that it opens",
			unix.SYS_FCNTL, clause{equal(1, unix.F_GETFL)}),

		// The network role never makes these: its code was taken over, and the process ends.
		kill("running programs, and reaching into other processes",
			unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV,
			unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP),
		kill("changing its user, group or capabilities",
			unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID,
			unix.SYS_SETRESUID, unix.SYS_SETRESGID, unix.SYS_SETGROUPS, unix.SYS_SETFSUID,
			unix.SYS_SETFSGID, unix.SYS_CAPSET),
		kill("namespaces and mounts",
			unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_CHROOT, unix.SYS_PIVOT_ROOT, unix.SYS_MOUNT,
			unix.SYS_UMOUNT2, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN,
			unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
			unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT),
		kill("parts of the kernel that attacks on it begin with",
			unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP,
			unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_KEYCTL, unix.SYS_ADD_KEY,
			unix.SYS_REQUEST_KEY, unix.SYS_PERSONALITY),
		kill("the machine itself",
			unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
			unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON,
			unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_SETTIMEOFDAY,
			unix.SYS_CLOCK_SETTIME, unix.SYS_SYSLOG),
		kill("calls of this architecture alone, to the same ends", archHostileCalls...),
	)
}

// threadFlags is what the Go runtime starts a thread with.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
	unix.CLONE_SYSVSEM | unix.CLONE_THREAD | archThreadFlags

func option(level, name uint64) clause { return clause{equal(1, level), equal(2, name)} }

// socketKinds permits each family and type with its own protocol or the default alone: MPTCP (262)
// and SCTP (132) would pass by firewall rules that are made for TCP.
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
			socket := test{1, ^flags, kind.socket}
			kinds = append(kinds, clause{equal(0, family), socket, equal(2, kind.protocol)})
		}
	}
	return kinds
}

// readablePaths lists the files that the network role may read: name resolution and certificates.
//
// They are directories: a rule on resolv.conf itself would stay with the old file when a new one is
// renamed over it. A resolv.conf that leads elsewhere, or into a directory that was made later, is
// not opened by the role: the executor sends its lines with each callback. So no directory is
// opened up because of where that file is, and nothing depends on the state at the start.
var readablePaths = []pathRule{
	{ownProgram, execute | readFile, "stage two; seccomp then forbids to execute anything"},
	{"/etc", readFile, "resolv.conf, hosts, nsswitch.conf, ssl, pki"},
	{"/run/systemd/resolve", readFile, "where /etc/resolv.conf usually leads"},
	{"/run/NetworkManager", readFile, "the same"},
	{"/run/resolvconf", readFile, "the same"},
	{"/var/lib/ca-certificates", readFile, "where /etc/ssl/ca-bundle.pem of SUSE leads"},
}

const (
	execute  = unix.LANDLOCK_ACCESS_FS_EXECUTE
	readFile = unix.LANDLOCK_ACCESS_FS_READ_FILE
)

// pathRule permits rights below a path, or on it if it is a file. A directory that is missing is
// skipped.
type pathRule struct {
	path   string
	rights uint64
	why    string
}

// landlockRights lists what a Landlock domain denies unless a path rule permits it, by the version
// of Landlock that can.
var landlockRights = []struct {
	abi    int
	denied rulesetAttr
	why    string
}{
	{1, rulesetAttr{handledFS: unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1}, "all rights of version 1"},
	{2, rulesetAttr{handledFS: unix.LANDLOCK_ACCESS_FS_REFER}, "links and moves across folders"},
	{3, rulesetAttr{handledFS: unix.LANDLOCK_ACCESS_FS_TRUNCATE}, "truncating files"},
	// The role inherits its listening sockets. Connecting is its work, and stays free.
	{4, rulesetAttr{handledNet: unix.LANDLOCK_ACCESS_NET_BIND_TCP}, "binding TCP ports"},
	{5, rulesetAttr{handledFS: unix.LANDLOCK_ACCESS_FS_IOCTL_DEV}, "ioctl on devices"},
	{6, rulesetAttr{scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET}, "others' abstract sockets"},
	{6, rulesetAttr{scoped: unix.LANDLOCK_SCOPE_SIGNAL}, "signals to others"},
}
