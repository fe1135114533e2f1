package host

import (
	"net/netip"
	"testing"

	"dataflux-func-sidecar/internal/config"
)

func TestFollowBridge(t *testing.T) {
	stock := config.JoinBind(config.Default().Bind)
	for _, one := range []struct{ bind, bridge, want string }{
		{stock, "10.200.0.1", "127.0.0.1:8099,10.200.0.1:8099"},
		{stock, "172.17.0.1", stock},
		{stock, "", stock}, // no docker0
		{"172.17.0.1:9000,172.17.0.1:9001", "10.200.0.1", "10.200.0.1:9000,10.200.0.1:9001"},
		{"127.0.0.1:8099,192.0.2.7:8099", "10.200.0.1", "127.0.0.1:8099,192.0.2.7:8099"},
		{"0.0.0.0:8099", "10.200.0.1", "0.0.0.0:8099"},
		{"/run/sidecar.sock", "10.200.0.1", "/run/sidecar.sock"},
		// Both are meant, as somebody wrote both.
		{"172.17.0.1:8099,10.200.0.1:8099", "10.200.0.1", "172.17.0.1:8099,10.200.0.1:8099"},
	} {
		bind, err := config.ParseBind(one.bind)
		if err != nil {
			t.Fatal(err)
		}
		var bridge netip.Addr
		if one.bridge != "" {
			bridge = netip.MustParseAddr(one.bridge)
		}
		if got := config.JoinBind(FollowBridge(bind, bridge)); got != one.want {
			t.Errorf("%s with docker0 at %q: %s, want %s", one.bind, one.bridge, got, one.want)
		}
	}
}
