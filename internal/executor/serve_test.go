package executor

import (
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
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

// A large request counts by the MACs that it costs: with 100 secrets, one of 1 MiB has the room of
// all, and it is given back whatever becomes of the secrets meanwhile.
func TestServer_CostOfVerifying(t *testing.T) {
	var keys []sign.Key
	for i := range 100 {
		keys = append(keys, sign.Key{Name: "k", Secret: []byte{byte(i)}})
	}
	for _, c := range []struct{ keys, body, want int }{
		{1, 0, 1},
		{1, 1 << 20, 2},
		{1, 16 << 20, 17},
		{8, 100, 1},
		{100, 1 << 10, 1},
		{100, 1 << 17, 13},
		{100, 1 << 20, 64},
		{100, 16 << 20, 64},
	} {
		verifier, err := sign.NewVerifier(keys[:c.keys], time.Minute, time.Now, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := server{verifier: verifier, verifying: make(chan struct{}, maxVerifying)}
		if got := s.costOf(message.Call{Body: make([]byte, c.body)}); got != c.want {
			t.Errorf("%d keys, %d bytes: got %d, want %d", c.keys, c.body, got, c.want)
		}
		s.acquire(c.want)
		verifier.Revoke(nil)
		if s.release(c.want); len(s.verifying) != 0 {
			t.Errorf("%d keys, %d bytes: %d are not given back", c.keys, c.body, len(s.verifying))
		}
	}
}

// An HTTP message signature costs one look-up and one hash of the body, however many secrets there
// are.
func TestServer_CostOfMessages(t *testing.T) {
	var keys []sign.Key
	for i := range 100 {
		keys = append(keys, sign.Key{Name: "k", Secret: []byte{byte(i)}})
	}
	verifier, err := sign.NewVerifier(keys, time.Minute, time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := server{verifier: verifier}
	signature := message.HTTPSignature{Input: "i", Signature: "s", Authority: "a"}.String()
	for body, want := range map[int]int{0: 1, 1 << 17: 1, 1 << 20: 2, 16 << 20: 17} {
		if got := s.costOf(message.Call{Signature: signature, Body: make([]byte, body)}); got != want {
			t.Errorf("%d bytes: got %d, want %d", body, got, want)
		}
	}
}
