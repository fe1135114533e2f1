package sign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// Bounds of the signature headers, in characters. The stock client's nonce has 32 hex digits, its
// timestamp 10 digits.
const (
	MinNonce        = 8
	MaxNonce        = 64
	MaxTimestamp    = 12
	maxMethod       = 16
	signatureLength = 40
)

// Errors of Verify. Their texts may be sent to the caller: they say nothing that the caller did not
// send, but for this host's clock after the MAC held.
var (
	ErrMalformed = errors.New("malformed signature headers")
	ErrMAC       = errors.New("the signature does not match: " +
		"compare the secret key on both sides, " +
		"and sign the exact bytes of METHOD, path, nonce, timestamp and body that are sent")
	ErrWindow = errors.New("the timestamp is outside the time window")
	ErrReplay = errors.New("this nonce was used before: sign each request with a fresh nonce")
	ErrFull   = errors.New("too many signed requests within the time window: try again later")
)

// Verifier accepts each signed request once. It is safe for concurrent use.
type Verifier struct {
	keys    atomic.Pointer[keyring]
	revoked atomic.Bool // a key was removed
	window  time.Duration
	now     func() time.Time
	nonces  *NonceCache
}

// NewVerifier accepts signatures under any of keys, and timestamps at most window away from now().
// It returns an error if there is no key, or one without a secret and without a public key.
func NewVerifier(
	keys []Key, window time.Duration, now func() time.Time, nonces *NonceCache,
) (*Verifier, error) {
	if len(keys) == 0 {
		return nil, errors.New("no secret key: set SECRET_KEY")
	}
	for _, key := range keys {
		if len(key.Secret) == 0 && len(key.Public) != ed25519.PublicKeySize {
			return nil, errors.New("empty secret key: set SECRET_KEY")
		}
	}
	v := &Verifier{window: window, now: now, nonces: nonces}
	v.keys.Store(newKeyring(keys))
	return v, nil
}

// Revoke refuses from now on every key whose Credential is not among credentials. It adds none.
func (v *Verifier) Revoke(credentials [][]byte) {
	left := slices.DeleteFunc(v.keys.Load().all(), func(present Key) bool {
		return !slices.ContainsFunc(credentials, func(c []byte) bool {
			return bytes.Equal(c, present.Credential())
		})
	})
	v.keys.Store(newKeyring(left))
	v.revoked.Store(true)
}

// HasRevoked reports whether Revoke was called: a request that was verified earlier may be signed
// with a key that is gone.
func (v *Verifier) HasRevoked() bool { return v.revoked.Load() }

// IsSigned reports whether the signature of a request holds under a present secret of the key. It
// checks neither time nor nonce: it is for requests that Verify has accepted, after a change of
// keys. It computes the MACs of that key only, as there may be a long queue of such requests.
func (v *Verifier) IsSigned(key string, r Request, signature string) bool {
	claimed, err := r.checkForm(signature)
	return err == nil && v.keys.Load().isSigned(key, r, claimed)
}

// Verify checks the form, the MAC, the time window and the nonce, in that order: without the key a
// caller learns nothing about the clock and adds nothing to the nonce cache. It returns the name of
// the key under which the MAC holds. An error wraps one of the errors above, or ErrForgotten or
// ErrLedger.
//
// A nonce is used up for all keys: a secret that is moved from one key to another must not let a
// request pass twice.
//
// It calls computed, unless that is nil, once the MAC is checked or the form is wrong. After that
// only the recording of the nonce on disk may take time.
func (v *Verifier) Verify(
	r Request, signature string, computed func(),
) (key string, err error) {
	if computed == nil {
		computed = func() {}
	}
	claimed, err := r.checkForm(signature)
	if err != nil {
		computed()
		return "", err
	}
	key, matched := v.keys.Load().find(r, claimed)
	computed()
	if !matched {
		return "", ErrMAC
	}
	timestamp, err := v.checkWindow(r.Timestamp)
	if err != nil {
		return "", err
	}
	return key, v.nonces.Use(r.Nonce, timestamp)
}

// Claim uses a name for as long as nonces are kept, so that its work happens once. The name must
// not have the form of a nonce. Timestamp is that of a request that Verify has accepted. The errors
// are those of NonceCache.Use; after ErrLedger the name can be claimed again.
func (v *Verifier) Claim(name, timestamp string) error {
	at, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || IsNonce(name) {
		return fmt.Errorf("%w: cannot claim a name with it", ErrMalformed)
	}
	return v.nonces.claim(name, at)
}

// Claimed reports whether Claim would return ErrReplay for the name now.
func (v *Verifier) Claimed(name string) bool { return v.nonces.claimed(name) }

// Unclaim frees a claimed name whose work was refused and never began. It can be claimed again in
// this process; after a restart it counts as claimed.
func (v *Verifier) Unclaim(name string) { v.nonces.free(name) }

// Reclaim claims a name whose work was promised before this process started, also while no present
// timestamp is accepted. The work may have begun, so a name that cannot be recorded stays claimed
// in this process.
func (v *Verifier) Reclaim(name string) error {
	return v.nonces.Use(name, v.nonces.earliest())
}

// Secrets returns how many secrets there are, and so how many MACs a request with X-Auth-Signature
// costs. One with an HTTP message signature costs one look-up, and one hash of its body.
func (v *Verifier) Secrets() int { return len(v.keys.Load().keys) }

// Remembered returns how many nonces and claimed names are kept.
func (v *Verifier) Remembered() int { return v.nonces.count() }

// MaxRemembered returns how many of them can be kept.
func (v *Verifier) MaxRemembered() int { return v.nonces.capacity }

func (v *Verifier) checkWindow(text string) (int64, error) {
	timestamp, err := strconv.ParseInt(text, 10, 64)
	if err != nil { // its form was checked
		return 0, fmt.Errorf("%w: the timestamp is not a number", ErrMalformed)
	}
	now, window := v.now().Unix(), int64(v.window/time.Second)
	switch skew := now - timestamp; {
	case skew > window:
		return 0, fmt.Errorf("%w: it is %d s behind this host's clock, %d s are allowed; "+
			"set both clocks right", ErrWindow, skew, window)
	case -skew > window:
		return 0, fmt.Errorf("%w: it is %d s ahead of this host's clock, %d s are allowed; "+
			"set both clocks right", ErrWindow, -skew, window)
	}
	return timestamp, nil
}

// checkForm decodes the claimed MAC. It refuses what could shift the borders of the canonical
// string's five parts, a newline in any of the first four, and what has no bound.
func (r Request) checkForm(signature string) ([]byte, error) {
	problem := ""
	switch {
	case !isMethod(r.Method):
		problem = fmt.Sprintf("the method is not 1 to %d upper-case letters", maxMethod)
	case !isPath(r.Path):
		problem = "the path is not one that begins with / and has printable ASCII only"
	case !IsNonce(r.Nonce):
		problem = fmt.Sprintf("X-Auth-Nonce must be %d to %d letters, digits, '-' or '_'",
			MinNonce, MaxNonce)
	case !IsTimestamp(r.Timestamp):
		problem = fmt.Sprintf("X-Auth-Timestamp must be Unix seconds, 1 to %d decimal digits",
			MaxTimestamp)
	default:
		if len(signature) == signatureLength {
			if claimed, err := hex.DecodeString(signature); err == nil {
				return claimed, nil
			}
		}
		problem = fmt.Sprintf("X-Auth-Signature must be %d hex digits", signatureLength)
	}
	return nil, fmt.Errorf("%w: %s", ErrMalformed, problem)
}

// IsNonce reports whether s has the form of a nonce: MinNonce to MaxNonce letters, digits, '-' or
// '_'.
func IsNonce(s string) bool {
	permitted := func(c byte) bool {
		return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '_'
	}
	return len(s) >= MinNonce && len(s) <= MaxNonce && all(s, permitted)
}

// IsTimestamp reports whether s is 1 to MaxTimestamp decimal digits.
func IsTimestamp(s string) bool {
	return len(s) >= 1 && len(s) <= MaxTimestamp && all(s, isDigit)
}

func isMethod(s string) bool {
	upper := func(c byte) bool { return 'A' <= c && c <= 'Z' }
	return len(s) >= 1 && len(s) <= maxMethod && all(s, upper)
}

func isPath(s string) bool {
	printable := func(c byte) bool { return ' ' < c && c < 0x7f && c != '?' }
	return len(s) >= 1 && s[0] == '/' && all(s, printable)
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
