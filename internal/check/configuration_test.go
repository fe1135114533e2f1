package check

import (
	"testing"

	"dataflux-func-sidecar/internal/config"
)

func TestOwnAddress(t *testing.T) {
	for bind, want := range map[string]string{
		"0.0.0.0:1": "127.0.0.1", "127.0.0.2:1": "127.0.0.1", "172.17.0.1:1": "172.17.0.1",
		"[::]:1": "::1", "[::1]:1": "::1",
	} {
		addresses, err := config.ParseBind(bind)
		if err != nil {
			t.Fatal(err)
		}
		if got := ownAddress(addresses[0]).String(); got != want {
			t.Errorf("%s: got %s, want %s", bind, got, want)
		}
	}
}
