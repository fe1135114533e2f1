package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/privsep"
)

// filterOnNewThreads starts threads and lets each try what is forbidden.
func filterOnNewThreads([]string) error {
	const n = 16
	var free, all sync.WaitGroup
	gate := make(chan struct{})
	escaped := make(chan int, n)
	for range n {
		free.Add(1)
		all.Go(func() {
			runtime.LockOSThread()
			free.Done()
			<-gate
			_, err := os.Open("/usr/bin/env")
			if !errors.Is(err, unix.EACCES) || attacks["socket-unix"]() != unix.EPERM {
				escaped <- unix.Gettid()
			}
		})
	}
	free.Wait()
	close(gate)
	all.Wait()
	fmt.Println(len(escaped))
	return nil
}

// divergentThread gives one thread a filter of its own, so that TSYNC cannot reach it, and then
// asks for the sandbox.
func divergentThread([]string) error {
	if err := privsep.SetNoNewPrivs(); err != nil {
		return err
	}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread()
		ready <- filterOnThisThread([]unix.SockFilter{give(unix.SECCOMP_RET_ALLOW)}, 0)
		select {}
	}()
	if err := <-ready; err != nil {
		return fmt.Errorf("cannot prepare: %w", err)
	}
	return privsep.InstallSeccomp(nil)
}

// withoutSyscall makes a kernel feature look absent and then asks for it.
func withoutSyscall(args []string) error {
	var number uint32 = unix.SYS_SECCOMP
	if args[0] == "landlock" {
		number = unix.SYS_LANDLOCK_CREATE_RULESET
	}
	if err := privsep.SetNoNewPrivs(); err != nil {
		return err
	}
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number, Jf: 1},
		give(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)),
		give(unix.SECCOMP_RET_ALLOW),
	}
	if err := filterOnThisThread(program, unix.SECCOMP_FILTER_FLAG_TSYNC); err != nil {
		return err
	}
	if args[0] == "seccomp" {
		err := privsep.InstallSeccomp(nil)
		fmt.Println(errors.Is(err, privsep.ErrNoSeccomp), err)
		return nil
	}
	domain, err := privsep.EnterLandlock()
	if err != nil {
		return err
	}
	fmt.Println(domain.ABI, domain.Missing)
	return domain.Reexec([]string{os.Args[0], "seccomp", "socket-unix"}, os.Environ())
}

func give(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

func filterOnThisThread(program []unix.SockFilter, flags uintptr) error {
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	return sys(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&fprog)))
}
