package supervisor

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifier sends states to systemd (sd_notify). It does nothing if systemd did not ask for them.
type notifier struct {
	watchdog time.Duration // interval within which systemd expects a sign of life; zero: none
	path     string        // of the socket of systemd; empty if it did not ask

	mu        sync.Mutex
	conn      *net.UnixConn // kept open, as descriptors can run out; nil after a failure
	status    string
	owesReady bool // ready was called, and could not be sent
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

// contained says whether commands end with this process even if it is killed: systemd ends what is
// left in the cgroup of the unit, and the kernel what is left in a container whose first process
// this is. A process started by a service has that service's environment, so systemd must have
// started this process itself: SYSTEMD_EXEC_PID (248) says so, and for the system manager the
// parent.
func contained(pid, parent int, env func(string) string) bool {
	started := parent == 1 || env("SYSTEMD_EXEC_PID") == strconv.Itoa(pid)
	return pid == 1 || env("NOTIFY_SOCKET") != "" && started
}

func (n *notifier) connect() {
	if n.path == "" {
		return
	}
	address := &net.UnixAddr{Name: n.path, Net: "unixgram"}
	if conn, err := net.DialUnix("unixgram", nil, address); err == nil {
		n.conn = conn
	}
}

func (n *notifier) send(state string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.write(state)
}

// write needs mu. It returns false if the state could not be sent, as while systemd is busy: it
// reads nothing then, and its socket takes a few messages only.
func (n *notifier) write(state string) (sent bool) {
	if n.conn == nil {
		n.connect()
	}
	if n.conn == nil {
		return n.path == ""
	}
	_ = n.conn.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := n.conn.Write([]byte(state)); err != nil {
		_ = n.conn.Close()
		n.conn = nil
	}
	return n.conn != nil
}

// ready ends the start. Without it systemd would kill the daemon after TimeoutStartSec=, so alive
// repeats it until it was sent.
func (n *notifier) ready() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.owesReady = !n.write(daemon.SdNotifyReady)
}

// owes says whether ready was called and systemd was not told. A reload hands it over.
func (n *notifier) owes() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.owesReady
}

// alive feeds the watchdog.
func (n *notifier) alive() {
	n.mu.Lock()
	defer n.mu.Unlock()
	state := daemon.SdNotifyWatchdog
	if n.owesReady {
		state = daemon.SdNotifyReady + "\n" + state
	}
	if n.write(state) {
		n.owesReady = false
	}
}

// stopping asks for atMost until the end. It overrides TimeoutStopSec=.
func (n *notifier) stopping(atMost time.Duration) {
	extend := fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", atMost.Microseconds())
	n.send(daemon.SdNotifyStopping + "\n" + extend)
}

// setStatus sets the line that `systemctl status` shows.
func (n *notifier) setStatus(status string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if status != n.status && n.write("STATUS="+status) {
		n.status = status
	}
}
