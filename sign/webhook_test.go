package sign

import (
	"encoding/base64"
	"io"
	"strings"
	"testing"
)

// The message and its signature are those that the libraries of Standard Webhooks are tested with.
func TestWebhook_Signature(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	w := NewWebhook(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330")
	for _, piece := range []string{`{"test": `, `2432232314}`} {
		if _, err := io.WriteString(w, piece); err != nil {
			t.Fatal(err)
		}
	}
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := w.Signature(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
