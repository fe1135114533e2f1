package state

// searchBudget bounds, in bytes summed, what is spent per file on finding the next record after
// damage: about a second.
const searchBudget = 4 << 30

// gap is a stretch of a file between valid records that is none.
type gap struct{ offset, length int64 }

// scan calls visit for each valid record of a segment's contents, in order. It returns where the last
// one ends, and the gaps before that; what follows the end is the tail.
func scan(data []byte, seed uint32, visit func(offset int64, payload []byte)) (end int64, gaps []gap) {
	search := searcher{data: data, seed: seed, budget: searchBudget}
	end = headerSize
	for at := int64(headerSize); at < int64(len(data)); {
		payload, ok := payloadAt(data[at:], seed)
		if !ok {
			next := search.from(at)
			if next < 0 {
				return end, gaps
			}
			gaps = append(gaps, gap{at, next - at})
			at = next
			continue
		}
		visit(at, payload)
		at += int64(frameSize + len(payload))
		end = at
	}
	return end, gaps
}

// searcher finds the next valid record after damage.
type searcher struct {
	data   []byte
	seed   uint32
	budget int64
}

// from tries the place that the damaged record's own length gives, as its length is rarely what was
// hit, then every byte. It returns -1 if there is nothing more.
func (s *searcher) from(damaged int64) int64 {
	if length, ok := lengthAt(s.data[damaged:]); ok {
		next := damaged + int64(frameSize+length)
		if _, ok := payloadAt(s.data[next:], s.seed); ok {
			return next
		}
	}
	for at := damaged + 1; at+frameSize < int64(len(s.data)) && s.budget > 0; at++ {
		length, ok := lengthAt(s.data[at:])
		if !ok {
			continue
		}
		s.budget -= int64(length)
		if _, ok := payloadAt(s.data[at:], s.seed); ok {
			return at
		}
	}
	return -1
}
