package main

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func socket(family, kind, protocol uintptr) func() error {
	return func() error { return sys(unix.SYS_SOCKET, family, kind, protocol) }
}

func init() {
	for name, attack := range map[string]func() error{
		"socket-unix":       socket(unix.AF_UNIX, unix.SOCK_STREAM, 0),
		"socket-unix-dgram": socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0),
		"socket-unix-high":  socket(1<<32|unix.AF_UNIX, unix.SOCK_STREAM, 0),
		"socket-inet-high":  socket(1<<32|unix.AF_INET, unix.SOCK_STREAM, 0),
		"socket-kind-high":  socket(unix.AF_INET, 1<<32|unix.SOCK_RAW, unix.IPPROTO_ICMP),
		"socket-netlink":    socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE),
		"socket-packet":     socket(unix.AF_PACKET, unix.SOCK_RAW, 0),
		"socket-vsock":      socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0),
		"socket-alg":        socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
		"socket-raw":        socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
		"socket-raw6":       socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6),
		"socket-ping":       socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP),
		"socket-mptcp":      socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP),
		"socket-sctp":       socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP),
		"socket-seqpacket":  socket(unix.AF_INET, unix.SOCK_SEQPACKET, unix.IPPROTO_SCTP),
		"socket-tcp":        socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP),
		"socket-udp6":       socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP),
		"socketpair": func() error {
			return sys(unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_STREAM, 0, 0)
		},
		"bind": func() error { return withSocket(bindAnywhere) },
		"listen": func() error {
			return withSocket(func(fd uintptr) error { return sys(unix.SYS_LISTEN, fd, 1) })
		},
		"sendmsg":       func() error { return sys(unix.SYS_SENDMSG, 0, 0, 0) },
		"recvmsg":       func() error { return sys(unix.SYS_RECVMSG, 0, 0, 0) },
		"sendto":        func() error { return sys(unix.SYS_SENDTO, 0, 0, 0, 0, 0, 0) },
		"attach-filter": setOption(unix.SOL_SOCKET, unix.SO_ATTACH_FILTER),
		"reuse-port":    setOption(unix.SOL_SOCKET, unix.SO_REUSEPORT),
		"tcp-ulp":       setOption(unix.IPPROTO_TCP, unix.TCP_ULP),
		"abstract-unix": abstractUnix,
		"dup":           func() error { return sys(unix.SYS_DUP, 1) },
	} {
		attacks[name] = attack
	}
}

func withSocket(use func(fd uintptr) error) error {
	fd, _, errno := syscall.RawSyscall(unix.SYS_SOCKET, unix.AF_INET,
		unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return os.NewSyscallError("socket", errno)
	}
	return use(fd)
}

// bindAnywhere binds 127.0.0.1 and a port of the kernel's choice.
func bindAnywhere(fd uintptr) error {
	address := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte{127, 0, 0, 1}}
	return sys(unix.SYS_BIND, fd, uintptr(unsafe.Pointer(&address)), unix.SizeofSockaddrInet4)
}

func setOption(level, name uintptr) func() error {
	return func() error {
		one := int32(1)
		return withSocket(func(fd uintptr) error {
			return sys(unix.SYS_SETSOCKOPT, fd, level, name, uintptr(unsafe.Pointer(&one)), 4)
		})
	}
}

// abstractUnix connects to the abstract socket that the test listens on.
func abstractUnix() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrUnix{Name: os.Getenv("ATTACK_ABSTRACT")})
}
