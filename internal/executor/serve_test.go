package executor

import (
	"testing"

	"dataflux-func-sidecar/privsep/message"
)

func TestRoute_OtherMethod(t *testing.T) {
	s := server{routes: map[string]map[string]handler{"/x": {"PUT": nil, "GET": nil}}}
	got := asRefusal(s.route(verifiedCall{Call: message.Call{Method: "POST", Path: "/x"}}, nil))
	want := refusal{
		status: statusMethodNotAllowed, message: "this path takes GET, PUT only", allow: "GET, PUT",
	}
	if *got != want {
		t.Errorf("got %+v, want %+v", *got, want)
	}
}

// The network role may lie about callers.
func TestCallerAddress(t *testing.T) {
	const unknown = "an unknown address"
	for remote, want := range map[string]string{
		"127.0.0.1:80": "127.0.0.1:80", "[::1]:80": "[::1]:80",
		"[fe80::1%eth0.1]:80": "[fe80::1%eth0.1]:80", "unix socket": "unix socket",
		"[fe80::1%a\nb]:80": unknown, "[fe80::1%\x1b[2J]:80": unknown, "x": unknown, "": unknown,
	} {
		if got := callerAddress(remote); got != want {
			t.Errorf("%q becomes %q instead of %q", remote, got, want)
		}
	}
}
