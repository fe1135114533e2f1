package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSkew(t *testing.T) {
	sent := time.Date(2026, 11, 30, 12, 0, 0, 700e6, time.UTC)
	received := sent.Add(11 * time.Minute)
	for name, test := range map[string]struct {
		theirs, want time.Duration // theirs after noon
	}{
		"within the second of sending": {0, 0}, "while it waited": {10 * time.Minute, 0},
		"before it was sent": {-time.Minute, time.Minute},
		"after the answer":   {12 * time.Minute, 700*time.Millisecond - time.Minute},
	} {
		noon := sent.Truncate(time.Second)
		if got := skew(noon.Add(test.theirs), sent, received); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}

func TestExplain(t *testing.T) {
	timedOut := context.DeadlineExceeded
	for name, test := range map[string]struct {
		err      error
		want     string // within the text
		mayStart bool
	}{
		"no connection":         {&Unreachable{Err: syscall.ECONNREFUSED}, "hint: see systemctl status", false},
		"not connected in time": {&Unreachable{Err: timedOut}, "no firewall drops", false},
		"TLS not answered":      {&Unreachable{Listens: true, Err: timedOut}, "listens there and does not answer", false},
		"not answered":          {&Unreachable{Listens: true, Sent: true, Err: timedOut}, "listens there and does not answer", true},
		"broken":                {&Unreachable{Listens: true, Sent: true, Err: syscall.ECONNRESET}, "gave no whole answer", true},
		"a proxy":               {&Stranger{Status: 504, text: "504 Gateway Timeout"}, "hint: a proxy may have given up", true},
		"another program":       {&Stranger{Status: 404, text: "404 Not Found"}, "hint: compare the URL", true},
		"refused late": {
			&Refusal{Status: http.StatusUnauthorized, Waited: time.Minute}, "the clocks agree, and the answer took 1m0s", false,
		},
		"another clock": {
			&Refusal{Status: http.StatusUnauthorized, Waited: time.Minute, Skew: time.Hour}, "see timedatectl", false,
		},
		"an unknown host": {
			&Unreachable{Err: &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}},
			": the host name was not found\nhint: compare its spelling", false,
		},
		"no name server": {
			&Unreachable{Err: &net.DNSError{Err: "dial udp 192.0.2.1:53: network is unreachable", Name: "x"}},
			": the host name cannot be resolved\nhint: no name server answers", false,
		},
		"another error": {errors.New("it broke"), "it broke", false},
	} {
		if got := Explain(test.err, "a file"); !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q in it", name, got, test.want)
		}
		if got := MayHaveArrived(test.err); got != test.mayStart {
			t.Errorf("%s: MayHaveArrived is %t, want %t", name, got, test.mayStart)
		}
	}
}
