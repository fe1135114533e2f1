package message

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func TestAnIdentitySurvivesTheRoundTripUpToItsBounds(t *testing.T) {
	largest := Identity{
		Certificate: bytes.Repeat([]byte("c"), MaxCertificate), Key: bytes.Repeat([]byte("k"), MaxKey),
		Listeners: append(make([]bool, 1000), true),
	}
	for _, want := range []Identity{largest, {Certificate: []byte("c"), Key: []byte("k"), Listeners: []bool{true, false}}} {
		payload := want.Encode()
		if got, err := DecodeIdentity(payload); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %d bytes of certificate, %v", len(got.Certificate), err)
		}
		if limit := FromExecutor()[Certified]; len(payload) > int(limit) {
			t.Errorf("%d bytes, the limit is %d", len(payload), limit)
		}
	}
	for name, wrong := range map[string]Identity{
		"certificate": {Certificate: make([]byte, MaxCertificate+1)}, "key": {Key: make([]byte, MaxKey+1)},
	} {
		if _, err := DecodeIdentity(wrong.Encode()); !errors.Is(err, ErrProtocol) {
			t.Errorf("a %s above its bound: %v", name, err)
		}
	}
	if _, err := DecodeIdentity([]byte("\x00\x00\x00\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00")); !errors.Is(err, ErrProtocol) {
		t.Errorf("a listener that neither speaks TLS nor does not: %v", err)
	}
}

func TestOnlyTheExecutorHandsOverAnIdentity(t *testing.T) {
	if _, permitted := FromNetwork()[Certified]; permitted {
		t.Error("the network role may send it too")
	}
}
