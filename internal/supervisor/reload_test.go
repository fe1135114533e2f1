package supervisor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/privsep"
)

func TestNotNow_OneHint(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{errors.New("x"), "cannot reload now: x; hint: reload again"},
		{errors.New("x; hint: y"), "cannot reload now: x; hint: y"},
		{&exec.RestError{PID: 7}, "process id 7 blocks the pipe"},
	} {
		got := notNow(test.err)
		if !strings.Contains(got.Error(), test.want) || strings.Count(got.Error(), "hint: ") != 1 {
			t.Errorf("got %v, want %q and one hint", got, test.want)
		}
		if !errors.Is(got, test.err) {
			t.Errorf("got %v, which does not wrap %v", got, test.err)
		}
	}
}

func TestCheckBind_RefusesOtherAddresses(t *testing.T) {
	parse := func(bind string) []config.Address {
		addresses, err := config.ParseBind(bind)
		if err != nil {
			t.Fatal(err)
		}
		return addresses
	}
	s := &supervisor{}
	s.settings.Bind = parse("127.0.0.1:1,[::1]:2")
	s.settings.MetricsBind = parse("127.0.0.1:3")
	for _, test := range []struct {
		name    string
		bind    []string
		byHand  bool
		want    string // in the error; empty: none
		metrics string
	}{
		{"the same", []string{"127.0.0.1:1", "[::1]:2"}, false, "", "127.0.0.1:3"},
		{"in another order", []string{"[::1]:2", "127.0.0.1:1"}, false, "", "127.0.0.1:3"},
		{"one less", []string{"127.0.0.1:1"}, false, "cannot reload BIND", "127.0.0.1:3"},
		{"one more", []string{"127.0.0.1:1", "[::1]:2", "/a"}, false, "configure --apply", "127.0.0.1:3"},
		{"none", nil, false, "address", "127.0.0.1:3"},
		{"of --bind", []string{"127.0.0.1:9"}, true, "", "127.0.0.1:3"},
		{"other metrics", []string{"127.0.0.1:1", "[::1]:2"}, false, "cannot reload METRICS_BIND", "127.0.0.1:4"},
	} {
		s.byHand = test.byHand
		err := s.checkBind(&reloadRequest{request: request{Bind: test.bind, MetricsBind: []string{test.metrics}}})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

// A disk that hangs would hold up the whole daemon: the supervisor does not write to it while the
// sync of each second has not returned.
func TestReload_WhileASyncHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		user := privsep.User{Name: "u", UID: 1000, GID: 1000}
		s := &supervisor{resources: resources{
			principals: privsep.Principals{Run: user, Role: user},
			state:      &durableState{syncing: make(chan struct{}, 1)}, // whose nonces cannot be synced
		}}
		s.state.syncing <- struct{}{}
		err := s.restAndExecute(&reloadRequest{})
		if want := "does not finish"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if len(s.state.syncing) != 1 {
			t.Error("the sync under way was taken for one of the reload")
		}
	})
}

// However many replaced roles hang, the daemon waits for the time of one ping.
func TestSilentRoles_AtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var roles []*networkRole
		for range maxRetired {
			roles = append(roles, &networkRole{})
		}
		began := time.Now()
		silent := silentOf(roles, func(r *networkRole) error {
			if r == roles[3] {
				return nil
			}
			time.Sleep(maxPingTime)
			return errors.New("no answer")
		})
		if want := slices.Delete(slices.Clone(roles), 3, 4); !slices.Equal(silent, want) {
			t.Errorf("got %d silent roles, want all but the fourth", len(silent))
		}
		if took := time.Since(began); took != maxPingTime {
			t.Errorf("got them after %s, want %s", took, maxPingTime)
		}
	})
}
