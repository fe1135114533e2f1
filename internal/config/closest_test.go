package config

import "testing"

func TestClosest(t *testing.T) {
	words := []string{"BIND", "SECRET_KEY", "MAX_BODY", "jobs"}
	for typed, want := range map[string]string{
		"BIND": "BIND", "bind": "BIND", "BINDS": "BIND", "BID": "BIND", "BOND": "BIND", "BNID": "BIND",
		"SECRETKEY": "SECRET_KEY", "ECRET_KEY": "SECRET_KEY", "maxbody": "MAX_BODY", "job": "jobs", "ojbs": "jobs",
		"": "", "B": "", "BINDSS": "", "DNIB": "", "SECRET": "", "MAX_OUTPUT": "", "BI": "",
	} {
		if got := Closest(typed, words); got != want {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
}
