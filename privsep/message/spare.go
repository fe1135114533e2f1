package message

import "sync"

// spare lends the payloads of whole Data frames. A large answer then takes a few of them in turn, which
// stay in the processor's cache, and no fresh memory for each of its frames.
type spare struct{ pool sync.Pool } // of *[MaxData]byte

func (s *spare) payload(length uint32) []byte {
	if length == MaxData {
		if p, ok := s.pool.Get().(*[MaxData]byte); ok {
			return p[:]
		}
	}
	return make([]byte, length)
}

// Reuse takes back what Receive gave. Its owner must not touch it any more.
func (c *Conn) Reuse(payload []byte) {
	if cap(payload) == MaxData {
		c.spare.pool.Put((*[MaxData]byte)(payload[:MaxData]))
	}
}
