package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifier tells systemd how the daemon is. Where systemd did not ask, it does nothing.
type notifier struct {
	watchdog time.Duration // zero: systemd waits for no signs of life

	mu     sync.Mutex
	status string
}

func newNotifier() *notifier {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		watchdog = 0
	}
	return &notifier{watchdog: watchdog}
}

// send ignores errors: when systemd cannot be told, its own timeouts do what is to be done.
func (n *notifier) send(state string) { _, _ = daemon.SdNotify(false, state) }

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
		n.send("STATUS=" + status)
	}
}
