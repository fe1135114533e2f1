package main

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifier tells systemd how the daemon is. Where systemd did not ask, it does nothing.
type notifier struct {
	watchdog time.Duration // zero: systemd waits for no signs of life
	path     string        // of systemd's socket, empty if it did not ask

	mu     sync.Mutex
	conn   *net.UnixConn // kept, as there may be no descriptor for another when it is needed most; nil after a failure
	status string
}

func newNotifier() *notifier {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		watchdog = 0
	}
	n := &notifier{watchdog: watchdog, path: os.Getenv("NOTIFY_SOCKET")}
	n.connect()
	return n
}

func (n *notifier) connect() {
	if n.path == "" {
		return
	}
	if conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.path, Net: "unixgram"}); err == nil {
		n.conn = conn
	}
}

func (n *notifier) send(state string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.write(state)
}

// write needs mu. It ignores errors: when systemd cannot be told, its own timeouts do what is to be done.
func (n *notifier) write(state string) {
	if n.conn == nil {
		n.connect()
	}
	if n.conn == nil {
		return
	}
	_ = n.conn.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := n.conn.Write([]byte(state)); err != nil {
		_ = n.conn.Close()
		n.conn = nil
	}
}

func (n *notifier) ready() { n.send(daemon.SdNotifyReady) }
func (n *notifier) alive() { n.send(daemon.SdNotifyWatchdog) }

// stopping asks for as long as the drain may take, whatever TimeoutStopSec= says.
func (n *notifier) stopping(atMost time.Duration) {
	n.send(fmt.Sprintf("%s\nEXTEND_TIMEOUT_USEC=%d", daemon.SdNotifyStopping, atMost.Microseconds()))
}

// tell sets the line that `systemctl status` shows, if it has changed.
func (n *notifier) tell(status string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if status != n.status {
		n.status = status
		n.write("STATUS=" + status)
	}
}
