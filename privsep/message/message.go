// Package message is the channel between the executor and the network role: frames with a fixed
// header over a socketpair, one table of permitted kinds per direction, and exact limits.
//
// It must never interpret a payload beyond its own fields, and never allocate for a length that it
// has not checked. Anything outside the tables is an error that ends the role.
//
//	executor                                  network
//	   ── Certified ─────────────────────────────▶      certificate and key for TLS, at most once, before Setup
//	   ── Setup ─────────────────────────────────▶      limits, once
//	   ◀───────────────────────────────── Ready ──      accepting, once; one byte: Landlock's ABI or 0
//
//	   ◀──────────────────────── Request(id) ─────      ids rise by one, starting at 1
//	   ── Answer(id) ────────────────────────────▶      status and the first bytes
//	   ── Data(id)… ─────────────────────────────▶      the rest, within the credit
//	   ◀──────────────────────── Credit(id)… ─────      bytes that have reached the caller
//	   ◀───────────────────────── Hangup(id) ─────      the caller is gone: send no more
//	   ◀───────────────────────── Scrape(id) ─────      metrics are asked for; ids as of Request, answered as it is
//
//	   ── Post(id) ──────────────────────────────▶      a callback; ids are the executor's own
//	   ── Data(id | PostFlag)… ──────────────────▶      its body, within the credit
//	   ◀──────────── Credit(id | PostFlag)… ──────
//	   ◀───────────────────────── Posted(id) ─────      how it went, once
//
//	   ── Ping(id) ──────────────────────────────▶
//	   ◀──────────────────────────── Pong(id) ────
//	   ◀──────────────────────────── Refused ─────      turned away unread, for the journal
//	   ── Drain ─────────────────────────────────▶      accept no more
//	   ◀───────────────────────────── Drained ────      every caller has been answered
package message

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Kind tells what a frame is.
type Kind uint8

// The kinds of frames, in the order of the conversation above.
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
)

// Sizes in bytes.
const (
	headerSize = 16
	// MaxHead bounds what comes with a request or a callback besides its body.
	MaxHead = 24 << 10
	// MaxBody bounds the body of a request; the configuration may allow less.
	MaxBody = 16 << 20
	// MaxData is the most that one Data frame or the first part of an Answer carries.
	MaxData = 64 << 10
	// MaxScrapes is how many Scrapes may wait for their answers, which are one frame each.
	MaxScrapes = 2
	// Window is how much of one stream may be on its way without a Credit. It bounds what a slow
	// reader costs the network role.
	Window = 256 << 10
)

// PostFlag in the id of a Data or Credit frame says that it belongs to a callback, not to an answer.
const PostFlag = uint64(1) << 63

// Table says which kinds may come from a peer, and the most bytes of payload each may have.
type Table map[Kind]uint32

// FromNetwork is what the executor takes from the network role.
func FromNetwork() Table {
	return Table{
		Ready: 1, Request: MaxHead + MaxBody, Credit: 4, Hangup: 0,
		Posted: 2 << 10, Pong: 0, Refused: 1 << 10, Drained: 0, Scrape: 0,
	}
}

// FromExecutor is what the network role takes from the executor.
func FromExecutor() Table {
	return Table{
		Certified: maxIdentity, Setup: 4 << 10, Answer: MaxHead + MaxData, Data: MaxData, Post: MaxHead, Ping: 0, Drain: 0,
	}
}

// Frame is one message. Last marks the end of a stream that Answer, Post or Data belongs to.
type Frame struct {
	Kind    Kind
	Last    bool
	ID      uint64
	Payload []byte
}

// ErrProtocol is wrapped by every error that means the peer broke the protocol.
var ErrProtocol = errors.New("the channel's protocol was broken")

// header: kind (1 byte), flags (1: bit 0 is Last), zero (2), payload length (4), id (8); big endian.
func (f Frame) header() [headerSize]byte {
	var h [headerSize]byte
	h[0] = byte(f.Kind)
	if f.Last {
		h[1] = 1
	}
	binary.BigEndian.PutUint32(h[4:], uint32(len(f.Payload)))
	binary.BigEndian.PutUint64(h[8:], f.ID)
	return h
}

// parseHeader checks all of a header against the table before anybody allocates for its payload.
func parseHeader(h [headerSize]byte, table Table) (Frame, uint32, error) {
	f := Frame{Kind: Kind(h[0]), Last: h[1] == 1, ID: binary.BigEndian.Uint64(h[8:])}
	length := binary.BigEndian.Uint32(h[4:])
	limit, permitted := table[f.Kind]
	switch {
	case !permitted:
		return f, 0, fmt.Errorf("%w: kind %d is not permitted", ErrProtocol, h[0])
	case h[1] > 1 || h[2] != 0 || h[3] != 0:
		return f, 0, fmt.Errorf("%w: reserved bits are set in kind %d", ErrProtocol, h[0])
	case length > limit:
		return f, 0, fmt.Errorf("%w: kind %d has %d bytes, its limit is %d", ErrProtocol, h[0], length, limit)
	}
	return f, length, nil
}
