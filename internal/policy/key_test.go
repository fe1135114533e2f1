package policy

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
)

func TestKey_CheckUse(t *testing.T) {
	noon := time.Date(2027, 6, 30, 12, 0, 0, 0, time.UTC)
	lan := []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	for name, c := range map[string]struct {
		key    Key
		caller string // empty: not known
		isUnix bool
		want   string // part of the error; empty: none
	}{
		"anywhere":          {Key{}, "203.0.113.9", false, ""},
		"anywhere, unknown": {Key{}, "", false, ""},
		"anywhere, unix":    {Key{}, "", true, ""},
		"inside":            {Key{From: lan}, "172.17.255.255", false, ""},
		"inside, mapped":    {Key{From: lan}, "::ffff:172.17.0.2", false, ""},
		"inside, IPv6":      {Key{From: lan}, "fd00::2", false, ""},
		"outside":           {Key{From: lan}, "172.18.0.1", false, "172.17.0.0/16, fd00::/8 only"},
		"unknown":           {Key{From: lan}, "", false, "only"},
		"unix":              {Key{From: lan}, "", true, "only"},
		"unix permitted":    {Key{From: lan, FromUnix: true}, "", true, ""},
		"unix alone":        {Key{FromUnix: true}, "127.0.0.1", false, "Unix sockets only"},
		"last moment":       {Key{Expires: noon.Add(1)}, "127.0.0.1", false, ""},
		"expired":           {Key{Name: "old", Expires: noon}, "127.0.0.1", false, "old expired at 2027-06-30T12:00:00Z"},
		"expired, outside":  {Key{Expires: noon, From: lan}, "127.0.0.1", false, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			caller, _ := netip.ParseAddr(c.caller)
			err := c.key.CheckUse(noon, caller, c.isUnix)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestPolicy_ActionsOf(t *testing.T) {
	p := New([]Key{Default()}, []Action{{Name: "b"}, {Name: "a"}, {Name: "c"}})
	for want, key := range map[string]Key{
		"a b c": Default(), "a c": {Actions: []string{"a", "c", "gone"}}, "": {Name: "none"},
	} {
		var names []string
		for _, a := range p.ActionsOf(&key) {
			names = append(names, a.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%+v: got %q, want %q", key, got, want)
		}
	}
}

func TestLowest(t *testing.T) {
	a := exec.Limits{OpenFiles: 10, Memory: 1, CPUTime: time.Second}
	b := exec.Limits{OpenFiles: 5, Processes: 7, Memory: 2, CPUTime: time.Minute}
	want := exec.Limits{OpenFiles: 5, Processes: 7, Memory: 1, CPUTime: time.Second}
	if got := Lowest(a, b); got != want || Lowest(b, a) != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
