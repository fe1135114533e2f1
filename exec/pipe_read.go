package exec

import "golang.org/x/sys/unix"

// readPipe is read(2) for a pipe, by vmsplice(2). A command can make its pipe one of packets, by
// O_DIRECT, as dd oflag=direct does. What of a packet has no room is dropped by read(2), and left
// in the pipe by vmsplice(2).
func readPipe(fd int, into []byte) (n int, err error) {
	iov := []unix.Iovec{{Base: &into[0]}}
	iov[0].SetLen(len(into))
	for {
		n, err = unix.Vmsplice(fd, iov, unix.SPLICE_F_NONBLOCK)
		if err != nil && err != unix.EAGAIN && err != unix.EINTR { // a sandbox forbids it
			n, err = unix.Read(fd, into)
		}
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}
