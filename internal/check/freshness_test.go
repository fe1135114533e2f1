package check

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/units"
)

// A file that the configuration names counts as the configuration does.
func TestFreshness_FileOfSecrets(t *testing.T) {
	dir := t.TempDir()
	path, secret := filepath.Join(dir, "config"), filepath.Join(dir, "secret")
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	c := &checker{Options: Options{Config: path, StateDir: dir}}
	c.units = map[string]units.Properties{units.Service: {
		"ActiveState": "active", "ExecMainStartTimestampMonotonic": strconv.FormatInt(now.Nano()/1000, 10),
	}}
	c.settings.NamedKeys = []config.NamedKey{{SecretFile: secret}, {SecretFile: "credential"}}
	for _, file := range []string{path, secret} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name           string
		config, secret time.Duration // from the start
		want           []string      // files that have changed
	}{
		{"nothing changed", -time.Hour, -time.Hour, nil},
		{"the configuration", time.Hour, -time.Hour, []string{path}},
		{"the file", -time.Hour, time.Hour, []string{secret}},
		{"both", time.Hour, time.Hour, []string{path, secret}},
	} {
		for file, age := range map[string]time.Duration{path: test.config, secret: test.secret} {
			if at := time.Now().Add(age); os.Chtimes(file, at, at) != nil {
				t.Fatal("cannot set the time of a file")
			}
		}
		var got []string
		for _, f := range checkFreshness(c) {
			if f.Level == Warning {
				changed, _, _ := strings.Cut(f.Message, " has changed since")
				got = append(got, changed)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
