package check

import (
	"net/netip"
	"testing"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/host"
)

// For 0.0.0.0 the judgements do not grow with the square of the bridges.
func TestForContainers(t *testing.T) {
	bridges := []host.Bridge{
		{Name: "br-a", Prefix: netip.MustParsePrefix("172.18.0.1/16")},
		{Name: "docker0", Prefix: netip.MustParsePrefix("172.17.0.1/16")},
		{Name: "br-b", Prefix: netip.MustParsePrefix("172.19.0.1/16")},
	}
	for text, want := range map[string]string{
		"127.0.0.1:1,/run/s,[::]:1": "",
		"172.17.0.1:1":              "172.17.0.1:1 from br-a docker0 br-b;",
		"172.19.0.1:1,172.17.0.1:2": "172.17.0.1:2 from br-a docker0 br-b;172.19.0.1:1 from br-a docker0 br-b;",
		"0.0.0.0:1":                 "172.18.0.1:1 from br-a;172.17.0.1:1 from br-a docker0 br-b;172.19.0.1:1 from br-b;",
	} {
		bind, err := config.ParseBind(text)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, target := range forContainers(bind, bridges) {
			got += target.to.String() + " from"
			for _, bridge := range target.from {
				got += " " + bridge.Name
			}
			got += ";"
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
