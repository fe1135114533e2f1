package config

import (
	"slices"
	"strings"
	"testing"
)

func TestSocketDropIn_ReplacesAddressesOfUnit(t *testing.T) {
	addresses, err := ParseBind("127.0.0.1:8099,[::1]:8200,/run/a.sock")
	if err != nil {
		t.Fatal(err)
	}
	text := string(SocketDropInText(addresses))
	want := "[Socket]\nListenStream=\nListenStream=127.0.0.1:8099\nListenStream=[::1]:8200\nListenStream=/run/a.sock\n"
	if !strings.HasSuffix(text, want) || !strings.HasPrefix(text, "# Generated from BIND") {
		t.Errorf("got\n%s", text)
	}
	unit := "[Socket]\nListenStream=1.1.1.1:1\n"
	if got := listenStreams(unit + text); !slices.Equal(got, []string{
		"127.0.0.1:8099",
		"[::1]:8200", "/run/a.sock",
	}) {
		t.Errorf("systemd is left with %v", got)
	}
}

// listenStreams reads the addresses as systemd does: an empty assignment clears the list.
func listenStreams(unit string) (streams []string) {
	for line := range strings.Lines(unit) {
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
