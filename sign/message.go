package sign

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxAuthority is for a name of 253 characters, or an address in brackets, and a port.
	MaxAuthority = 264
	maxLabel     = 32 // characters
)

// Message is a request with an HTTP message signature (RFC 9421), of which docs/protocol.md
// describes the one shape that is accepted. The fields are as they were sent, without white space
// around them.
type Message struct {
	Method    string
	Authority string // host and port that the caller addressed, as @authority has them
	Path      string
	Input     string // Signature-Input
	Signature string // Signature
	Digest    string // Content-Digest (RFC 9530); empty: there is none, and no body
	Body      []byte
}

// The two lists of covered components. Queries are refused before, so @query is always "?".
const (
	bareComponents   = `("@method" "@authority" "@path" "@query")`
	digestComponents = `("@method" "@authority" "@path" "@query" "content-digest")`
)

// messageInput is a parsed Signature-Input.
type messageInput struct {
	label            string
	params           string // the value of @signature-params: components and parameters as sent
	coversDigest     bool
	created, expires string // decimal digits; expires may be empty
	nonce, keyID     string
}

// parseInput accepts the one canonical text of each value, so that the text can be signed as it is.
// Each part is bounded, and there at most once, so the whole has less than 320 bytes.
func parseInput(text string) (in messageInput, err error) {
	label, params, found := strings.Cut(text, "=")
	if !found || !isLabel(label) {
		return in, fmt.Errorf("%w: Signature-Input must be one label of 1 to %d lower-case "+
			"letters, digits, '-' or '_', then =(…)", ErrMalformed, maxLabel)
	}
	in.label, in.params = label, params
	rest, found := strings.CutPrefix(params, digestComponents)
	in.coversDigest = found
	if !found {
		if rest, found = strings.CutPrefix(params, bareComponents); !found {
			return in, fmt.Errorf(`%w: Signature-Input must cover %s, without "content-digest" `+
				"only if there is no body, in this order and with single spaces", ErrMalformed,
				digestComponents)
		}
	}
	given := map[string]bool{}
	for rest != "" {
		name := ""
		if name, rest, err = in.parseParameter(rest); err != nil {
			return in, err
		}
		if given[name] {
			return in, fmt.Errorf("%w: Signature-Input has %s twice", ErrMalformed, name)
		}
		given[name] = true
	}
	for _, name := range []string{"created", "nonce", "keyid"} {
		if !given[name] {
			return in, fmt.Errorf("%w: Signature-Input lacks the parameter %s", ErrMalformed, name)
		}
	}
	return in, nil
}

// parseParameter reads one ;name=value from the front of text.
func (in *messageInput) parseParameter(text string) (name, rest string, err error) {
	name, value, _ := strings.Cut(text, "=")
	value, rest = cutValue(value)
	ok := false
	switch name {
	case ";created":
		in.created, ok = value, isInteger(value)
	case ";expires":
		in.expires, ok = value, isInteger(value)
	case ";nonce":
		in.nonce, ok = unquote(value)
		ok = ok && IsNonce(in.nonce)
	case ";keyid":
		in.keyID, ok = unquote(value)
		_, isKey := decodeBytes(in.keyID, ed25519.PublicKeySize)
		ok = ok && isKey
	case ";alg":
		ok = value == `"ed25519"`
	default:
		return "", "", fmt.Errorf(`%w: the parameters of Signature-Input are ;created=SECONDS `+
			`;nonce="…" ;keyid="…", and if wanted ;expires=SECONDS ;alg="ed25519", without spaces`,
			ErrMalformed)
	}
	name = name[1:]
	if !ok {
		return "", "", fmt.Errorf("%w: %s of Signature-Input must be %s", ErrMalformed, name,
			formOf(name))
	}
	return name, rest, nil
}

// formOf says what the value of a parameter must be.
func formOf(parameter string) string {
	switch parameter {
	case "nonce":
		return fmt.Sprintf(`%d to %d letters, digits, '-' or '_' in double quotes`, MinNonce,
			MaxNonce)
	case "keyid":
		return "the public key as PUBLIC_KEYS has it, 44 characters of base64 in double quotes"
	case "alg":
		return `"ed25519"`
	}
	return fmt.Sprintf("Unix seconds of 1 to %d digits, without leading zeros", MaxTimestamp)
}

// cutValue splits text before the first semicolon. No value of the accepted shape has one.
func cutValue(text string) (value, rest string) {
	if at := strings.IndexByte(text, ';'); at >= 0 {
		return text[:at], text[at:]
	}
	return text, ""
}

func unquote(text string) (string, bool) {
	inner, opened := strings.CutPrefix(text, `"`)
	inner, closed := strings.CutSuffix(inner, `"`)
	return inner, opened && closed
}

// isInteger accepts the one canonical form of a number.
func isInteger(s string) bool { return IsTimestamp(s) && (s == "0" || s[0] != '0') }

func isLabel(s string) bool {
	permitted := func(c byte) bool {
		return isDigit(c) || 'a' <= c && c <= 'z' || c == '-' || c == '_'
	}
	return len(s) >= 1 && len(s) <= maxLabel && 'a' <= s[0] && s[0] <= 'z' && all(s, permitted)
}

// decodeBytes decodes the one canonical base64 of n bytes.
func decodeBytes(text string, n int) ([]byte, bool) {
	if len(text) != base64.StdEncoding.EncodedLen(n) { // so no line feed is skipped either
		return nil, false
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(text)
	return decoded, err == nil && len(decoded) == n
}

// parseSequence decodes the byte sequence LABEL=:BASE64: with n bytes.
func parseSequence(text, label string, n int) ([]byte, bool) {
	inner, opened := strings.CutPrefix(text, label+"=:")
	inner, closed := strings.CutSuffix(inner, ":")
	decoded, ok := decodeBytes(inner, n)
	return decoded, opened && closed && ok
}

// parse checks the form of all that is signed.
func (m Message) parse() (in messageInput, signature []byte, err error) {
	problem := ""
	switch in, err = parseInput(m.Input); {
	case err != nil:
		return in, nil, err
	case !isMethod(m.Method):
		problem = fmt.Sprintf("the method is not 1 to %d upper-case letters", maxMethod)
	case !isPath(m.Path):
		problem = "the path is not one that begins with / and has printable ASCII only"
	case !isAuthority(m.Authority):
		problem = fmt.Sprintf("the Host header must have 1 to %d printable characters in ASCII",
			MaxAuthority)
	case in.coversDigest != (m.Digest != ""):
		problem = `"content-digest" must be covered if there is a Content-Digest header, and ` +
			"only then"
	case m.Digest == "" && len(m.Body) > 0:
		problem = "a request with a body needs Content-Digest"
	case m.Digest != "" && !isDigest(m.Digest):
		problem = "Content-Digest must be one sha-256=:…: or sha-512=:…:"
	default:
		var ok bool
		signature, ok = parseSequence(m.Signature, in.label, ed25519.SignatureSize)
		if ok {
			return in, signature, nil
		}
		problem = "Signature must be LABEL=:…:, with the label of Signature-Input and 88 " +
			"characters of base64"
	}
	return in, nil, fmt.Errorf("%w: %s", ErrMalformed, problem)
}

func isAuthority(s string) bool {
	printable := func(c byte) bool { return ' ' < c && c < 0x7f && (c < 'A' || c > 'Z') }
	return len(s) >= 1 && len(s) <= MaxAuthority && all(s, printable)
}

func isDigest(text string) bool {
	_, short := parseSequence(text, "sha-256", sha256.Size)
	_, long := parseSequence(text, "sha-512", sha512.Size)
	return short || long
}

// matchesDigest reports whether m.Digest, whose form was checked, is that of the body.
func (m Message) matchesDigest() bool {
	switch {
	case m.Digest == "":
		return len(m.Body) == 0
	case strings.HasPrefix(m.Digest, "sha-256="):
		return m.Digest == contentDigest(m.Body)
	}
	sum := sha512.Sum512(m.Body)
	return m.Digest == "sha-512=:"+base64.StdEncoding.EncodeToString(sum[:])+":"
}

func contentDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// base returns the signature base (RFC 9421, section 2.5); params is the value of
// @signature-params.
func (m Message) base(params string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "\"@method\": %s\n\"@authority\": %s\n\"@path\": %s\n\"@query\": ?\n",
		m.Method, m.Authority, m.Path)
	if m.Digest != "" {
		fmt.Fprintf(&b, "\"content-digest\": %s\n", m.Digest)
	}
	fmt.Fprintf(&b, "\"@signature-params\": %s", params)
	return []byte(b.String())
}

// SignMessage sets the three fields of m, whose other parts are those of the request to be sent.
// The nonce must be fresh, and of the form that IsNonce accepts.
func SignMessage(key ed25519.PrivateKey, m *Message, created time.Time, nonce string) {
	components := bareComponents
	m.Digest = ""
	if len(m.Body) > 0 {
		components, m.Digest = digestComponents, contentDigest(m.Body)
	}
	params := fmt.Sprintf(`%s;created=%d;nonce="%s";keyid="%s";alg="ed25519"`, components,
		created.Unix(), nonce, KeyID(key.Public().(ed25519.PublicKey)))
	m.Input = "sidecar=" + params
	signature := ed25519.Sign(key, m.base(params))
	m.Signature = "sidecar=:" + base64.StdEncoding.EncodeToString(signature) + ":"
}

// Errors of VerifyMessage alone. It also returns ErrMalformed, ErrWindow and, for the nonce, those
// of Verify.
var (
	ErrSignature = errors.New("the signature does not match: PUBLIC_KEYS of this host must have " +
		"the key that signed, keyid must be that key, and Host, method, path and Content-Digest " +
		"must be sent as they were signed")
	ErrHost = errors.New("the request is signed for another host")
	// ErrDigest: the caller holds the key, and sent another body.
	ErrDigest = errors.New("Content-Digest is not that of the body: sign the exact bytes that " +
		"are sent")
)

// VerifyMessage is Verify for HTTP message signatures. After the form it checks the signature, the
// authority (isHost says whether it is this host's), the digest, the time window and the nonce, in
// that order: a body is not hashed for strangers. It returns the name of the key and the time of
// the signature in the form of Request.Timestamp.
//
// Nonces are those of Verify: one that a request of either scheme has used is used up.
func (v *Verifier) VerifyMessage(
	m Message, isHost func(authority string) bool, computed func(),
) (key, timestamp string, err error) {
	in, key, err := v.checkMessage(m, isHost)
	if computed != nil {
		computed()
	}
	if err != nil {
		return "", "", err
	}
	at, err := v.checkWindow(in.created)
	if err == nil {
		err = v.checkExpiry(in)
	}
	if err != nil {
		return "", "", err
	}
	return key, in.created, v.nonces.Use(in.nonce, at)
}

func (v *Verifier) checkMessage(
	m Message, isHost func(authority string) bool,
) (in messageInput, key string, err error) {
	in, key, err = v.signerOf(m)
	switch {
	case err != nil:
		return in, "", err
	case !isHost(m.Authority):
		return in, "", fmt.Errorf("%w, %s: send it to that one, or let SIGNED_HOSTS of this host "+
			"have that name", ErrHost, m.Authority)
	case !m.matchesDigest():
		return in, "", ErrDigest
	}
	return in, key, nil
}

// signerOf returns the name of the key whose signature m has.
func (v *Verifier) signerOf(m Message) (in messageInput, key string, err error) {
	in, signature, err := m.parse()
	if err != nil {
		return in, "", err
	}
	key, matched := v.keys.Load().findPublic(in.keyID, m.base(in.params), signature)
	if !matched {
		return in, "", ErrSignature
	}
	return in, key, nil
}

func (v *Verifier) checkExpiry(in messageInput) error {
	if in.expires == "" {
		return nil
	}
	expires, err := strconv.ParseInt(in.expires, 10, 64)
	if err != nil || expires < v.now().Unix() {
		return fmt.Errorf("%w: the signature has expired (expires)", ErrWindow)
	}
	return nil
}

// IsMessageSigned is IsSigned for HTTP message signatures. The body is that of a request that
// VerifyMessage has accepted.
func (v *Verifier) IsMessageSigned(key string, m Message) bool {
	_, signer, err := v.signerOf(m)
	return err == nil && signer == key
}
