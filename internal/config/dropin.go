package config

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Apply is the command that makes the service follow the configuration: it reloads, or restarts
// where BIND has changed.
const Apply = "dataflux-func-sidecar configure --apply"

// SocketDropIn returns the path of the drop-in that holds the addresses of BIND.
func SocketDropIn(unitDir string) string {
	return filepath.Join(unitDir, "dataflux-func-sidecar.socket.d", "bind.conf")
}

// SocketDropInText returns the content of the drop-in. The empty ListenStream= clears the addresses
// of the unit; without it they would remain.
func SocketDropInText(addresses []Address) []byte {
	var text strings.Builder
	text.WriteString("# Generated from BIND in the configuration by dataflux-func-sidecar " +
		"configure.\n" +
		"# Changes here are lost: change BIND and run that command again.\n" +
		"[Socket]\n" +
		"ListenStream=\n")
	for _, address := range addresses {
		text.WriteString("ListenStream=" + address.String() + "\n")
	}
	return []byte(text.String())
}

// stopMargin is what TimeoutStopSec= has in addition to StopTime, as in the unit as installed.
const stopMargin = 20 * time.Second

const stopDropInMark = "# Generated from DRAIN_TIMEOUT and KILL_GRACE by dataflux-func-sidecar.\n"

// StopDropIn returns the path of the drop-in that gives a long DRAIN_TIMEOUT its time.
func StopDropIn(unitDir string) string {
	return filepath.Join(unitDir, "dataflux-func-sidecar.service.d", "stop-timeout.conf")
}

// StopDropInText returns the content of that drop-in.
func StopDropInText(c Config) []byte {
	limit := (c.StopTime() + stopMargin).Round(time.Second)
	return fmt.Appendf(nil, "%s[Service]\nTimeoutStopSec=%ds\n", stopDropInMark,
		int(limit.Seconds()))
}

// IsStopDropIn reports whether a text is one of StopDropInText.
func IsStopDropIn(text []byte) bool { return bytes.HasPrefix(text, []byte(stopDropInMark)) }

// FormerSudoDropIn returns the path of the drop-in that releases up to 1.0 wrote for ALLOW_SUDO. It
// reverted a CapabilityBoundingSet= that the unit no longer has.
func FormerSudoDropIn(unitDir string) string {
	return filepath.Join(unitDir, "dataflux-func-sidecar.service.d", "allow-sudo.conf")
}

// IsFormerSudoDropIn reports whether configure wrote the text of FormerSudoDropIn: it always began
// with this line.
func IsFormerSudoDropIn(text []byte) bool {
	return bytes.HasPrefix(text, []byte("# Generated from ALLOW_SUDO = true by "+
		"dataflux-func-sidecar configure.\n"))
}
