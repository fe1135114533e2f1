package sign

import (
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Bounds of what a signed request may carry. A stock nonce is 32 hex digits, a stock timestamp 10 digits.
const (
	MinNonce     = 8
	MaxNonce     = 64
	MaxTimestamp = 12
	signatureHex = 40
)

// What Verify refuses. Callers branch on these; the text is fit for the requester, because it says
// nothing that the requester did not send, apart from this host's clock after the MAC held.
var (
	ErrMalformed = errors.New("malformed signature headers")
	ErrMAC       = errors.New("the signature does not match: compare the secret key on both sides, and sign the exact bytes of METHOD, path, nonce, timestamp and body that are sent")
	ErrWindow    = errors.New("the timestamp is outside the time window")
	ErrReplay    = errors.New("this nonce was used before: sign each request with a fresh nonce")
	ErrFull      = errors.New("too many signed requests within the time window: try again later")
)

// Verifier accepts each signed request once. It is safe for concurrent use.
type Verifier struct {
	keys   [][]byte
	window time.Duration
	now    func() time.Time
	nonces *NonceCache
}

// NewVerifier accepts signatures under any of keys, of which there must be at least one and none
// empty, and timestamps at most window away from now().
func NewVerifier(keys [][]byte, window time.Duration, now func() time.Time, nonces *NonceCache) (*Verifier, error) {
	if len(keys) == 0 {
		return nil, errors.New("no secret key: set SECRET_KEY")
	}
	for _, key := range keys {
		if len(key) == 0 {
			return nil, errors.New("empty secret key: set SECRET_KEY")
		}
	}
	return &Verifier{keys: keys, window: window, now: now, nonces: nonces}, nil
}

// Verify checks the form, then the MAC, then the time window, then the nonce, in that order: nobody
// without the key learns about the clock or puts anything into the nonce cache. An error wraps one
// of the sentinel errors above.
func (v *Verifier) Verify(r Request, signature string) error {
	return v.VerifyThen(r, signature, func() {})
}

// VerifyThen is Verify, and calls computed as soon as the MAC is known to hold or not: what comes then is
// quick, but for the disk on which the nonce is recorded.
func (v *Verifier) VerifyThen(r Request, signature string, computed func()) error {
	claimed, err := r.checkForm(signature)
	if err != nil {
		computed()
		return err
	}
	matched := v.matchesAnyKey(r, claimed)
	computed()
	if !matched {
		return ErrMAC
	}
	timestamp, err := v.checkWindow(r.Timestamp)
	if err != nil {
		return err
	}
	return v.nonces.Use(r.Nonce, timestamp)
}

// Claim uses up a name of the caller's choice for as long as nonces are remembered, so that what it
// names happens once. A name must not have the form of a nonce. Timestamp is that of a request that
// Verify has accepted. The errors are those of NonceCache.Use.
func (v *Verifier) Claim(name, timestamp string) error {
	at, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || IsNonce(name) {
		return fmt.Errorf("%w: cannot claim a name with it", ErrMalformed)
	}
	return v.nonces.Use(name, at)
}

// Reclaim is Claim for what was promised before this process started, also where no present timestamp is
// accepted yet.
func (v *Verifier) Reclaim(name string) error {
	return v.Claim(name, strconv.FormatInt(v.nonces.earliest(), 10))
}

// Remembered is how many nonces and claimed names are remembered at present.
func (v *Verifier) Remembered() int { return v.nonces.Remembered() }

// matchesAnyKey always computes every MAC: the time taken must not tell which key matched.
func (v *Verifier) matchesAnyKey(r Request, claimed []byte) bool {
	matched := false
	for _, key := range v.keys {
		if hmac.Equal(r.mac(key), claimed) {
			matched = true
		}
	}
	return matched
}

func (v *Verifier) checkWindow(text string) (int64, error) {
	timestamp, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: X-Auth-Timestamp is not a number", ErrMalformed)
	}
	now, window := v.now().Unix(), int64(v.window/time.Second)
	switch skew := now - timestamp; {
	case skew > window:
		return 0, fmt.Errorf("%w: it is %d s behind this host's clock, %d s are allowed; set both clocks right", ErrWindow, skew, window)
	case -skew > window:
		return 0, fmt.Errorf("%w: it is %d s ahead of this host's clock, %d s are allowed; set both clocks right", ErrWindow, -skew, window)
	}
	return timestamp, nil
}

// checkForm refuses what could shift the borders of the canonical string's five parts (a newline in
// any of the first four) or grow without bound, and decodes the claimed MAC.
func (r Request) checkForm(signature string) ([]byte, error) {
	switch {
	case !isMethod(r.Method):
		return nil, fmt.Errorf("%w: the method is not 1 to 16 upper-case letters", ErrMalformed)
	case !isPath(r.Path):
		return nil, fmt.Errorf("%w: the path is not one that begins with / and has printable ASCII only", ErrMalformed)
	case !IsNonce(r.Nonce):
		return nil, fmt.Errorf("%w: X-Auth-Nonce must be %d to %d letters, digits, '-' or '_'", ErrMalformed, MinNonce, MaxNonce)
	case !IsTimestamp(r.Timestamp):
		return nil, fmt.Errorf("%w: X-Auth-Timestamp must be Unix seconds, 1 to %d decimal digits", ErrMalformed, MaxTimestamp)
	case len(signature) != signatureHex:
		return nil, fmt.Errorf("%w: X-Auth-Signature must be %d hex digits", ErrMalformed, signatureHex)
	}
	claimed, err := hex.DecodeString(signature)
	if err != nil {
		return nil, fmt.Errorf("%w: X-Auth-Signature must be %d hex digits", ErrMalformed, signatureHex)
	}
	return claimed, nil
}

// IsNonce says whether s has the form of a nonce: MinNonce to MaxNonce letters, digits, '-' or '_'.
func IsNonce(s string) bool {
	return len(s) >= MinNonce && len(s) <= MaxNonce && all(s, func(c byte) bool {
		return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '_'
	})
}

// IsTimestamp says whether s is 1 to MaxTimestamp decimal digits.
func IsTimestamp(s string) bool {
	return len(s) >= 1 && len(s) <= MaxTimestamp && all(s, isDigit)
}

func isMethod(s string) bool {
	return len(s) >= 1 && len(s) <= 16 && all(s, func(c byte) bool { return 'A' <= c && c <= 'Z' })
}

func isPath(s string) bool {
	return len(s) >= 1 && s[0] == '/' && all(s, func(c byte) bool { return ' ' < c && c < 0x7f && c != '?' })
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func all(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}
