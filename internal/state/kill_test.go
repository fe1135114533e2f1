package state

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	workerDir = "STATE_TEST_WORKER_DIR"
	handsOver = "STATE_TEST_HANDS_OVER" // the worker executes itself again after a while
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(zombieDir); dir != "" {
		becomeZombie(dir)
	}
	if dir := os.Getenv(livesDir); dir != "" {
		fmt.Fprintln(os.Stderr, live(dir)) // it returns on failure only
		os.Exit(1)
	}
	if dir := os.Getenv(workerDir); dir != "" {
		if err := work(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// work accepts, finishes and ends jobs until it is killed, and says on stdout what is promised.
func work(path string) error {
	d, err := openOrAdopt(path)
	if err != nil {
		return err
	}
	n, found, err := OpenNonces(d, window, time.Now)
	if err != nil {
		return err
	}
	l, _, err := OpenDeliveries(d, 2*MinCapacity, 0)
	if err != nil {
		return err
	}
	if err := becomeNobody(path); err != nil { // as the executor does it
		return err
	}
	go func() {
		for ; ; time.Sleep(20 * time.Millisecond) {
			_ = n.Sync()
		}
	}()
	var say sync.Mutex
	promise := func(what string, i uint64) {
		say.Lock()
		defer say.Unlock()
		fmt.Println(what, i)
	}
	first := uint64(time.Now().UnixNano()) &^ 0xffffff
	promise("floor", uint64(found.Floor))
	over := restTime()
	var group sync.WaitGroup
	for worker := range uint64(4) {
		group.Go(func() {
			for i := first + worker<<20; i < first+(worker+1)<<20; i++ {
				select {
				case <-over:
					return
				default:
				}
				if err := step(l, n, i, promise); err != nil {
					fmt.Println("failed:", err)
					return
				}
			}
		})
	}
	group.Wait()
	if over != nil {
		return errors.Join(n.Sync(), liveOn(d))
	}
	return errors.New("this process was not killed")
}

// restTime returns a channel that is closed when the worker is to hand over, or nil.
func restTime() <-chan struct{} {
	if os.Getenv(handsOver) == "" {
		return nil
	}
	over := make(chan struct{})
	time.AfterFunc(10*time.Millisecond, func() { close(over) })
	return over
}

func step(l *Deliveries, n *Nonces, i uint64, promise func(string, uint64)) error {
	id := fmt.Sprint(i)
	var f [16]byte
	binary.LittleEndian.PutUint64(f[:], i)
	if err := n.Add(f, time.Now().Unix()); err != nil {
		return err
	}
	promise("nonce", i)
	job := Promise{ID: id, URL: id, Accepted: time.Now()}
	if i%2 == 0 {
		job.URL, job.Keep = "", true
	}
	if err := l.Accept(job); err != nil {
		return err
	}
	promise("accepted", i)
	if i%3 == 0 {
		promise("done", i)
		return l.Done(id)
	}
	out := strings.Repeat(id, int(i%700))
	if err := l.Finish(id, nil, text(out), text(id)); err != nil {
		return err
	}
	promise("finished", i)
	promise("done", i)
	return l.Done(id)
}

// Cases 2, 35 and 44: a real process is killed at random points while it works on real files.
func TestKill_AtAnyPoint(t *testing.T) {
	path := memoryDir(t)
	nonces := map[string]bool{}
	for round := range rounds(10, 30) {
		promised := runAndKill(t, path, time.Duration(20+round*17)*time.Millisecond)
		for id, state := range promised {
			nonces[id] = true
			if state == "failed:" {
				t.Fatalf("round %d: the killed process reported: %s", round, id)
			}
		}
		checkPromises(t, path, promised, nonces)
	}
	if len(nonces) < 100 {
		t.Fatalf("got %d nonces, want at least 100", len(nonces))
	}
}

// runAndKill returns the last promise for each id.
func runAndKill(
	t *testing.T, path string, life time.Duration, variables ...string,
) map[string]string {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(append(os.Environ(), workerDir+"="+path), variables...)
	command.Stderr = os.Stderr
	pipe, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	promised, lines := map[string]string{}, bufio.NewScanner(pipe)
	for lines.Scan() {
		what, id, _ := strings.Cut(lines.Text(), " ")
		if what == "floor" {
			if id != "0" {
				t.Errorf("got a floor of %s after a kill, want 0", id)
			}
			time.AfterFunc(life, func() { _ = command.Process.Kill() })
			continue
		}
		promised[id] = what
	}
	_ = command.Wait()
	return promised
}

// checkPromises returns what recovery finds.
func checkPromises(
	t *testing.T, path string, promised map[string]string, nonces map[string]bool,
) FoundNonces {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	n, found, err := OpenNonces(d, window, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer n.kill()
	live := map[string]bool{}
	for _, nonce := range found.Live {
		live[fmt.Sprint(binary.LittleEndian.Uint64(nonce.Fingerprint[:]))] = true
	}
	for id := range nonces {
		if !live[id] {
			t.Errorf(
				"nonce %s: got none, want it live (floor %d, damage %v)", id, found.Floor,
				found.Damage,
			)
		}
	}
	l, jobs, err := OpenDeliveries(d, 2*MinCapacity, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.kill()
	for _, damage := range jobs.Damage {
		if damage.Kind != Tail || len(jobs.Damage) > 1 { // the kernel may end a write in its midst
			t.Errorf("got damage %v, want at most one tail", jobs.Damage)
		}
	}
	if len(found.Damage) > 0 || len(jobs.Lost) > 0 {
		t.Errorf("got damage of nonces %v, lost jobs %v, want none", found.Damage, jobs.Lost)
	}
	there := map[string]JobState{}
	for _, p := range jobs.Pending {
		there[p.Job.ID] = p.State
		if p.Job.URL != p.Job.ID && !p.Job.Keep {
			t.Errorf("got %+v, want a job that was accepted", p.Job)
		}
	}
	for id, last := range promised {
		state, ok := there[id]
		if last == "accepted" && !ok || last == "finished" && (!ok || state != Finished) {
			t.Errorf("job %s: got %v, state %d, want it, as it was %s", id, ok, state, last)
		}
	}
	for id, state := range there {
		if state == Finished {
			checkStored(t, l, id)
		}
		if err := l.Done(id); err != nil {
			t.Error(err)
		}
	}
	return found
}

func checkStored(t *testing.T, l *Deliveries, id string) {
	t.Helper()
	r, err := l.Result(id)
	if err != nil {
		t.Fatal(err)
	}
	out, errs := stored(t, r.Stdout), stored(t, r.Stderr)
	if errs != id || strings.ReplaceAll(out, id, "") != "" {
		t.Errorf(
			"job %s: got stderr %.80q and %d bytes of stdout, want its own", id, errs, len(out),
		)
	}
}
