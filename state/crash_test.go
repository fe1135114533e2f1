package state

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const workerDir = "STATE_TEST_WORKER_DIR"

func TestMain(m *testing.M) {
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
	d, err := OpenDir(path)
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
	if os.Geteuid() == 0 { // as the executor does it: from here on nothing can be opened
		if err := syscall.Setresuid(65534, 65534, 65534); err != nil {
			return err
		}
		if _, err := os.Open(path); !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("the state directory can be entered after the drop: %w", err)
		}
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
	var group sync.WaitGroup
	for worker := range uint64(4) {
		group.Go(func() {
			for i := first + worker<<20; i < first+(worker+1)<<20; i++ {
				if err := step(l, n, i, promise); err != nil {
					fmt.Println("failed:", err)
					return
				}
			}
		})
	}
	group.Wait()
	return fmt.Errorf("nobody killed this process")
}

func step(l *Deliveries, n *Nonces, i uint64, promise func(string, uint64)) error {
	id := fmt.Sprint(i)
	var f [16]byte
	binary.LittleEndian.PutUint64(f[:], i)
	if err := n.Add(f, time.Now().Unix()); err != nil {
		return err
	}
	promise("nonce", i)
	if err := l.Accept(Job{ID: id, URL: id, Accepted: time.Now()}); err != nil {
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
func TestKillAtAnyPointKeepsEveryPromise(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	path := t.TempDir()
	nonces := map[string]bool{}
	for round := range rounds {
		promised := runAndKill(t, path, time.Duration(20+round*17)*time.Millisecond)
		for id, state := range promised {
			nonces[id] = true
			if state == "failed:" {
				t.Fatalf("round %d: %s", round, id)
			}
		}
		checkPromises(t, path, promised, nonces)
	}
	if len(nonces) < 100 {
		t.Fatalf("only %d nonces: nothing was tried", len(nonces))
	}
}

// runAndKill returns the last promise for each id.
func runAndKill(t *testing.T, path string, life time.Duration) map[string]string {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), workerDir+"="+path)
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
				t.Errorf("a killed process left a floor of %s", id)
			}
			time.AfterFunc(life, func() { _ = command.Process.Kill() })
			continue
		}
		promised[id] = what
	}
	_ = command.Wait()
	return promised
}

func checkPromises(t *testing.T, path string, promised map[string]string, nonces map[string]bool) {
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
			t.Errorf("nonce %s could be replayed: floor %d, %v", id, found.Floor, found.Damage)
		}
	}
	l, jobs, err := OpenDeliveries(d, 2*MinCapacity, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.kill()
	for _, damage := range jobs.Damage {
		if damage.Kind != Tail || len(jobs.Damage) > 1 { // the kernel may end a write in its midst
			t.Errorf("damage: %v", jobs.Damage)
		}
	}
	if len(found.Damage) > 0 || len(jobs.Lost) > 0 {
		t.Errorf("nonces: %v, jobs lost: %v", found.Damage, jobs.Lost)
	}
	there := map[string]JobState{}
	for _, p := range jobs.Pending {
		there[p.Job.ID] = p.State
		if p.Job.URL != p.Job.ID {
			t.Errorf("invented %+v", p.Job)
		}
	}
	for id, last := range promised {
		state, ok := there[id]
		if last == "accepted" && !ok || last == "finished" && (!ok || state != Finished) {
			t.Errorf("job %s was %s and is %v, %d", id, last, ok, state)
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
}

func checkStored(t *testing.T, l *Deliveries, id string) {
	t.Helper()
	r, err := l.Result(id)
	if err != nil {
		t.Fatal(err)
	}
	out, errs := stored(t, r.Stdout), stored(t, r.Stderr)
	if errs != id || strings.ReplaceAll(out, id, "") != "" {
		t.Errorf("job %s has another result", id)
	}
}
