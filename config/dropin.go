package config

import (
	"path/filepath"
	"strings"
)

// ApplyBind makes systemd listen on a changed BIND. The socket must be stopped:
// a restart of the service opens no others. And before the reload, as systemd
// removes only the files of Unix sockets that it still knows of.
const ApplyBind = "systemctl stop dataflux-func-sidecar.service dataflux-func-sidecar.socket && " +
	"systemctl daemon-reload && " +
	"systemctl start dataflux-func-sidecar"

// SocketDropIn is where the addresses of BIND are told to systemd.
func SocketDropIn(unitDir string) string {
	return filepath.Join(unitDir, "dataflux-func-sidecar.socket.d", "bind.conf")
}

// SudoDropIn is where ALLOW_SUDO is told to systemd.
func SudoDropIn(unitDir string) string {
	return filepath.Join(unitDir, "dataflux-func-sidecar.service.d", "allow-sudo.conf")
}

// SocketDropInText is the content of SocketDropIn. The empty ListenStream=
// drops the addresses of the unit itself, to which others would only add.
func SocketDropInText(addresses []Address) []byte {
	var text strings.Builder
	text.WriteString("# Generated from BIND in the configuration by dataflux-func-sidecar configure.\n" +
		"# Changes here are lost: change BIND and run that command again.\n" +
		"[Socket]\n" +
		"ListenStream=\n")
	for _, address := range addresses {
		text.WriteString("ListenStream=" + address.String() + "\n")
	}
	return []byte(text.String())
}

// SudoDropInText is the content of SudoDropIn. Without it root itself has only
// the two capabilities with which the daemon changes its user, and a command's
// sudo could do next to nothing.
func SudoDropInText() []byte {
	return []byte("# Generated from ALLOW_SUDO = true by dataflux-func-sidecar configure.\n" +
		"# Changes here are lost: change ALLOW_SUDO and run that command again.\n" +
		"[Service]\n" +
		"CapabilityBoundingSet=~\n")
}

// ListenStreams reads back the addresses that a drop-in leaves systemd with.
func ListenStreams(dropIn []byte) []string {
	var streams []string
	for line := range strings.Lines(string(dropIn)) {
		value, found := strings.CutPrefix(strings.TrimSpace(line), "ListenStream=")
		switch {
		case found && value == "":
			streams = nil
		case found:
			streams = append(streams, value)
		}
	}
	return streams
}
