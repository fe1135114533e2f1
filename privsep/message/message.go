// Package message is the channel between the executor and the network role: frames with a fixed
// header over a socketpair, and one table that lists every message.
//
// The package interprets no payload beyond its own fields, and allocates nothing for a length that
// it has not checked. A frame that breaks the table is an error, which ends the network role.
//
//	executor                                  network
//	   ── Certified ─────────────────────────────▶      certificate and key, if TLS is configured
//	   ── Setup ─────────────────────────────────▶      limits
//	   ◀───────────────────────────────── Ready ──      accepting; one byte: Landlock's ABI, or 0
//
//	   ◀──────────────────────── Request(id) ─────      ids rise by one, starting at 1
//	   ── Answer(id) ────────────────────────────▶      status and the first bytes
//	   ── Data(id)… ─────────────────────────────▶      the rest, within the credit
//	   ── Abort(id) ─────────────────────────────▶      the rest does not come
//	   ◀──────────────────────── Credit(id)… ─────      bytes that have reached the caller
//	   ◀───────────────────────── Hangup(id) ─────      the caller is gone: send no more
//	   ◀───────────────────────── Scrape(id) ─────      metrics; ids and answer as for Request
//
//	   ── Post(id) ──────────────────────────────▶      a callback; ids are the executor's own
//	   ── Data(id | PostFlag)… ──────────────────▶      its body, within the credit
//	   ── Abort(id | PostFlag) ──────────────────▶      its rest does not come
//	   ◀──────────── Credit(id | PostFlag)… ──────
//	   ◀───────────────────────── Posted(id) ─────      the outcome
//
//	   ── Ping(id) ──────────────────────────────▶
//	   ◀──────────────────────────── Pong(id) ────
//	   ◀──────────────────────────── Refused ─────      refusals of the network role itself
//	   ── Drain ─────────────────────────────────▶      accept no more
//	   ◀───────────────────────────── Drained ────      every caller has been answered
//
// To add a message: add its kind and its rule here, its payload in payload.go, and what both ends
// do with it: executor.Session and listener.Role. A rule orders the messages of one sender only. An
// order between the two directions, such as an answer after its request, is up to the code at both
// ends.
package message

import (
	"errors"
	"fmt"
)

// Kind is the type of a message.
type Kind uint8

// The kinds, in the order of the conversation above. Their numbers are part of every frame.
const (
	Certified Kind = iota + 1
	Setup
	Ready
	Request
	Answer
	Data
	Credit
	Hangup
	Post
	Posted
	Ping
	Pong
	Refused
	Drain
	Drained
	Scrape
	Abort
)

// peer is one end of the channel.
type peer uint8

const (
	executor peer = iota + 1
	network
)

// rule is what the receiving end enforces for one kind, before it reads the payload.
type rule struct {
	name     string
	by       peer   // the sender
	min, max uint32 // length of the payload in bytes
	once     bool   // at most once in the life of a channel
	after    Kind   // not before this kind of the same sender; 0: from the start
	before   Kind   // not after this kind of the same sender; 0: to the end
	last     bool   // may carry Last, the end of a stream
}

// rules lists every message. What depends on a frame's id or payload is checked where it is
// handled.
var rules = [...]rule{
	Certified: {
		name: "Certified", by: executor, min: 12, max: maxIdentity, once: true, before: Setup,
	},
	Setup:  {name: "Setup", by: executor, min: 20, max: 20 + maxCallers, once: true},
	Answer: {name: "Answer", by: executor, min: 22, max: maxAnswer, last: true, after: Setup},
	Data:   {name: "Data", by: executor, min: 0, max: MaxData, last: true, after: Setup},
	Post:   {name: "Post", by: executor, min: 16, max: MaxHead, last: true, after: Setup},
	Abort:  {name: "Abort", by: executor, last: true, after: Setup},
	Ping:   {name: "Ping", by: executor, after: Setup},
	Drain:  {name: "Drain", by: executor, after: Setup},

	Ready:   {name: "Ready", by: network, min: 1, max: 1, once: true},
	Request: {name: "Request", by: network, min: 24, max: MaxHead + MaxBody, after: Ready},
	Scrape:  {name: "Scrape", by: network, after: Ready},
	Credit:  {name: "Credit", by: network, min: 4, max: 4, after: Ready},
	Hangup:  {name: "Hangup", by: network, after: Ready},
	Posted:  {name: "Posted", by: network, min: 10, max: 2 << 10, after: Ready},
	Pong:    {name: "Pong", by: network, after: Ready},
	Refused: {name: "Refused", by: network, min: 14, max: 1 << 10, after: Ready},
	Drained: {name: "Drained", by: network, once: true, after: Ready},
}

// Bounds, in bytes.
const (
	// MaxHead bounds the fields of a request, an answer or a callback besides the body.
	MaxHead = 24 << 10
	// MaxBody bounds the body of a request; the configuration may allow less.
	MaxBody = 16 << 20
	// MaxData bounds the body's bytes in one Data or Answer frame.
	MaxData   = 64 << 10
	maxAnswer = MaxHead + MaxData
	// Window bounds the bytes of one stream that are sent and not yet credited. It limits the
	// memory that a slow reader takes in the network role.
	Window = 256 << 10
)

// MaxScrapes bounds the scrapes that wait for their answer. Each answer is within Window, and needs
// no credit.
const MaxScrapes = 2

// PostFlag in the id of a Data, Abort or Credit frame means that the stream is a callback's, not an
// answer's.
const PostFlag = uint64(1) << 63

// ErrProtocol is wrapped by every error about a peer that broke the protocol.
var ErrProtocol = errors.New("the channel's protocol was broken")

// String returns the name of the kind, or its number if there is no such kind.
func (k Kind) String() string {
	if int(k) < len(rules) && rules[k].name != "" {
		return rules[k].name
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// ParseKind is the inverse of String. It returns false if there is no such kind.
func ParseKind(name string) (Kind, bool) {
	for kind, r := range rules {
		if r.name == name && name != "" {
			return Kind(kind), true
		}
	}
	return 0, false
}

// Table holds the rules for the messages of one peer.
type Table struct{ from peer }

// FromNetwork is what the executor accepts.
func FromNetwork() Table { return Table{network} }

// FromExecutor is what the network role accepts.
func FromExecutor() Table { return Table{executor} }

// kinds is the set of the kinds that were received on a channel.
type kinds [len(rules)]bool

// check returns an error unless the rules permit a frame with a payload of length bytes.
func (t Table) check(f Frame, length uint32, received *kinds) error {
	if int(f.Kind) >= len(rules) || rules[f.Kind].by != t.from {
		return fmt.Errorf("%w: %s is not permitted", ErrProtocol, f.Kind)
	}
	r := rules[f.Kind]
	switch {
	case length < r.min || length > r.max:
		return fmt.Errorf("%w: %s has %d bytes, must have %d to %d",
			ErrProtocol, r.name, length, r.min, r.max)
	case f.Last && !r.last:
		return fmt.Errorf("%w: %s cannot end a stream", ErrProtocol, r.name)
	case r.once && received[f.Kind]:
		return fmt.Errorf("%w: a second %s", ErrProtocol, r.name)
	case r.after != 0 && !received[r.after]:
		return fmt.Errorf("%w: %s came before %s", ErrProtocol, r.name, r.after)
	case r.before != 0 && received[r.before]:
		return fmt.Errorf("%w: %s came after %s", ErrProtocol, r.name, r.before)
	}
	return nil
}
