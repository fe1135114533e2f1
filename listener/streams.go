package listener

import (
	"context"
	"errors"
	"sync"

	"dataflux-func-sidecar/privsep/message"
)

// streams holds the requests that wait for an answer and the callbacks whose body is arriving.
type streams struct {
	conn *message.Conn

	// sending is held while a request gets its id and is sent: ids rise by one in the order of
	// sending, which the executor checks. That lasts as long as a body takes to send; mu is held
	// for a moment only, because answers and Pings must not wait for a queue of requests.
	sending sync.Mutex
	large   sync.Mutex // see lockSending

	mu      sync.Mutex
	last    uint64            // the latest id of a request or a scrape
	scrapes int               // how many of these ids were scrapes
	answers map[uint64]*inbox // by id
	posts   map[uint64]*inbox // by id, without PostFlag
}

func newStreams(conn *message.Conn) *streams {
	return &streams{conn: conn, answers: map[uint64]*inbox{}, posts: map[uint64]*inbox{}}
}

// open sends a Request or a Scrape. When it returns, payload has left this process, and the answer
// will arrive in the inbox.
func (s *streams) open(kind message.Kind, payload []byte) (uint64, *inbox, error) {
	s.lockSending(len(payload) > maxSmallBody)
	defer s.sending.Unlock()
	s.mu.Lock()
	s.last++
	if kind == message.Scrape {
		s.scrapes++
	}
	id, answer := s.last, newInbox()
	s.answers[id] = answer
	s.mu.Unlock()
	return id, answer, s.conn.Send(message.Frame{Kind: kind, ID: id, Payload: payload})
}

// lockSending locks sending. Large requests queue for it one at a time, so that a small one waits
// for two of them at most: the one that is being sent, and the next.
func (s *streams) lockSending(large bool) {
	if large {
		s.large.Lock()
		defer s.large.Unlock()
	}
	s.sending.Lock()
}

// close forgets a request. If its answer has not fully arrived, the executor is asked to send no
// more.
func (s *streams) close(id uint64, finished bool) {
	s.mu.Lock()
	delete(s.answers, id)
	s.mu.Unlock()
	if !finished {
		_ = s.conn.Send(message.Frame{Kind: message.Hangup, ID: id})
	}
}

// openPost returns the inbox of a callback's body.
func (s *streams) openPost(id uint64) *inbox {
	body := newInbox()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts[id] = body
	return body
}

func (s *streams) closePost(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.posts, id)
}

// deliver puts a frame of an answer or a callback into its inbox. It drops one whose caller has
// hung up meanwhile, or whose callback has ended.
func (s *streams) deliver(f message.Frame) {
	s.mu.Lock()
	waiting := s.answers[f.ID]
	if f.ID&message.PostFlag != 0 {
		waiting = s.posts[f.ID&^message.PostFlag]
	}
	s.mu.Unlock()
	if waiting != nil {
		waiting.put(f)
	}
}

// credit permits the executor to send n more bytes of a stream.
func (s *streams) credit(id uint64, n int) {
	if n > 0 {
		_ = s.conn.Send(message.Frame{Kind: message.Credit, ID: id, Payload: message.CreditOf(n)})
	}
}

// load reports whether no request waits for its answer, and returns how many there have been.
// Scrapes do not count: they come all the time and use little memory.
func (s *streams) load() (idle bool, requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.answers) == 0, int(s.last) - s.scrapes
}

// inbox queues the frames of one stream. The executor's credit bounds their bytes (message.Window),
// so put never waits.
type inbox struct {
	arrived chan struct{} // holds a token while frames may be queued

	mu     sync.Mutex
	frames []message.Frame
}

func newInbox() *inbox { return &inbox{arrived: make(chan struct{}, 1)} }

func (i *inbox) put(f message.Frame) {
	i.mu.Lock()
	i.frames = append(i.frames, f)
	i.mu.Unlock()
	select {
	case i.arrived <- struct{}{}:
	default:
	}
}

// errAborted means that the executor cannot send the rest.
var errAborted = errors.New("the rest could not be read")

// next returns the next frame, errAborted if the rest does not come, or the context's error when it
// is done.
func (i *inbox) next(ctx context.Context) (message.Frame, error) {
	for {
		i.mu.Lock()
		if len(i.frames) > 0 {
			f := i.frames[0]
			i.frames = i.frames[1:]
			i.mu.Unlock()
			if f.Kind == message.Abort {
				return message.Frame{}, errAborted
			}
			return f, nil
		}
		i.mu.Unlock()
		select {
		case <-i.arrived:
		case <-ctx.Done():
			return message.Frame{}, ctx.Err()
		}
	}
}

func (i *inbox) isEmpty() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.frames) == 0
}
