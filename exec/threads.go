package exec

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// waitingThreads is more than the daemon usually has in system calls, besides those that wait for forks.
const waitingThreads = 6

// stockThreads makes the runtime create threads, which it then keeps. It ends
// the program when it needs another and the host has none left, as while a
// command forks without end: threads in stock leave EAGAIN to the commands.
func stockThreads() {
	var waiting sync.WaitGroup
	for range runtime.GOMAXPROCS(0) + forksAtOnce() + waitingThreads {
		waiting.Go(func() {
			// A raw sleep occupies a thread, unlike time.Sleep.
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 2_000_000}, nil)
		})
	}
	waiting.Wait()
}
