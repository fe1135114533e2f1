package check

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/units"
)

func TestAgreement_StopTimeout(t *testing.T) {
	for _, test := range []struct {
		drain   time.Duration
		shown   string // by systemctl; empty: systemd was not asked
		warning string // none: no warning
	}{
		{
			100 * time.Second, "",
			"are 1m50s, but systemd kills the service 1m0s after a stop: run dataflux-func-sidecar configure",
		},
		{30 * time.Second, "", ""},
		{100 * time.Second, "45s", "kills the service 45s after a stop"},
		{100 * time.Second, "2min", ""},
		{100 * time.Second, "infinity", ""},
		{100 * time.Second, "1min 45s", "kills the service 1m45s after a stop"},
		{100 * time.Second, "1d", ""},
		{30 * time.Second, "45s", ""},
		{30 * time.Second, "20s", "kills the service 20s after a stop: remove TimeoutStopSec="},
	} {
		c := &checker{
			Options:  Options{UnitDir: SystemUnits},
			settings: config.Config{DrainTimeout: test.drain, KillGrace: 5 * time.Second},
		}
		if test.shown != "" {
			c.units = map[string]units.Properties{
				units.Service: {"TimeoutStopUSec": test.shown}, units.Socket: {"FragmentPath": "/unit"},
			}
		} else {
			c.UnitDir = t.TempDir()
			if err := os.WriteFile(c.UnitDir+"/"+units.Socket, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var got string
		for _, f := range checkAgreement(c) {
			if f.Level == Warning {
				got += f.String()
			}
		}
		if !strings.Contains(got, test.warning) || test.warning == "" && got != "" {
			t.Errorf("%s with %q: got %q, want %q", test.drain, test.shown, got, test.warning)
		}
	}
}

func TestAgreement_AddressesThatSystemdHas(t *testing.T) {
	for listen, want := range map[string]bool{
		"127.0.0.1:8099 (Stream)\n[::1]:8200 (Stream)\n/run/s (Stream)":                           true,
		"[::1]:8200 (Stream)\n/run/s (Stream)\n127.0.0.1:8099 (Stream)":                           true,
		"127.0.0.1:8099 (Stream)\n[::1]:8200 (Stream)":                                            false,
		"127.0.0.1:8099 (Stream)\n[::1]:8200 (Stream)\n/run/s (Stream)\n127.0.0.1:1 (Stream)":     false,
		"127.0.0.1:8099 (Stream)\n[::1]:8200 (Stream)\n/run/s (Stream)\nudp:localhost (Datagram)": false,
		"": false,
	} {
		bind, err := config.ParseBind("127.0.0.1:8099,[::1]:8200,/run/s")
		if err != nil {
			t.Fatal(err)
		}
		c := &checker{settings: config.Config{Bind: bind}}
		c.units = map[string]units.Properties{units.Socket: {
			"FragmentPath": "/unit",
			"Listen":       listen,
		}}
		if got, err := c.socketsAgree(); got != want || err != nil {
			t.Errorf("%q: got %t, %v, want %t", listen, got, err, want)
		}
	}
	c := &checker{units: map[string]units.Properties{units.Socket: {"LoadState": "not-found"}}}
	if _, err := c.socketsAgree(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the unit: got %v, want %v", err, os.ErrNotExist)
	}
}

func TestUnits_StateAndProperties(t *testing.T) {
	file := t.TempDir() + "/unit"
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	loaded := func(changes ...string) units.Properties {
		unit := units.Properties{
			"LoadState": "loaded", "FragmentPath": file, "Type": "notify", "NotifyAccess": "main", "KillMode": "mixed",
			"Delegate": "yes", "FreeBind": "yes", "BindIPv6Only": "ipv6-only",
		}
		for _, change := range changes {
			name, value, _ := strings.Cut(change, "=")
			unit[name] = value
		}
		return unit
	}
	for _, test := range []struct {
		name  string
		unit  string
		shown units.Properties
		level Level
		want  string
	}{
		{"as installed", units.Service, loaded(), OK, file + " is loaded"},
		{
			"a drop-in", units.Socket, loaded("DropInPaths=/etc/bind.conf"), OK,
			"with the drop-ins /etc/bind.conf",
		},
		{
			"masked", units.Service, loaded("LoadState=masked"), Failure,
			"run systemctl unmask " + units.Service,
		},
		{"no metrics", units.Metrics, loaded("LoadState=masked"), OK, "so there are no metrics"},
		{
			"missing", units.Ports, loaded("LoadState=not-found", "FragmentPath="), Failure,
			"there is no " + units.Ports + ": run install.sh of version 1.2",
		},
		{
			"removed", units.Ports, loaded("FragmentPath=/none"), Failure,
			"there is no " + units.Ports,
		},
		{
			"edited", units.Service, loaded("NeedDaemonReload=yes"), Warning,
			"has read it: run systemctl daemon-reload && systemctl restart",
		},
		{
			"edited socket", units.Socket, loaded("NeedDaemonReload=yes"), Warning,
			"run " + config.Apply,
		},
		{
			"of another version", units.Service, loaded("Delegate=no"), Warning,
			"has Delegate=no instead of yes, so commands get no cgroups",
		},
		{
			"a systemd without the property", units.Socket, loaded("FreeBind="), OK,
			file + " is loaded",
		},
	} {
		c := &checker{
			Options: Options{
				Version: "1.2", Config: config.DefaultPath, UnitDir: SystemUnits,
			},
			units: map[string]units.Properties{},
		}
		for _, name := range units.Names() {
			c.units[name] = loaded()
		}
		c.units[test.unit] = test.shown
		var worst []string
		found := false
		for _, f := range checkUnits(c) {
			found = found || f.Level == test.level && strings.Contains(f.String(), test.want)
			if f.Level != OK {
				worst = append(worst, f.String())
			}
		}
		if !found || test.level == OK && len(worst) > 0 {
			t.Errorf("%s: got %q, want %s with %q", test.name, worst, test.level, test.want)
		}
	}
}
