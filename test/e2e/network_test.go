package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// inNetwork runs do on a thread inside the machine's network. A socket stays in the network in
// which it was made, so callers and callback receivers of a test need no program inside.
func (m *machine) inNetwork(do func() error) error {
	leader, err := m.leader()
	if err != nil {
		return err
	}
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", leader))
	if err != nil {
		return err
	}
	defer func() { _ = there.Close() }()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer func() { _ = here.Close() }()

	runtime.LockOSThread()
	if err := unix.Setns(int(there.Fd()), syscall.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("cannot enter the machine's network: %w", err)
	}
	err = do()
	if back := unix.Setns(int(here.Fd()), syscall.CLONE_NEWNET); back != nil {
		return fmt.Errorf("cannot leave the machine's network: %w", back) // the thread ends, on purpose
	}
	runtime.UnlockOSThread()
	return err
}

// dial connects inside the machine. A path is a Unix socket of the machine.
func (m *machine) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	if network == "unix" {
		leader, err := m.leader()
		if err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, "unix", fmt.Sprintf("/proc/%d/root%s", leader, address))
	}
	err = m.inNetwork(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

func (m *machine) listen(address string) (listener net.Listener, err error) {
	err = m.inNetwork(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	return listener, err
}
