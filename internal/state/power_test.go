package state

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

// power plays a power cut: of what was not synced, any sector may or may not have reached the disk.
// A file that was cut off is as before that or as after it, as file systems free and reuse blocks.
type power struct {
	rng   *rand.Rand
	files []*poweredFile
}

type poweredFile struct {
	diskFile
	name   string
	synced []byte
	kept   int // bytes of synced that no Truncate has removed since
}

func (p *power) open(f *os.File) file {
	file := &poweredFile{diskFile: diskFile{f}, name: f.Name()}
	_ = file.Sync()
	p.files = append(p.files, file)
	return file
}

func (f *poweredFile) contents() []byte {
	data, err := io.ReadAll(io.NewSectionReader(f.diskFile, 0, maxFileSize))
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
	least, most := min(len(old), len(new)), max(len(old), len(new))
	size := []int{len(old), len(new), least + p.rng.IntN(1+most-least)}[p.rng.IntN(3)]
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
	kept, settled             map[string]bool // settled: the callback of a kept job
	nonces                    map[int]int64
}

func outOf(id string) string { return repeated(20_000)[:100*len(id)] + id }

// TestPowerCut_AtAnyPoint checks every promise after cuts at random points.
func TestPowerCut_AtAnyPoint(t *testing.T) {
	for seed := range uint64(rounds(10, 100)) {
		p := &power{rng: rand.New(rand.NewPCG(seed, 1))}
		d, c := openDir(t, memoryDir(t)), &clock{1000}
		m := &model{
			accepted: map[string]bool{}, finished: map[string]bool{}, ended: map[string]bool{},
			kept: map[string]bool{}, settled: map[string]bool{}, nonces: map[int]int64{},
		}
		for boot := range byte(8) {
			n, nonces := d.nonces(t, c, boot, p.open)
			l, found := d.deliveries(t, p.open)
			if boot > 0 {
				m.check(t, seed, c, nonces, l, found)
			}
			// Small segments are changed often.
			n.log.segmentSize, l.log.segmentSize, l.chunk = 1<<10, 12<<10, 2<<10
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
	switch rng.IntN(8) {
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
			job := someJob(id)
			job.Keep = rng.IntN(2) == 0
			if err := l.Accept(job); err != nil {
				t.Fatal(err)
			}
			m.accepted[id], m.kept[id] = true, job.Keep
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
	case 7:
		for id := range m.accepted {
			if m.kept[id] && !m.settled[id] {
				if err := l.Settle(id); err != nil {
					t.Fatal(err)
				}
				m.settled[id] = true
				return
			}
		}
	}
}

func (m *model) check(
	t *testing.T, seed uint64, c *clock, nonces FoundNonces, l *Deliveries, found FoundDeliveries,
) {
	t.Helper()
	live := map[Nonce]bool{}
	for _, n := range nonces.Live {
		live[n] = true
	}
	for i, timestamp := range m.nonces {
		if timestamp+300 >= c.seconds && timestamp > nonces.Floor &&
			!live[Nonce{fingerprint(i), timestamp}] {
			t.Fatalf(
				"seed %d: nonce %d of %d: got neither live nor refused (floor %d)", seed, i,
				timestamp, nonces.Floor,
			)
		}
	}
	there := map[string]JobState{}
	for _, p := range found.Pending {
		id := p.Job.ID
		there[id] = p.State
		if m.finished[id] != (p.State == Finished) {
			t.Fatalf(
				"seed %d: job %s: got state %d, want that of the model (finished: %v, ended: %v)",
				seed, id, p.State, m.finished[id], m.ended[id],
			)
		}
		if p.State == Finished {
			checkResult(t, l, id, outOf(id), "")
		}
		if p.Job.Keep && !m.settled[id] {
			t.Fatalf("seed %d: job %s: its callback is not owed any more", seed, id)
		}
		if m.kept[id] {
			l.Keep(id)
			m.settled[id] = p.Job.Keep // or it is delivered once more
		}
		if m.ended[id] { // delivered once more
			if err := l.Done(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	for id := range m.accepted {
		if _, ok := there[id]; !ok {
			t.Fatalf(
				"seed %d: job %s: got none, want it pending (damage %v)", seed, id, found.Damage,
			)
		}
	}
}
