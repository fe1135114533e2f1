package state

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

// power plays a power cut: of what was not synced, any sector may or may not have reached the disk. A
// file that was cut off is as before that or as after it, as file systems free and reuse blocks.
type power struct {
	rng   *rand.Rand
	files []*poweredFile
}

type poweredFile struct {
	diskFile
	name   string
	synced []byte
	kept   int // how much of synced no Truncate took away since
}

func (p *power) open(f *os.File) file {
	file := &poweredFile{diskFile: diskFile{f}, name: f.Name()}
	_ = file.Sync()
	p.files = append(p.files, file)
	return file
}

func (f *poweredFile) contents() []byte {
	data, err := io.ReadAll(io.NewSectionReader(f.diskFile, 0, maxFile))
	if err != nil {
		panic(err)
	}
	return data
}

func (f *poweredFile) Sync() error {
	f.synced = f.contents()
	f.kept = len(f.synced)
	return nil
}

func (f *poweredFile) Truncate(size int64) error {
	f.kept = min(f.kept, int(size))
	return f.diskFile.Truncate(size)
}

func (p *power) cut(t *testing.T) {
	t.Helper()
	for _, f := range p.files {
		after := f.synced
		if f.kept == len(f.synced) || p.rng.IntN(2) == 0 {
			after = p.mix(f.synced[:f.kept], f.contents())
		}
		_ = os.WriteFile(f.name, after, 0o600)
		_ = f.Close()
	}
	p.files = nil
}

const sector = 512

func (p *power) mix(old, new []byte) []byte {
	size := []int{len(old), len(new), min(len(old), len(new)) + p.rng.IntN(1+max(len(old), len(new))-min(len(old), len(new)))}[p.rng.IntN(3)]
	mixed := make([]byte, size)
	for at := 0; at < size; at += sector {
		from := [][]byte{old, new}[p.rng.IntN(2)]
		if at < len(from) {
			copy(mixed[at:min(at+sector, size)], from[at:])
		}
	}
	return mixed
}

// model is what was promised.
type model struct {
	accepted, finished, ended map[string]bool
	nonces                    map[int]int64
}

func outOf(id string) string { return repeated(20_000)[:100*len(id)] + id }

// TestPowerCuts checks every promise after cuts at random points.
func TestPowerCuts(t *testing.T) {
	for seed := range uint64(40) {
		p := &power{rng: rand.New(rand.NewPCG(seed, 1))}
		d, c := openDir(t, t.TempDir()), &clock{1000}
		m := &model{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[int]int64{}}
		for boot := range byte(8) {
			n, nonces := d.nonces(t, c, boot, p.open)
			l, found := d.deliveries(t, p.open)
			if boot > 0 {
				m.check(t, seed, c, nonces, l, found)
			}
			n.log.segmentSize, l.log.segmentSize, l.chunk = 1<<10, 12<<10, 2<<10 // so that files are changed often
			for range 20 + p.rng.IntN(200) {
				m.step(t, p.rng, c, n, l)
			}
			p.cut(t)
		}
	}
}

func (m *model) step(t *testing.T, rng *rand.Rand, c *clock, n *Nonces, l *Deliveries) {
	t.Helper()
	id := fmt.Sprintf("%0*d", 1+rng.IntN(100), rng.IntN(5))
	switch rng.IntN(7) {
	case 0:
		c.seconds += int64(rng.IntN(30))
	case 1:
		if err := n.Sync(); err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	case 2, 3:
		timestamp := c.seconds + int64(rng.IntN(600)) - 300
		i := len(m.nonces)
		add(t, n, i, timestamp)
		m.nonces[i] = timestamp
	case 4:
		if !m.accepted[id] && !m.ended[id] {
			accept(t, l, id)
			m.accepted[id] = true
		}
	case 5:
		for id := range m.accepted {
			if !m.finished[id] {
				finish(t, l, id, outOf(id), "")
				m.finished[id] = true
				return
			}
		}
	case 6:
		for id := range m.accepted {
			if err := l.Done(id); err != nil {
				t.Fatal(err)
			}
			delete(m.accepted, id)
			m.ended[id] = true
			return
		}
	}
}

func (m *model) check(t *testing.T, seed uint64, c *clock, nonces FoundNonces, l *Deliveries, found FoundDeliveries) {
	t.Helper()
	live := map[Nonce]bool{}
	for _, n := range nonces.Live {
		live[n] = true
	}
	for i, timestamp := range m.nonces {
		if timestamp+300 >= c.seconds && timestamp > nonces.Floor && !live[Nonce{fingerprint(i), timestamp}] {
			t.Fatalf("seed %d: nonce %d could be replayed: %d, floor %d", seed, i, timestamp, nonces.Floor)
		}
	}
	there := map[string]JobState{}
	for _, p := range found.Pending {
		id := p.Job.ID
		there[id] = p.State
		if m.finished[id] != (p.State == Finished) {
			t.Fatalf("seed %d: job %s is %d; it was finished: %v, ended: %v", seed, id, p.State, m.finished[id], m.ended[id])
		}
		if p.State == Finished {
			checkResult(t, l, id, outOf(id), "")
		}
		if m.ended[id] { // delivered once more
			if err := l.Done(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	for id := range m.accepted {
		if _, ok := there[id]; !ok {
			t.Fatalf("seed %d: job %s is lost; %v", seed, id, found.Damage)
		}
	}
}
