package message

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestPayloads_RoundTrip(t *testing.T) {
	check := func(name string, got any, err error, want any) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
	}
	limits := Limits{
		MaxBody: 1 << 20, MaxConnections: 3, CallbackTimeout: time.Minute, MetricsSockets: 2,
	}
	gotLimits, err := DecodeLimits(limits.Encode())
	check("Limits", gotLimits, err, limits)
	call := Call{
		Method: "POST", Path: "/shell", Nonce: "n", Timestamp: "1", Signature: "s", Remote: "r",
		Body: []byte("{}"),
	}
	gotCall, err := DecodeCall(call.Encode())
	check("Call", gotCall, err, call)
	head := Head{
		Status: 503, RetryAfter: 1, Allow: "POST", ContentType: "application/json", Length: -1,
		Body: []byte("b"),
	}
	gotHead, err := DecodeHead(head.Encode())
	check("Head", gotHead, err, head)
	callback := Callback{
		URL: "http://h/", Headers: []string{"A", "1", "B", ""}, Length: 5, Resolver: "nameserver ::1\n",
	}
	gotCallback, err := DecodeCallback(callback.Encode())
	check("Callback", gotCallback, err, callback)
	outcome := Outcome{Status: 429, RetryAfter: 7, Error: "e"}
	gotOutcome, err := DecodeOutcome(outcome.Encode())
	check("Outcome", gotOutcome, err, outcome)
	refusal := Refusal{Status: 401, Count: 9, Remote: "r", Reason: "why"}
	gotRefusal, err := DecodeRefusal(refusal.Encode())
	check("Refusal", gotRefusal, err, refusal)
	credit, err := DecodeCredit(CreditOf(1 << 20))
	check("Credit", credit, err, 1<<20)
}

// A bound of the table that is off by one would end a role that keeps to the protocol.
func TestPayloads_FitTheTable(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for _, test := range []struct {
		name    string
		kind    Kind
		payload []byte
		want    uint32
	}{
		{"empty Identity", Certified, Identity{}.Encode(), rules[Certified].min},
		{"empty Limits", Setup, Limits{}.Encode(), rules[Setup].min},
		{"empty Call", Request, Call{}.Encode(), rules[Request].min},
		{"empty Head", Answer, Head{}.Encode(), rules[Answer].min},
		{"empty Callback", Post, Callback{}.Encode(), rules[Post].min},
		{"empty Outcome", Posted, Outcome{}.Encode(), rules[Posted].min},
		{"long Outcome", Posted, Outcome{Error: long}.Encode(), rules[Posted].min + maxText},
		{"empty Refusal", Refused, Refusal{}.Encode(), rules[Refused].min},
		{"long Refusal", Refused, Refusal{
			Remote: long, Reason: long,
		}.Encode(), rules[Refused].min + 2*maxText},
		{"Credit", Credit, CreditOf(1), rules[Credit].max},
	} {
		if got := uint32(len(test.payload)); got != test.want || got > rules[test.kind].max {
			t.Errorf("%s: got %d bytes, want %d, and %d at most",
				test.name, got, test.want, rules[test.kind].max)
		}
	}
}

func TestIdentity_Bounds(t *testing.T) {
	largest := Identity{
		Certificate: bytes.Repeat([]byte("c"), MaxCertificate), Key: bytes.Repeat([]byte("k"), MaxKey),
		Listeners: append(make([]bool, 1000), true),
	}
	for _, want := range []Identity{
		largest, {Certificate: []byte("c"), Key: []byte("k"), Listeners: []bool{true, false}},
	} {
		payload := want.Encode()
		if got, err := DecodeIdentity(payload); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %d bytes of certificate, %v; want %d",
				len(got.Certificate), err, len(want.Certificate))
		}
		if most := rules[Certified].max; len(payload) > int(most) {
			t.Errorf("got %d bytes, want %d at most", len(payload), most)
		}
	}
	for name, wrong := range map[string]Identity{
		"certificate": {Certificate: make([]byte, MaxCertificate+1)},
		"key":         {Key: make([]byte, MaxKey+1)},
	} {
		if _, err := DecodeIdentity(wrong.Encode()); !errors.Is(err, ErrProtocol) {
			t.Errorf("a %s above its bound: got %v, want ErrProtocol", name, err)
		}
	}
	for speaks, want := range map[string]error{"\x01": nil, "\x02": ErrProtocol} {
		payload := "\x00\x00\x00\x01" + speaks + strings.Repeat("\x00", 8)
		if _, err := DecodeIdentity([]byte(payload)); !errors.Is(err, want) {
			t.Errorf("a listener with the byte %q: got %v, want %v", speaks, err, want)
		}
	}
}

func FuzzPayloads(f *testing.F) {
	f.Add(Call{Method: "POST", Path: "/shell", Body: []byte("{}")}.Encode())
	f.Add(Callback{URL: "http://h/", Headers: []string{"A", "1"}}.Encode())
	f.Add(Head{Status: 200, Body: []byte("x")}.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if call, err := DecodeCall(data); err == nil {
			again, err := DecodeCall(call.Encode())
			if err != nil || !reflect.DeepEqual(call, again) {
				t.Fatalf("got %+v, %v after a round trip; want %+v", again, err, call)
			}
		}
		for _, err := range []error{
			second(DecodeHead(data)), second(DecodeCallback(data)), second(DecodeOutcome(data)),
			second(DecodeRefusal(data)), second(DecodeLimits(data)), second(DecodeCredit(data)),
			second(DecodeIdentity(data)),
		} {
			if err != nil && !errors.Is(err, ErrProtocol) {
				t.Fatalf("got %v, want ErrProtocol", err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestHTTPSignature_ThereAndBack(t *testing.T) {
	want := HTTPSignature{Input: "a", Signature: "b", Digest: "", Authority: "c:1", Local: "127.0.0.1:1"}
	if got, ok := ParseHTTPSignature(want.String()); !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	for _, text := range []string{"", "BB8B987AD37B2F69418412D7A6659898F9228396", "a\nb\nc\nd", "a\nb\nc\nd\ne\nf"} {
		if got, ok := ParseHTTPSignature(text); ok {
			t.Errorf("%q: got %+v, want none", text, got)
		}
	}
}
