package sign

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

type vector struct {
	Name, SecretKey, Method, Path, Nonce, Timestamp, Body, Signature string
}

func (v vector) request() Request {
	return Request{
		Method: v.Method, Path: v.Path, Nonce: v.Nonce, Timestamp: v.Timestamp, Body: []byte(v.Body),
	}
}

// goldenVectors are the signatures of the stock client and of the wire contract.
func goldenVectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(data, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("vectors.json: %d vectors, %v", len(vectors), err)
	}
	return vectors
}

const noon = 1795406403

func at(seconds int64) func() time.Time { return func() time.Time { return time.Unix(seconds, 0) } }

func newVerifier(t testing.TB, now func() time.Time, keys ...string) *Verifier {
	t.Helper()
	var named []Key
	for _, k := range keys {
		named = append(named, Key{Name: "of " + k, Secret: []byte(k)})
	}
	v, err := NewVerifier(named, 300*time.Second, now, NewNonceCache(300*time.Second, 1000, now, nil))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func verify(v *Verifier, r Request, signature string) error {
	_, err := v.Verify(r, signature, nil)
	return err
}

func example() Request {
	return Request{
		Method: "POST", Path: "/shell", Nonce: "4a3396655598402bb572df631e6bea36",
		Timestamp: "1795406403", Body: []byte(`{"command":"id"}`),
	}
}

func TestSignature_GoldenVectors(t *testing.T) {
	for _, v := range goldenVectors(t) {
		if got := Signature([]byte(v.SecretKey), v.request()); got != v.Signature {
			t.Errorf("%s: got %s, want %s", v.Name, got, v.Signature)
		}
		streamed, err := SignatureOf([]byte(v.SecretKey), v.request(), func(w io.Writer) error {
			_, err := io.WriteString(w, v.Body)
			return err
		})
		if err != nil || streamed != v.Signature {
			t.Errorf("%s, streamed: got %s, %v; want %s", v.Name, streamed, err, v.Signature)
		}
	}
}

func TestVerify_GoldenVectors(t *testing.T) {
	for _, v := range goldenVectors(t) {
		for _, signature := range []string{v.Signature, strings.ToLower(v.Signature)} {
			verifier := newVerifier(t, at(noon+50), v.SecretKey)
			if err := verify(verifier, v.request(), signature); err != nil {
				t.Errorf("%s: got %v, want none", v.Name, err)
			}
		}
	}
}

func TestVerify_ChangedPart(t *testing.T) {
	changes := map[string]func(*Request){
		"method":    func(r *Request) { r.Method = "PUT" },
		"path":      func(r *Request) { r.Path = "//shell" },
		"nonce":     func(r *Request) { r.Nonce = strings.Repeat("0", 32) },
		"timestamp": func(r *Request) { r.Timestamp = "1795406404" },
		"body":      func(r *Request) { r.Body[3] ^= 1 },
		"cut body":  func(r *Request) { r.Body = r.Body[:len(r.Body)-1] },
		"long body": func(r *Request) { r.Body = append(r.Body, '\n') },
	}
	for name, change := range changes {
		v, r := newVerifier(t, at(noon), "key"), example()
		signature := Signature([]byte("key"), r)
		r.Body = append([]byte(nil), r.Body...)
		change(&r)
		if err := verify(v, r, signature); !errors.Is(err, ErrMAC) {
			t.Errorf("%s: got %v, want ErrMAC", name, err)
		}
	}
}

func TestVerify_MalformedHeaders(t *testing.T) {
	good := Signature([]byte("key"), example())
	cases := map[string]func(*Request, *string){
		"no timestamp":       func(r *Request, _ *string) { r.Timestamp = "" },
		"negative timestamp": func(r *Request, _ *string) { r.Timestamp = "-1795406403" },
		"float timestamp":    func(r *Request, _ *string) { r.Timestamp = "1e30" },
		"word timestamp":     func(r *Request, _ *string) { r.Timestamp = "now" },
		"long timestamp":     func(r *Request, _ *string) { r.Timestamp = strings.Repeat("1", 13) },
		"empty nonce":        func(r *Request, _ *string) { r.Nonce = "" },
		"1 MB nonce":         func(r *Request, _ *string) { r.Nonce = strings.Repeat("a", 1<<20) },
		"newline in nonce":   func(r *Request, _ *string) { r.Nonce = "aaaaaaaa\nbbbbbbbb" },
		"newline in path":    func(r *Request, _ *string) { r.Path = "/shell\n" },
		"query in path":      func(r *Request, _ *string) { r.Path = "/shell?a=b" },
		"lower-case method":  func(r *Request, _ *string) { r.Method = "post" },
		"short signature":    func(_ *Request, s *string) { *s = good[:38] },
		"not hex":            func(_ *Request, s *string) { *s = "Z" + good[1:] },
		"empty signature":    func(_ *Request, s *string) { *s = "" },
	}
	for name, spoil := range cases {
		v, r, signature := newVerifier(t, at(noon), "key"), example(), good
		spoil(&r, &signature)
		if err := verify(v, r, signature); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

func TestVerify_EdgesOfTheWindow(t *testing.T) {
	for offset, want := range map[int64]error{
		-301: ErrWindow, -300: nil, 0: nil, 300: nil, 301: ErrWindow,
	} {
		v, r := newVerifier(t, at(noon+offset), "key"), example()
		if err := verify(v, r, Signature([]byte("key"), r)); !errors.Is(err, want) {
			t.Errorf("clock at %+d s: got %v, want %v", offset, err, want)
		}
	}
}

func TestVerify_ReplayThroughTheWindow(t *testing.T) {
	for _, accepted := range []int64{-300, 0, 300} {
		clock := int64(noon) + accepted
		v, r := newVerifier(t, func() time.Time { return time.Unix(clock, 0) }, "key"), example()
		signature := Signature([]byte("key"), r)
		if err := verify(v, r, signature); err != nil {
			t.Fatalf("first use at %+d s: got %v, want none", accepted, err)
		}
		for ; clock <= noon+300; clock++ {
			if err := verify(v, r, signature); !errors.Is(err, ErrReplay) {
				t.Fatalf("replay at %+d s: got %v, want ErrReplay", clock-noon, err)
			}
		}
	}
}

func TestVerify_HundredAtOnce(t *testing.T) {
	v, r := newVerifier(t, at(noon), "key"), example()
	signature := Signature([]byte("key"), r)
	var wg sync.WaitGroup
	results := make(chan error, 100)
	for range 100 {
		wg.Go(func() { results <- verify(v, r, signature) })
	}
	wg.Wait()
	close(results)
	accepted := 0
	for err := range results {
		if err == nil {
			accepted++
		} else if !errors.Is(err, ErrReplay) {
			t.Errorf("refused with %v, want ErrReplay", err)
		}
	}
	if accepted != 1 {
		t.Errorf("accepted %d times, want once", accepted)
	}
}

func TestVerify_Rotation(t *testing.T) {
	r := example()
	for _, key := range []string{"new", "old"} {
		err := verify(newVerifier(t, at(noon), "new", "old"), r, Signature([]byte(key), r))
		if err != nil {
			t.Errorf("%s key during the rotation: got %v, want none", key, err)
		}
	}
	err := verify(newVerifier(t, at(noon), "new"), r, Signature([]byte("old"), r))
	if !errors.Is(err, ErrMAC) {
		t.Errorf("old key after the rotation: got %v, want ErrMAC", err)
	}
}

func TestVerify_NamesTheKey(t *testing.T) {
	v := newVerifier(t, at(noon), "a", "b", "c")
	for i, secret := range []string{"a", "b", "c"} {
		r := example()
		r.Nonce += strconv.Itoa(i)
		got, err := v.Verify(r, Signature([]byte(secret), r), nil)
		if want := "of " + secret; got != want || err != nil {
			t.Errorf("got %q and %v, want %q", got, err, want)
		}
	}
	v.Revoke([][]byte{[]byte("a"), []byte("c")})
	r := example()
	for secret, want := range map[string]bool{"a": true, "b": false, "c": true} {
		if got := v.IsSigned("of "+secret, r, Signature([]byte(secret), r)); got != want {
			t.Errorf("after b was revoked, %s: got %v, want %v", secret, got, want)
		}
		if v.IsSigned("of x", r, Signature([]byte(secret), r)) {
			t.Errorf("%s: got a signature of another key, want none", secret)
		}
	}
}

// A secret that a configuration moves to another key must not let a request pass twice.
func TestVerify_NonceOfAnotherKey(t *testing.T) {
	v, r := newVerifier(t, at(noon), "a", "b"), example()
	if err := verify(v, r, Signature([]byte("a"), r)); err != nil {
		t.Fatal(err)
	}
	if err := verify(v, r, Signature([]byte("b"), r)); !errors.Is(err, ErrReplay) {
		t.Errorf("the same nonce under another key: got %v, want ErrReplay", err)
	}
}

// BenchmarkVerify_Keys shows what each further key costs.
func BenchmarkVerify_Keys(b *testing.B) {
	for _, count := range []int{1, 10, 100} {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			var keys []string
			for i := range count {
				keys = append(keys, "a key of the usual length, no. "+strconv.Itoa(i))
			}
			v, r := newVerifier(b, at(noon), keys...), example()
			claimed := r.mac([]byte(keys[0]))
			for b.Loop() {
				if _, signed := v.keys.Load().find(r, claimed); !signed {
					b.Fatal("got no key, want the first")
				}
			}
		})
	}
}

func TestNewVerifier_WithoutAKey(t *testing.T) {
	for _, keys := range [][]Key{nil, {}, {{Name: "a"}}, {{Name: "a", Secret: []byte("a")}, {Name: "b"}}} {
		_, err := NewVerifier(keys, time.Second, time.Now, NewNonceCache(time.Second, 1, time.Now, nil))
		if err == nil {
			t.Errorf("keys %v: got no error, want one", keys)
		}
	}
}

func TestVerify_NoSecretInErrors(t *testing.T) {
	v, r := newVerifier(t, at(noon), "topsecretkey"), example()
	right := Signature([]byte("topsecretkey"), r)
	for _, signature := range []string{"", strings.Repeat("0", 40), right[:39] + "g"} {
		text := strings.ToUpper(verify(v, r, signature).Error())
		if strings.Contains(text, right[:20]) || strings.Contains(text, "TOPSECRET") {
			t.Errorf("got %s, want neither the signature nor the key in it", text)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("POST", "/shell", "4a3396655598402bb572df631e6bea36", "1795406403", []byte("{}"),
		strings.Repeat("A", 40))
	f.Fuzz(func(t *testing.T, method, path, nonce, timestamp string, body []byte, signature string) {
		r := Request{Method: method, Path: path, Nonce: nonce, Timestamp: timestamp, Body: body}
		v := newVerifier(t, at(noon), "a key nobody has guessed")
		err := verify(v, r, signature)
		if err == nil {
			t.Fatal("got an accepted request without a signature, want an error")
		}
		if errors.Is(err, ErrMAC) && (strings.ContainsAny(method+path+nonce+timestamp, "\n?") ||
			len(nonce) > MaxNonce) {
			t.Fatalf("got %v, want ErrMalformed before the MAC", err)
		}
	})
}
