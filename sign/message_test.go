package sign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// privateKey is the same at each call with the same number.
func privateKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

const (
	exampleHost  = "192.0.2.7:8099"
	exampleNonce = "4a3396655598402bb572df631e6bea36"
)

func newMessageVerifier(t testing.TB, now func() time.Time, keys ...Key) *Verifier {
	t.Helper()
	v, err := NewVerifier(keys, 300*time.Second, now, NewNonceCache(300*time.Second, 1000, now, nil))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func verifyMessage(v *Verifier, m Message) error {
	_, _, err := v.VerifyMessage(m, func(a string) bool { return a == exampleHost }, nil)
	return err
}

func exampleMessage() Message {
	m := Message{Method: "POST", Authority: exampleHost, Path: "/shell", Body: []byte(`{"command":"id"}`)}
	SignMessage(privateKey(1), &m, time.Unix(noon, 0), exampleNonce)
	return m
}

func deployKey() Key { return Key{Name: "deploy", Public: publicOf(privateKey(1))} }

func TestVerifyMessage_AcceptedOnce(t *testing.T) {
	v, m, computed := newMessageVerifier(t, at(noon+50), deployKey()), exampleMessage(), 0
	key, timestamp, err := v.VerifyMessage(m, func(string) bool { return true }, func() { computed++ })
	if key != "deploy" || timestamp != fmt.Sprint(noon) || err != nil || computed != 1 {
		t.Errorf("got %q, %q, %v, computed %d times, want deploy, %d, no error, once", key, timestamp, err, computed, noon)
	}
	if err := verifyMessage(v, m); !errors.Is(err, ErrReplay) {
		t.Errorf("the second time: got %v, want ErrReplay", err)
	}
	bare := Message{Method: "GET", Authority: exampleHost, Path: "/jobs"}
	SignMessage(privateKey(1), &bare, time.Unix(noon, 0), "another-nonce")
	if err := verifyMessage(v, bare); err != nil {
		t.Errorf("without a body: got %v, want none", err)
	}
}

// A nonce is used up for both schemes, in either order.
func TestVerifyMessage_NonceOfTheOtherScheme(t *testing.T) {
	secret := Key{Name: "stock", Secret: []byte("secret")}
	r := example()
	r.Nonce = exampleNonce
	for _, macFirst := range []bool{true, false} {
		v := newMessageVerifier(t, at(noon), deployKey(), secret)
		mac := func() error { return verify(v, r, Signature(secret.Secret, r)) }
		message := func() error { return verifyMessage(v, exampleMessage()) }
		first, second := message, mac
		if macFirst {
			first, second = mac, message
		}
		if err := first(); err != nil {
			t.Fatal(err)
		}
		if err := second(); !errors.Is(err, ErrReplay) {
			t.Errorf("MAC first %v: got %v, want ErrReplay", macFirst, err)
		}
	}
}

func TestVerifyMessage_ChangedPart(t *testing.T) {
	other := exampleMessage()
	SignMessage(privateKey(2), &other, time.Unix(noon, 0), exampleNonce)
	stranger := strings.NewReplacer(KeyID(publicOf(privateKey(1))), KeyID(publicOf(privateKey(2))))
	changes := map[string]struct {
		change func(*Message)
		want   error
	}{
		"method":                    {func(m *Message) { m.Method = "PUT" }, ErrSignature},
		"path":                      {func(m *Message) { m.Path = "/shell/" }, ErrSignature},
		"authority":                 {func(m *Message) { m.Authority = "192.0.2.8:8099" }, ErrSignature},
		"body":                      {func(m *Message) { m.Body = []byte(`{"command":"su"}`) }, ErrDigest},
		"no body":                   {func(m *Message) { m.Body = nil }, ErrDigest},
		"body and digest":           {func(m *Message) { m.Body = []byte("{}"); m.Digest = contentDigest(m.Body) }, ErrSignature},
		"created":                   {func(m *Message) { m.Input = strings.Replace(m.Input, fmt.Sprint(noon), fmt.Sprint(noon+1), 1) }, ErrSignature},
		"nonce":                     {func(m *Message) { m.Input = strings.Replace(m.Input, exampleNonce, "another-nonce", 1) }, ErrSignature},
		"alg left out":              {func(m *Message) { m.Input = strings.Replace(m.Input, `;alg="ed25519"`, "", 1) }, ErrSignature},
		"expires added":             {func(m *Message) { m.Input += ";expires=1795406500" }, ErrSignature},
		"key of a stranger":         {func(m *Message) { m.Input = stranger.Replace(m.Input) }, ErrSignature},
		"signed by a stranger":      {func(m *Message) { *m = other }, ErrSignature},
		"signature of the stranger": {func(m *Message) { m.Signature = other.Signature }, ErrSignature},
	}
	for name, c := range changes {
		v, m := newMessageVerifier(t, at(noon), deployKey()), exampleMessage()
		c.change(&m)
		if err := verifyMessage(v, m); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if err := verifyMessage(v, exampleMessage()); err != nil {
			t.Errorf("after %s: got %v, want the nonce to be unused", name, err)
		}
	}
}

// A caller cannot tell an unknown keyid from a wrong signature, whose public key is configured.
func TestVerifyMessage_UnknownKeyAnswersAsBadSignature(t *testing.T) {
	v, known, unknown := newMessageVerifier(t, at(noon), deployKey()), exampleMessage(), exampleMessage()
	SignMessage(privateKey(2), &unknown, time.Unix(noon, 0), exampleNonce)
	known.Path = "/jobs"
	if a, b := verifyMessage(v, known), verifyMessage(v, unknown); a == nil || b == nil || a.Error() != b.Error() {
		t.Errorf("got %v for a wrong signature and %v for an unknown key, want the same", a, b)
	}
}

func TestVerifyMessage_OtherHost(t *testing.T) {
	v := newMessageVerifier(t, at(noon), deployKey())
	m := Message{Method: "GET", Authority: "192.0.2.8:8099", Path: "/jobs"}
	SignMessage(privateKey(1), &m, time.Unix(noon, 0), exampleNonce)
	if err := verifyMessage(v, m); !errors.Is(err, ErrHost) {
		t.Errorf("got %v, want ErrHost", err)
	}
	if n := v.Remembered(); n != 0 {
		t.Errorf("%d nonces are used up, want none", n)
	}
}

func TestVerifyMessage_Window(t *testing.T) {
	sign := func(created int64, more string) Message {
		m := Message{Method: "GET", Authority: exampleHost, Path: "/jobs"}
		params := fmt.Sprintf(`%s;created=%d;nonce="%s";keyid="%s"%s`, bareComponents, created, exampleNonce,
			KeyID(publicOf(privateKey(1))), more)
		resign(&m, params)
		return m
	}
	for _, c := range []struct {
		m    Message
		want error
	}{
		{sign(noon-300, ""), nil},
		{sign(noon+300, ""), nil},
		{sign(noon-301, ""), ErrWindow},
		{sign(noon+301, ""), ErrWindow},
		{sign(noon-9, fmt.Sprintf(";expires=%d", noon)), nil},
		{sign(noon-9, fmt.Sprintf(";expires=%d", noon-1)), ErrWindow},
		{sign(0, ""), ErrWindow},
		{sign(999999999999, ""), ErrWindow},
	} {
		v := newMessageVerifier(t, at(noon), deployKey())
		if err := verifyMessage(v, c.m); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.m.Input, err, c.want)
		}
	}
}

// resign signs m with parameters of any form.
func resign(m *Message, params string) {
	m.Input = "sig1=" + params
	m.Signature = "sig1=:" + base64.StdEncoding.EncodeToString(ed25519.Sign(privateKey(1), m.base(params))) + ":"
}

// What is refused for its form is signed as it is: the form alone is wrong.
func TestVerifyMessage_MalformedFields(t *testing.T) {
	keyID := KeyID(publicOf(privateKey(1)))
	tail := fmt.Sprintf(`;created=%d;nonce="%s";keyid="%s"`, noon, exampleNonce, keyID)
	replaced := func(old, with string) string {
		if !strings.Contains(digestComponents+tail, old) {
			t.Fatalf("there is no %q", old)
		}
		return strings.Replace(digestComponents+tail, old, with, 1)
	}
	for name, params := range map[string]string{
		"no parameters":            digestComponents,
		"no created":               replaced(fmt.Sprintf(";created=%d", noon), ""),
		"no nonce":                 replaced(fmt.Sprintf(`;nonce="%s"`, exampleNonce), ""),
		"no keyid":                 replaced(fmt.Sprintf(`;keyid="%s"`, keyID), ""),
		"created twice":            digestComponents + tail + fmt.Sprintf(";created=%d", noon),
		"nonce twice":              digestComponents + tail + `;nonce="another-nonce"`,
		"keyid twice":              digestComponents + tail + fmt.Sprintf(`;keyid="%s"`, keyID),
		"unknown parameter":        digestComponents + tail + `;tag="x"`,
		"parameter without value":  digestComponents + tail + ";alg",
		"another algorithm":        digestComponents + tail + `;alg="hmac-sha256"`,
		"algorithm as a token":     digestComponents + tail + ";alg=ed25519",
		"upper-case algorithm":     digestComponents + tail + `;alg="Ed25519"`,
		"space before a parameter": replaced(";nonce", "; nonce"),
		"space after":              digestComponents + tail + " ",
		"tab":                      replaced(";nonce", "\t;nonce"),
		"second signature":         digestComponents + tail + ", sig2=" + digestComponents + tail,
		"second, same label":       digestComponents + tail + ",sig1=" + digestComponents + tail,
		"created as a text":        replaced(fmt.Sprintf("=%d", noon), fmt.Sprintf(`="%d"`, noon)),
		"created as a decimal":     replaced(fmt.Sprint(noon), fmt.Sprintf("%d.0", noon)),
		"created, leading zero":    replaced(fmt.Sprint(noon), fmt.Sprintf("0%d", noon)),
		"created, sign":            replaced(fmt.Sprint(noon), fmt.Sprintf("+%d", noon)),
		"created, negative":        replaced(fmt.Sprint(noon), "-1"),
		"created, 13 digits":       replaced(fmt.Sprint(noon), "1795406403000"),
		"created, empty":           replaced(fmt.Sprint(noon), ""),
		"expires, empty":           digestComponents + tail + ";expires=",
		"short nonce":              replaced(exampleNonce, "short"),
		"long nonce":               replaced(exampleNonce, strings.Repeat("n", 65)),
		"nonce as a token":         replaced(`"`+exampleNonce+`"`, exampleNonce),
		"nonce, escape":            replaced(exampleNonce, `4a3396\"5598402b`),
		"nonce, semicolon":         replaced(exampleNonce, "4a3396;5598402b"),
		"nonce, open":              replaced(exampleNonce+`"`, exampleNonce),
		"keyid of a name":          replaced(keyID, "deploy"),
		"keyid, URL-safe":          replaced(keyID, base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 32))),
		"keyid, 31 bytes":          replaced(keyID, base64.StdEncoding.EncodeToString(make([]byte, 31))),
		"keyid, trailing bits":     replaced(keyID, keyID[:42]+"d="),
		"no components":            "()" + tail,
		"@method missing":          replaced(`"@method" `, ""),
		"@authority missing":       replaced(` "@authority"`, ""),
		"@path missing":            replaced(` "@path"`, ""),
		"@query missing":           replaced(` "@query"`, ""),
		"content-digest missing":   replaced(` "content-digest"`, ""),
		"another component":        replaced(`"content-digest"`, `"content-digest" "date"`),
		"another order":            replaced(`"@method" "@authority"`, `"@authority" "@method"`),
		"component twice":          replaced(`"@method"`, `"@method" "@method"`),
		"component parameter":      replaced(`"content-digest"`, `"content-digest";sf`),
		"request component":        replaced(`"@method"`, `"@method";req`),
		"two spaces":               replaced(`"@method" `, `"@method"  `),
		"upper-case component":     replaced(`"content-digest"`, `"Content-Digest"`),
		"not closed":               replaced(`"content-digest")`, `"content-digest"`),
	} {
		v, m := newMessageVerifier(t, at(noon), deployKey()), exampleMessage()
		resign(&m, params)
		if err := verifyMessage(v, m); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
	bare := exampleMessage()
	bare.Digest = ""
	resign(&bare, bareComponents+tail)
	if err := verifyMessage(newMessageVerifier(t, at(noon), deployKey()), bare); !errors.Is(err, ErrMalformed) ||
		!strings.Contains(err.Error(), "a body needs Content-Digest") {
		t.Errorf("a body that nothing covers: got %v, want ErrMalformed", err)
	}
	v, m := newMessageVerifier(t, at(noon), deployKey()), exampleMessage()
	if resign(&m, digestComponents+tail); verifyMessage(v, m) != nil {
		t.Error("the fields that the cases change are refused as they are")
	}
}

func TestVerifyMessage_MalformedSignature(t *testing.T) {
	good := exampleMessage()
	inner := strings.TrimSuffix(strings.TrimPrefix(good.Signature, "sidecar=:"), ":")
	raw, _ := base64.StdEncoding.DecodeString(inner)
	for name, change := range map[string]func(*Message){
		"empty":          func(m *Message) { m.Signature = "" },
		"without label":  func(m *Message) { m.Signature = ":" + inner + ":" },
		"another label":  func(m *Message) { m.Signature = "sig2=:" + inner + ":" },
		"two signatures": func(m *Message) { m.Signature += ", " + m.Signature },
		"a parameter":    func(m *Message) { m.Signature += ";a" },
		"a text":         func(m *Message) { m.Signature = `sidecar="` + inner + `"` },
		"63 bytes":       func(m *Message) { m.Signature = "sidecar=:" + base64.StdEncoding.EncodeToString(raw[:63]) + ":" },
		"65 bytes": func(m *Message) {
			m.Signature = "sidecar=:" + base64.StdEncoding.EncodeToString(append(raw[:64:64], 0)) + ":"
		},
		"no padding":        func(m *Message) { m.Signature = "sidecar=:" + strings.TrimRight(inner, "=") + ":" },
		"trailing bits":     func(m *Message) { m.Signature = "sidecar=:" + inner[:85] + nextLetter(inner[85]) + "==:" },
		"line feed":         func(m *Message) { m.Signature = "sidecar=:" + inner[:40] + "\n" + inner[40:87] + ":" },
		"label, upper case": func(m *Message) { m.Input = "S" + m.Input[1:]; m.Signature = "S" + m.Signature[1:] },
		"label, long": func(m *Message) {
			m.Input, m.Signature = strings.Repeat("s", 26)+m.Input, strings.Repeat("s", 26)+m.Signature
		},
		"no label":           func(m *Message) { m.Input = strings.TrimPrefix(m.Input, "sidecar") },
		"no input":           func(m *Message) { m.Input = "" },
		"no digest":          func(m *Message) { m.Digest = "" },
		"two digests":        func(m *Message) { m.Digest += ", " + m.Digest },
		"another digest":     func(m *Message) { m.Digest = "md5=:" + base64.StdEncoding.EncodeToString(raw[:16]) + ":" },
		"digest, wrong size": func(m *Message) { m.Digest = strings.Replace(m.Digest, "sha-256", "sha-512", 1) },
		"digest, hex":        func(m *Message) { m.Digest = "sha-256=" + strings.Repeat("0", 64) },
		"no host":            func(m *Message) { m.Authority = "" },
		"host, line feed":    func(m *Message) { m.Authority = "a\nb" },
		"host, upper case":   func(m *Message) { m.Authority = "A" },
		"host, long":         func(m *Message) { m.Authority = strings.Repeat("a", MaxAuthority+1) },
		"method, lower case": func(m *Message) { m.Method = "post" },
		"path, line feed":    func(m *Message) { m.Path = "/a\nb" },
		"path, query":        func(m *Message) { m.Path = "/a?b" },
	} {
		v, m := newMessageVerifier(t, at(noon), deployKey()), exampleMessage()
		change(&m)
		if err := verifyMessage(v, m); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

// nextLetter changes bits of the last letter before the padding that no byte has.
func nextLetter(c byte) string { return string(c + 1) }

// A signature whose S is not reduced is another text for the same signature (RFC 8032, section
// 5.1.7).
func TestVerifyMessage_UnreducedSignature(t *testing.T) {
	v, m := newMessageVerifier(t, at(noon), deployKey()), exampleMessage()
	raw, _ := parseSequence(m.Signature, "sidecar", ed25519.SignatureSize)
	order, _ := new(big.Int).SetString("1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed", 16)
	s := slices.Clone(raw[32:])
	slices.Reverse(s)
	sum := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	m.Signature = "sidecar=:" + base64.StdEncoding.EncodeToString(append(raw[:32:32], sum...)) + ":"
	if err := verifyMessage(v, m); !errors.Is(err, ErrSignature) {
		t.Errorf("got %v, want ErrSignature", err)
	}
}

// Two public keys of one name hold while they are rotated, and Revoke ends one of them.
func TestVerifyMessage_RotationAndRevoke(t *testing.T) {
	next := Key{Name: "deploy", Public: publicOf(privateKey(2))}
	stock := Key{Name: "stock", Secret: []byte("secret")}
	v := newMessageVerifier(t, at(noon), deployKey(), next, stock)
	queued := exampleMessage()
	for n := range 2 {
		m := exampleMessage()
		SignMessage(privateKey(byte(n+1)), &m, time.Unix(noon, 0), fmt.Sprint("rotation-", n))
		if key, _, err := v.VerifyMessage(m, func(string) bool { return true }, nil); key != "deploy" || err != nil {
			t.Errorf("key %d: got %q, %v, want deploy", n, key, err)
		}
	}
	if !v.IsMessageSigned("deploy", queued) || v.IsMessageSigned("stock", queued) {
		t.Error("got another key than deploy as the signer")
	}
	v.Revoke([][]byte{next.Credential(), stock.Credential()})
	if v.IsMessageSigned("deploy", queued) {
		t.Error("the signature of the revoked key still holds")
	}
	if err := verifyMessage(v, exampleMessage()); !errors.Is(err, ErrSignature) {
		t.Errorf("the revoked key: got %v, want ErrSignature", err)
	}
	m := exampleMessage()
	SignMessage(privateKey(2), &m, time.Unix(noon, 0), "after-revoke")
	if err := verifyMessage(v, m); err != nil {
		t.Errorf("the key that stays: got %v, want none", err)
	}
	if n := v.Secrets(); n != 1 {
		t.Errorf("got %d secrets, want 1", n)
	}
}

// BenchmarkVerifyMessage_Keys shows that a request costs the same with any number of public keys, and
// with one of them as with none of them.
func BenchmarkVerifyMessage_Keys(b *testing.B) {
	for _, count := range []int{1, 100} {
		var keys []Key
		for n := range count {
			keys = append(keys, Key{Name: "a", Public: publicOf(privateKey(byte(n + 1)))})
		}
		v := newMessageVerifier(b, at(noon), keys...)
		known, unknown := exampleMessage(), exampleMessage()
		SignMessage(privateKey(200), &unknown, time.Unix(noon, 0), exampleNonce)
		for name, m := range map[string]Message{"known": known, "unknown": unknown} {
			b.Run(fmt.Sprintf("%d/%s", count, name), func(b *testing.B) {
				for b.Loop() {
					if _, _, err := v.checkMessage(m, func(string) bool { return true }); (err == nil) != (name == "known") {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func TestParsePublicKey(t *testing.T) {
	encode := base64.StdEncoding.EncodeToString
	good := publicOf(privateKey(1))
	got, err := ParsePublicKey(KeyID(good))
	if err != nil || !got.Equal(good) {
		t.Errorf("got %v, %v, want the key", got, err)
	}
	nonPoint := slices.Clone(good)
	for isPoint(nonPoint) {
		nonPoint[0]++
	}
	unreduced := bytes.Repeat([]byte{0xff}, 32) // 2^255-1, which is 18 more than the prime
	unreduced[31] = 0x7f
	for name, text := range map[string]string{
		"empty": "", "31 bytes": encode(good[:31]), "33 bytes": encode(append(good[:32:32], 0)),
		"a private key": encode(privateKey(1)), "line feed": KeyID(good) + "\n", "no padding": strings.TrimRight(KeyID(good), "="),
		"no point": encode(nonPoint), "unreduced": encode(unreduced),
	} {
		if _, err := ParsePublicKey(text); err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %v, want an error without the text", name, err)
		}
	}
}

// The points of small order, with each sign, are refused; that they are of small order is computed.
func TestParsePublicKey_WeakPoints(t *testing.T) {
	weak := 0
	for _, y := range smallOrder {
		for _, sign := range []byte{0, 0x80} {
			key := y.FillBytes(make([]byte, 32))
			slices.Reverse(key)
			key[31] |= sign
			if !isPoint(key) { // 0 has no sign
				continue
			}
			weak++
			if _, err := ParsePublicKey(base64.StdEncoding.EncodeToString(key)); err == nil || !strings.Contains(err.Error(), "small order") {
				t.Errorf("%x: got %v, want it to be refused", key, err)
			}
			if !hasSmallOrder(y) {
				t.Errorf("%x: is not of small order", key)
			}
		}
	}
	if weak != 8 {
		t.Errorf("got %d points, want all 8 of the group", weak)
	}
	if hasSmallOrder(func() *big.Int { y, _ := decodeY(publicOf(privateKey(1))); return y }()) {
		t.Error("a key is of small order")
	}
}

// hasSmallOrder doubles a point three times by its y alone: y(2P) = (y²+x²)/(2+x²-y²), where
// x² = (y²-1)/(dy²+1), and the neutral point has y = 1.
func hasSmallOrder(y *big.Int) bool {
	mod := func(n *big.Int) *big.Int { return n.Mod(n, fieldPrime) }
	divide := func(a, b *big.Int) *big.Int {
		return mod(a.Mul(a, new(big.Int).ModInverse(mod(b), fieldPrime)))
	}
	one, y := big.NewInt(1), new(big.Int).Set(y)
	for range 3 {
		yy := mod(new(big.Int).Mul(y, y))
		xx := divide(new(big.Int).Sub(yy, one), new(big.Int).Add(new(big.Int).Mul(curveD, yy), one))
		below := new(big.Int).Sub(new(big.Int).Add(big.NewInt(2), xx), yy)
		y = divide(new(big.Int).Add(yy, xx), below)
	}
	return y.Cmp(one) == 0
}

// RFC 9421, appendix B.2.6: its lines for @method, @authority and @path are ours, and its signature
// holds for the base that they make with the lines of fields that we do not cover.
func TestMessageBase_VectorOfTheRFC(t *testing.T) {
	public, err := base64.RawURLEncoding.DecodeString("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs")
	if err != nil {
		t.Fatal(err)
	}
	params := `("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"`
	lines := map[string]string{}
	for line := range strings.SplitSeq(string(Message{Method: "POST", Authority: "example.com", Path: "/foo"}.base(params)), "\n") {
		name, _, _ := strings.Cut(line, ":")
		lines[name] = line
	}
	base := strings.Join([]string{
		`"date": Tue, 20 Apr 2021 02:07:55 GMT`, lines[`"@method"`], lines[`"@path"`], lines[`"@authority"`],
		`"content-type": application/json`, `"content-length": 18`, lines[`"@signature-params"`],
	}, "\n")
	signature, ok := parseSequence("sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
		"sig-b26", ed25519.SignatureSize)
	if !ok || !ed25519.Verify(public, []byte(base), signature) {
		t.Errorf("the signature does not hold for\n%s", base)
	}
}

// The digests of RFC 9421, section 2, and RFC 9530, appendix D, over the same text.
func TestMessageDigest_VectorsOfTheRFCs(t *testing.T) {
	body := []byte(`{"hello": "world"}`)
	for _, digest := range []string{
		"sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
		"sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
	} {
		if m := (Message{Digest: digest, Body: body}); !isDigest(digest) || !m.matchesDigest() {
			t.Errorf("%s is not the digest of %s", digest, body)
		}
		if m := (Message{Digest: digest, Body: body[1:]}); m.matchesDigest() {
			t.Errorf("%s is the digest of another body", digest)
		}
	}
}

// What is accepted by its form is the one text for its values.
func FuzzMessage(f *testing.F) {
	m := exampleMessage()
	f.Add(m.Input, m.Signature, m.Digest)
	f.Add(strings.Replace(m.Input, ` "content-digest"`, "", 1), m.Signature, "")
	f.Add(m.Input+";expires=1795406500", m.Signature, m.Digest)
	f.Fuzz(func(t *testing.T, input, signature, digest string) {
		m := Message{Method: "POST", Authority: exampleHost, Path: "/shell", Input: input, Signature: signature, Digest: digest}
		if verifyMessage(newMessageVerifier(t, at(noon), Key{Name: "a", Public: publicOf(privateKey(7))}), m) == nil {
			t.Fatal("got an accepted request without a signature, want an error")
		}
		in, raw, err := m.parse()
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("got %v, want ErrMalformed", err)
			}
			return
		}
		if len(raw) != ed25519.SignatureSize || len(input) >= 320 || !IsNonce(in.nonce) || !isInteger(in.created) ||
			len(in.keyID) != 44 || in.label+"="+in.params != input || strings.ContainsAny(input+signature+digest, "\r\n\\,\t") {
			t.Fatalf("%q, %q, %q: got the unusable %+v", input, signature, digest, in)
		}
		want := in.label + "=" + bareComponents
		if in.coversDigest {
			want = in.label + "=" + digestComponents
		}
		for _, param := range strings.Split(strings.TrimPrefix(input, want), ";")[1:] {
			switch name, value, _ := strings.Cut(param, "="); name {
			case "created":
				want += ";created=" + in.created
			case "expires":
				want += ";expires=" + in.expires
			case "nonce":
				want += `;nonce="` + in.nonce + `"`
			case "keyid":
				want += `;keyid="` + in.keyID + `"`
			default:
				want += ";alg=" + value
			}
		}
		if want != input {
			t.Fatalf("got the values of %q, want %q", want, input)
		}
	})
}

// The example of docs/protocol.md holds, and says which text was signed.
func TestMessage_ExampleOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "### HTTP message signatures\n")
	example = strings.ReplaceAll(example, "\\\n      ", "")
	field := func(name string) string {
		_, value, _ := strings.Cut(example, "\n    "+name+": ")
		value, _, _ = strings.Cut(value, "\n")
		return value
	}
	m := Message{
		Method: "POST", Authority: field("Host"), Path: "/shell", Input: field("Signature-Input"),
		Signature: field("Signature"), Digest: field("Content-Digest"),
		Body: []byte(`{"command":"hostname","wait":true}`),
	}
	in, err := parseInput(m.Input)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ParsePublicKey(in.keyID)
	if err != nil {
		t.Fatal(err)
	}
	v := newMessageVerifier(t, at(noon), Key{Name: "a", Public: public})
	if err := verifyMessage(v, m); err != nil {
		t.Errorf("got %v, want the example to hold", err)
	}
	base, _, _ := strings.Cut(string(m.base(in.params)), `;nonce="`)
	if want := "\n    " + strings.ReplaceAll(base, "\n", "\n    ") + ";nonce=…\n"; !strings.Contains(example, want) {
		t.Errorf("the document lacks the signed text%s", want)
	}
}
