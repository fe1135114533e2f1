package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/config"
)

func TestPrintKeys(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	settings, err := config.Parse("f", []byte(`SECRET_KEY = ["secret-1", "secret-2"]
[KEY.deploy]
SECRET = ["secret-3", "secret-4"]
ACTIONS = ["status", "deploy"]
FROM = ["172.17.0.0/16", "unix"]
EXPIRES = 2026-12-12
[KEY.old]
SECRET = "secret-5"
ACTIONS = []
EXPIRES = 2026-11-29
JOBS = "all"
[KEY.today]
SECRET_FILE = "today"
EXPIRES = 2026-11-30T15:30:00+02:00
[ACTION.deploy]
RUN = "true"
[ACTION.status]
RUN = "true"
`))
	if err != nil {
		t.Fatal(err)
	}
	keys := listKeys(settings, now)
	used := time.Date(2026, 11, 30, 11, 59, 0, 0, time.Local)
	keys[1].LastUse = &used
	var got strings.Builder
	want := "NAME     MAY RUN         FROM                 EXPIRES                         JOBS  LAST USE\n" +
		"default  any command     anywhere             never                           all   -\n" +
		"deploy   deploy, status  172.17.0.0/16, unix  2026-12-12, in 12 days          own   " + formatTime(used) + "\n" +
		"old      nothing         anywhere             2026-11-29, expired             all   -\n" +
		"today    any command     anywhere             2026-11-30T13:30:00Z, in 1h30m  own   -\n"
	if err := printKeys(&got, keys, now, -1); err != nil || got.String() != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got.String(), want)
	}
	for i, secrets := range []int{2, 2, 1, 0} {
		if keys[i].Secrets != secrets {
			t.Errorf("%s: got %d secrets, want %d", keys[i].Name, keys[i].Secrets, secrets)
		}
	}
}

func TestUntilExpiry(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"2026-12-01T00:00:00Z":      "2026-11-30, in 12h0m",
		"2026-11-30T12:00:00Z":      "2026-11-30T12:00:00Z, expired",
		"2026-11-30T00:00:00Z":      "2026-11-29, expired",
		"2026-12-02T12:00:00Z":      "2026-12-02T12:00:00Z, in 2 days",
		"2027-01-01T02:00:00+02:00": "2026-12-31, in 31 days",
	} {
		at, err := time.Parse(time.RFC3339, text)
		if got := untilExpiry(at, now); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestTakeNameToAdd(t *testing.T) {
	for _, test := range []struct {
		args, rest string // separated by blanks
		name       string
		named      bool
	}{
		{"--add-key", "--add-key", "", false},
		{"--add-key --apply", "--add-key --apply", "", false},
		{"--add-key=true", "--add-key=true", "", false},
		{"--add-key deploy", "--add-key", "deploy", true},
		{"-add-key deploy --apply", "--add-key --apply", "deploy", true},
		{"--apply --add-key=deploy x", "--apply --add-key x", "deploy", true},
		{"-add-key=deploy", "--add-key", "deploy", true},
		{"--add-key=", "--add-key", "", true},
		{"add-key=deploy", "add-key=deploy", "", false},
		{"-- --add-key deploy", "-- --add-key deploy", "", false},
		{"--drop-key deploy", "--drop-key deploy", "", false},
	} {
		var o keyOptions
		got := o.takeNameToAdd(strings.Split(test.args, " "))
		if !slices.Equal(got, strings.Split(test.rest, " ")) || o.named.name != test.name || o.named.asksFor(optionAdd) != test.named {
			t.Errorf("%s: got %q and %q, want %q and %q", test.args, got, o.named.name, test.rest, test.name)
		}
	}
}
