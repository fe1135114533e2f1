package message

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// Bounds of an Identity, in bytes.
const (
	MaxCertificate = 64 << 10
	MaxKey         = 16 << 10
	maxIdentity    = MaxCertificate + MaxKey + 4<<10
)

// Identity is the payload of Certified: the certificate with its chain and the private key, both
// PEM, and for each listening socket, in their order, whether it speaks TLS.
type Identity struct {
	Certificate, Key []byte
	Listeners        []bool
}

// Limits is the payload of Setup: what the network role enforces.
type Limits struct {
	MaxBody         uint32        // bytes of a request's body
	MaxConnections  uint32        // callers connected at once
	CallbackTimeout time.Duration // for one callback attempt, from dialling to the answer's head
	MetricsSockets  uint32        // how many listening sockets, the last ones, serve metrics alone
	Callers         string        // networks from which TCP callers may come, by comma; empty: all
}

// Call is the payload of Request. Remote is the caller's address as text. Signature is the header
// X-Auth-Signature; of a request with an HTTP message signature it is what HTTPSignature.String
// returns, and Nonce and Timestamp are empty.
type Call struct {
	Method, Path, Nonce, Timestamp, Signature, Remote string
	Body                                              []byte
}

// HTTPSignature has the fields of a request with an HTTP message signature (RFC 9421). It travels
// and is stored as Call.Signature, so that releases that do not know it refuse it as a signature.
type HTTPSignature struct {
	Input, Signature, Digest string // Signature-Input, Signature, Content-Digest
	Authority                string // what the caller addressed: the header Host, normalized
	Local                    string // address and port that the connection came in at; empty: none
}

// String returns the fields in lines; none of them has a line feed in it.
func (h HTTPSignature) String() string {
	return strings.Join([]string{h.Input, h.Signature, h.Digest, h.Authority, h.Local}, "\n")
}

// ParseHTTPSignature reverses String. It reports whether the text has its form.
func ParseHTTPSignature(text string) (h HTTPSignature, ok bool) {
	lines := strings.Split(text, "\n")
	if len(lines) != 5 {
		return h, false
	}
	return HTTPSignature{lines[0], lines[1], lines[2], lines[3], lines[4]}, true
}

// EventStream is the content type of server-sent events.
const EventStream = "text/event-stream"

// Head is the payload of Answer: the status, three headers (absent when zero or empty), the length
// of the whole body in bytes (-1: not known yet), and the body's first bytes.
type Head struct {
	Status      uint16
	RetryAfter  uint32 // seconds
	Allow       string
	ContentType string // EventStream has headers of its own
	Length      int64
	Body        []byte
}

// Callback is the payload of Post. Headers alternate names and values; Length is the body's, in
// bytes. Resolver holds lines of resolv.conf, for a role whose sandbox does not let it open that
// file.
type Callback struct {
	URL      string
	Headers  []string
	Length   int64
	Resolver string
}

// Outcome is the payload of Posted: an HTTP status, or zero and an error. RetryAfter is the
// receiver's, in seconds, zero if it sent none.
type Outcome struct {
	Status     uint16
	RetryAfter uint32
	Error      string
}

// Refusal is the payload of Refused: how many requests were refused with Status since the previous
// Refusal of that status, and the address and the reason of the latest one.
type Refusal struct {
	Status uint16
	Count  uint32
	Remote string
	Reason string
}

// Encode returns the payload's bytes.
func (i Identity) Encode() []byte {
	listeners := make([]byte, len(i.Listeners))
	for n, tls := range i.Listeners {
		if tls {
			listeners[n] = 1
		}
	}
	b := appendString(nil, string(listeners))
	return appendString(appendString(b, string(i.Certificate)), string(i.Key))
}

// DecodeIdentity reverses Identity.Encode.
func DecodeIdentity(payload []byte) (Identity, error) {
	d := decoder{rest: payload}
	listeners := d.string()
	i := Identity{Certificate: []byte(d.string()), Key: []byte(d.string())}
	for _, tls := range []byte(listeners) {
		if tls > 1 {
			d.failed = true
		}
		i.Listeners = append(i.Listeners, tls == 1)
	}
	if len(i.Certificate) > MaxCertificate || len(i.Key) > MaxKey {
		d.failed = true
	}
	return i, d.finish(Certified)
}

// Encode returns the payload's bytes.
func (l Limits) Encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, l.MaxBody)
	b = binary.BigEndian.AppendUint32(b, l.MaxConnections)
	b = binary.BigEndian.AppendUint64(b, uint64(l.CallbackTimeout))
	b = binary.BigEndian.AppendUint32(b, l.MetricsSockets)
	return append(b, l.Callers...)
}

// DecodeLimits reverses Limits.Encode.
func DecodeLimits(payload []byte) (Limits, error) {
	d := decoder{rest: payload}
	l := Limits{
		MaxBody: d.uint32(), MaxConnections: d.uint32(), CallbackTimeout: time.Duration(d.uint64()),
		MetricsSockets: d.uint32(), Callers: string(d.remainder()),
	}
	return l, d.finish(Setup)
}

// Encode returns the payload's bytes.
func (c Call) Encode() []byte {
	b := make([]byte, 0, 256+len(c.Path)+len(c.Body))
	for _, s := range []string{c.Method, c.Path, c.Nonce, c.Timestamp, c.Signature, c.Remote} {
		b = appendString(b, s)
	}
	return append(b, c.Body...)
}

// DecodeCall reverses Call.Encode. The body shares memory with payload.
func DecodeCall(payload []byte) (Call, error) {
	d := decoder{rest: payload}
	c := Call{
		Method: d.string(), Path: d.string(), Nonce: d.string(),
		Timestamp: d.string(), Signature: d.string(), Remote: d.string(),
	}
	c.Body = d.remainder()
	if len(payload)-len(c.Body) > MaxHead || len(c.Body) > MaxBody {
		d.failed = true
	}
	return c, d.finish(Request)
}

// Encode returns the payload's bytes.
func (h Head) Encode() []byte {
	b := make([]byte, 0, 64+len(h.Body))
	b = binary.BigEndian.AppendUint16(b, h.Status)
	b = binary.BigEndian.AppendUint32(b, h.RetryAfter)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Length))
	b = appendString(appendString(b, h.Allow), h.ContentType)
	return append(b, h.Body...)
}

// DecodeHead reverses Head.Encode. The body shares memory with payload.
func DecodeHead(payload []byte) (Head, error) {
	d := decoder{rest: payload}
	h := Head{
		Status: d.uint16(), RetryAfter: d.uint32(), Length: int64(d.uint64()),
		Allow: d.string(), ContentType: d.string(),
	}
	h.Body = d.remainder()
	if h.Status < 100 || h.Status > 999 || h.Length < -1 || len(h.Body) > MaxData {
		d.failed = true
	}
	return h, d.finish(Answer)
}

// Encode returns the payload's bytes.
func (c Callback) Encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(c.Length))
	b = appendString(b, c.URL)
	b = appendString(b, c.Resolver)
	for _, s := range c.Headers {
		b = appendString(b, s)
	}
	return b
}

// DecodeCallback reverses Callback.Encode.
func DecodeCallback(payload []byte) (Callback, error) {
	d := decoder{rest: payload}
	c := Callback{Length: int64(d.uint64()), URL: d.string(), Resolver: d.string()}
	for len(d.rest) > 0 && !d.failed {
		c.Headers = append(c.Headers, d.string())
	}
	if c.Length < 0 || len(c.Headers)%2 != 0 {
		d.failed = true
	}
	return c, d.finish(Post)
}

// Encode returns the payload's bytes; Error is cut to maxText bytes.
func (o Outcome) Encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, o.Status)
	b = binary.BigEndian.AppendUint32(b, o.RetryAfter)
	return appendString(b, cut(o.Error))
}

// DecodeOutcome reverses Outcome.Encode.
func DecodeOutcome(payload []byte) (Outcome, error) {
	d := decoder{rest: payload}
	o := Outcome{Status: d.uint16(), RetryAfter: d.uint32(), Error: d.string()}
	return o, d.finish(Posted)
}

// Encode returns the payload's bytes; texts are cut to maxText bytes.
func (r Refusal) Encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, r.Status)
	b = binary.BigEndian.AppendUint32(b, r.Count)
	return appendString(appendString(b, cut(r.Remote)), cut(r.Reason))
}

// DecodeRefusal reverses Refusal.Encode.
func DecodeRefusal(payload []byte) (Refusal, error) {
	d := decoder{rest: payload}
	r := Refusal{Status: d.uint16(), Count: d.uint32(), Remote: d.string(), Reason: d.string()}
	return r, d.finish(Refused)
}

// CreditOf returns the payload of Credit: n bytes have left the network role.
func CreditOf(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// DecodeCredit reverses CreditOf.
func DecodeCredit(payload []byte) (int, error) {
	d := decoder{rest: payload}
	n := d.uint32()
	return int(n), d.finish(Credit)
}

// maxCallers bounds the networks of Limits, in bytes.
const maxCallers = 1 << 10

// maxText bounds the texts of an Outcome and a Refusal, in bytes, so that they fit their frames.
const maxText = 320

func cut(s string) string { return s[:min(len(s), maxText)] }

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// decoder reads fields off the front of rest. After a field that is missing it yields only zeros.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) next(n uint64) []byte {
	if d.failed || n > uint64(len(d.rest)) {
		d.failed = true
		return make([]byte, min(n, 8))
	}
	field := d.rest[:n]
	d.rest = d.rest[n:]
	return field
}

func (d *decoder) uint16() uint16 { return binary.BigEndian.Uint16(d.next(2)) }
func (d *decoder) uint32() uint32 { return binary.BigEndian.Uint32(d.next(4)) }
func (d *decoder) uint64() uint64 { return binary.BigEndian.Uint64(d.next(8)) }

func (d *decoder) string() string {
	field := d.next(uint64(d.uint32()))
	if d.failed {
		return ""
	}
	return string(field)
}

func (d *decoder) remainder() []byte {
	rest := d.rest
	d.rest = nil
	return rest
}

func (d *decoder) finish(kind Kind) error {
	if d.failed || len(d.rest) > 0 {
		return fmt.Errorf("%w: malformed payload of %s", ErrProtocol, kind)
	}
	return nil
}
