// Package units holds the texts of the systemd units, so that the program can tell whether those that are
// installed are those of its own version, and reads them as systemd would. It must never write them:
// install.sh and the packages do.
package units

import (
	"bytes"
	"embed"
)

// The units.
const (
	Service = "dataflux-func-sidecar.service"
	Socket  = "dataflux-func-sidecar.socket"
	Ports   = "dataflux-func-sidecar-ports.service"
	Metrics = "dataflux-func-sidecar-metrics.socket"
)

// Restart makes the service read its configuration anew.
const Restart = "systemctl restart dataflux-func-sidecar"

//go:embed *.service *.socket
var files embed.FS

// Names lists the units, the one that people start first.
func Names() []string {
	return []string{Service, Socket, Ports, Metrics}
}

// Same says whether text is that of the unit in this version. A package's has the program in /usr/bin, where
// install.sh's has it in /usr/local/bin.
func Same(name string, text []byte) bool {
	own, err := files.ReadFile(name)
	return err == nil && bytes.Equal(neutral(own), neutral(text))
}

func neutral(text []byte) []byte {
	return bytes.Replace(text, []byte("\nExecStart=/usr/local/bin/"), []byte("\nExecStart=/usr/bin/"), 1)
}
