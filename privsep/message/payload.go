package message

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Limits is the payload of Setup: what the network role enforces.
type Limits struct {
	MaxBody         uint32        // bytes of a request's body
	MaxConnections  uint32        // callers connected at once
	CallbackTimeout time.Duration // for one callback attempt, from dialling to the answer's head
	// MetricsSockets is how many of the listening sockets, the last ones, serve metrics and nothing else.
	MetricsSockets uint32
}

// Call is the payload of Request. Remote is the caller's address as text, empty on a Unix socket.
type Call struct {
	Method, Path, Nonce, Timestamp, Signature, Remote string
	Body                                              []byte
}

// Head is the payload of Answer: the status, three headers (absent when zero or empty), the length of
// the whole body in bytes (-1 when it is not known yet), and the body's first bytes.
type Head struct {
	Status      uint16
	RetryAfter  uint32 // seconds
	Allow       string
	ContentType string
	Length      int64
	Body        []byte
}

// Callback is the payload of Post. Headers alternate names and values; Length is the body's, in bytes.
type Callback struct {
	URL     string
	Headers []string
	Length  int64
}

// Outcome is the payload of Posted: an HTTP status, or zero and what went wrong. RetryAfter is what
// the receiver asked for, in seconds, zero if nothing.
type Outcome struct {
	Status     uint16
	RetryAfter uint32
	Error      string
}

// Refusal is the payload of Refused: how many callers were turned away with Status since the last
// Refusal, and one of their addresses.
type Refusal struct {
	Status uint16
	Count  uint32
	Remote string
	Reason string
}

// Encode returns the payload's bytes.
func (l Limits) Encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, l.MaxBody)
	b = binary.BigEndian.AppendUint32(b, l.MaxConnections)
	b = binary.BigEndian.AppendUint64(b, uint64(l.CallbackTimeout))
	return binary.BigEndian.AppendUint32(b, l.MetricsSockets)
}

// DecodeLimits is the reverse of Limits.Encode.
func DecodeLimits(payload []byte) (Limits, error) {
	d := decoder{rest: payload}
	l := Limits{
		MaxBody: d.uint32(), MaxConnections: d.uint32(), CallbackTimeout: time.Duration(d.uint64()),
		MetricsSockets: d.uint32(),
	}
	return l, d.finish("Setup")
}

// Encode returns the payload's bytes.
func (c Call) Encode() []byte {
	b := make([]byte, 0, 256+len(c.Path)+len(c.Body))
	for _, s := range []string{c.Method, c.Path, c.Nonce, c.Timestamp, c.Signature, c.Remote} {
		b = appendString(b, s)
	}
	return append(b, c.Body...)
}

// DecodeCall is the reverse of Call.Encode. The body shares memory with payload.
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
	return c, d.finish("Request")
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

// DecodeHead is the reverse of Head.Encode. The body shares memory with payload.
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
	return h, d.finish("Answer")
}

// Encode returns the payload's bytes.
func (c Callback) Encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(c.Length))
	b = appendString(b, c.URL)
	for _, s := range c.Headers {
		b = appendString(b, s)
	}
	return b
}

// DecodeCallback is the reverse of Callback.Encode.
func DecodeCallback(payload []byte) (Callback, error) {
	d := decoder{rest: payload}
	c := Callback{Length: int64(d.uint64()), URL: d.string()}
	for len(d.rest) > 0 && !d.failed {
		c.Headers = append(c.Headers, d.string())
	}
	if c.Length < 0 || len(c.Headers)%2 != 0 {
		d.failed = true
	}
	return c, d.finish("Post")
}

// Encode returns the payload's bytes; a long Error is cut to what the frame may hold.
func (o Outcome) Encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, o.Status)
	b = binary.BigEndian.AppendUint32(b, o.RetryAfter)
	return appendString(b, cut(o.Error))
}

// DecodeOutcome is the reverse of Outcome.Encode.
func DecodeOutcome(payload []byte) (Outcome, error) {
	d := decoder{rest: payload}
	o := Outcome{Status: d.uint16(), RetryAfter: d.uint32(), Error: d.string()}
	return o, d.finish("Posted")
}

// Encode returns the payload's bytes; a long text is cut to what the frame may hold.
func (r Refusal) Encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, r.Status)
	b = binary.BigEndian.AppendUint32(b, r.Count)
	return appendString(appendString(b, cut(r.Remote)), cut(r.Reason))
}

// DecodeRefusal is the reverse of Refusal.Encode.
func DecodeRefusal(payload []byte) (Refusal, error) {
	d := decoder{rest: payload}
	r := Refusal{Status: d.uint16(), Count: d.uint32(), Remote: d.string(), Reason: d.string()}
	return r, d.finish("Refused")
}

// CreditOf is the payload of Credit: n bytes have left the network role.
func CreditOf(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// DecodeCredit is the reverse of CreditOf.
func DecodeCredit(payload []byte) (int, error) {
	d := decoder{rest: payload}
	n := d.uint32()
	return int(n), d.finish("Credit")
}

// cut keeps a text within a third of the smallest frame that carries one.
func cut(s string) string { return s[:min(len(s), 320)] }

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// decoder reads fields off the front of rest; after one that is not there it only yields zeros.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) take(n uint64) []byte {
	if d.failed || n > uint64(len(d.rest)) {
		d.failed = true
		return make([]byte, min(n, 8))
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *decoder) uint16() uint16 { return binary.BigEndian.Uint16(d.take(2)) }
func (d *decoder) uint32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }
func (d *decoder) uint64() uint64 { return binary.BigEndian.Uint64(d.take(8)) }

func (d *decoder) string() string {
	taken := d.take(uint64(d.uint32()))
	if d.failed {
		return ""
	}
	return string(taken)
}

func (d *decoder) remainder() []byte {
	rest := d.rest
	d.rest = nil
	return rest
}

func (d *decoder) finish(kind string) error {
	if d.failed || len(d.rest) > 0 {
		return fmt.Errorf("%w: malformed payload of %s", ErrProtocol, kind)
	}
	return nil
}
