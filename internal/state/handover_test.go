package state

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/test/testkit"
)

// handedOver is the environment variable that has the state of the life before, as JSON.
const handedOver = "STATE_TEST_HANDED_OVER"

// openOrAdopt returns the directory of the life before, or opens it.
func openOrAdopt(path string) (*Dir, error) {
	text := os.Getenv(handedOver)
	if text == "" {
		return OpenDir(path)
	}
	var s DirState
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, err
	}
	return AdoptDir(s)
}

// becomeNobody drops root if there is any, and proves that the directory cannot be entered.
func becomeNobody(path string) error {
	if os.Getuid() == 0 {
		if err := syscall.Setresuid(65534, 65534, 65534); err != nil {
			return err
		}
	}
	if _, err := os.Open(path); os.Geteuid() == 65534 && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("the state directory can be entered after the drop: %v", err)
	}
	return nil
}

// liveOn executes this program again, which then adopts the directory.
func liveOn(d *Dir) error {
	w, err := handover.NewWriter()
	if err != nil {
		return err
	}
	text, err := json.Marshal(d.HandOver(w))
	if err != nil {
		return err
	}
	for _, fd := range w.Descriptors() {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return err
		}
	}
	_ = os.Setenv(handedOver, string(text))
	err = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	runtime.KeepAlive(d) // until here: else its files could be closed
	return err
}

// With livesDir a process adds to the state files of the folder in each of several lives.
const (
	livesDir  = "STATE_TEST_LIVES_DIR"
	lifeCount = "STATE_TEST_LIFE"
	maxLives  = 4
)

// live is one life: it finds everything of the lives before, and leaves one nonce, an interrupted, a
// finished and an ended job more.
func live(path string) error {
	life := len(os.Getenv(lifeCount))
	d, err := openOrAdopt(path)
	if err != nil {
		return err
	}
	n, nonces, err := OpenNonces(d, window, time.Now)
	if err != nil {
		return err
	}
	l, jobs, err := OpenDeliveries(d, MinCapacity, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(becomeNobody(path), foundLives(life, nonces, jobs)); err != nil {
		return err
	}
	if life == maxLives {
		fmt.Println("held")
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	err = n.Add(fingerprint(life), time.Now().Unix())
	for _, name := range []string{"cut-off", "finished", "delivered"} {
		job := someJob(fmt.Sprintf("%s-%d", name, life))
		job.Accepted = time.Unix(int64(life), 0)
		err = errors.Join(err, l.Accept(job))
	}
	err = errors.Join(err,
		l.Finish(fmt.Sprintf("finished-%d", life), []byte(fmt.Sprintf("meta of finished-%d", life)), text("out"), text("err")),
		l.Done(fmt.Sprintf("delivered-%d", life)), n.Sync())
	if err != nil {
		return err
	}
	_ = os.Setenv(lifeCount, strings.Repeat("I", life+1))
	return liveOn(d)
}

// foundLives returns an error unless the files have what that many lives have left.
func foundLives(lives int, nonces FoundNonces, jobs FoundDeliveries) error {
	var got []string
	for _, p := range jobs.Pending {
		got = append(got, fmt.Sprintf("%s:%d", p.Job.ID, p.State))
	}
	want, found := []string{}, map[Nonce]bool{}
	for i := range lives {
		want = append(want, fmt.Sprintf("cut-off-%d:%d", i, Interrupted),
			fmt.Sprintf("finished-%d:%d", i, Finished))
		for _, n := range nonces.Live {
			if n.Fingerprint == fingerprint(i) {
				found[n] = true
			}
		}
	}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) || len(found) != lives ||
		nonces.Floor != 0 || nonces.Why != "" || len(jobs.Lost) > 0 ||
		len(nonces.Damage)+len(jobs.Damage) > 0 {
		return fmt.Errorf("life %d: got the jobs %v, lost %v, nonces %+v, damage %v; "+
			"want the jobs %v and %d nonces", lives, got, jobs.Lost, nonces, jobs.Damage, want, lives)
	}
	return nil
}

// The process that takes over may not enter the folder, and has the same lock.
func TestHandOver_AcrossExecve(t *testing.T) {
	testkit.NeedRoot(t) // to become another user
	path := filepath.Join(t.TempDir(), "state")
	lives := exec.Command("/proc/self/exe")
	lives.Env = append(os.Environ(), livesDir+"="+path)
	lives.Stderr = os.Stderr
	stdin, err := lives.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := lives.StdoutPipe()
	if err == nil {
		err = lives.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lives.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("got %q, %v, want held by the last life", line, err)
	}
	_, err = openDirWithin(path, 0)
	if !errors.Is(err, ErrLocked) ||
		!strings.Contains(err.Error(), fmt.Sprintf("process %d", lives.Process.Pid)) {
		t.Errorf("another daemon: got %v, want that process %d has it", err, lives.Process.Pid)
	}
	_ = stdin.Close()
	if err := lives.Wait(); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, path)
	n, nonces, err := OpenNonces(d, window, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	l, jobs, err := OpenDeliveries(d, MinCapacity, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := foundLives(maxLives, nonces, jobs); err != nil {
		t.Error(err)
	}
	checkResult(t, l, "finished-0", "out", "err")
}

// A real process that works on real files hands them over to itself again and again, and is killed
// at random points of that.
func TestKill_AmongHandovers(t *testing.T) {
	path, nonces, all := memoryDir(t), map[string]bool{}, 0
	for round := range rounds(5, 40) {
		life := time.Duration(150+round*23) * time.Millisecond
		promised := runAndKill(t, path, life, handsOver+"=1")
		for id, state := range promised {
			nonces[id] = true
			if state == "failed:" {
				t.Fatalf("round %d: the killed process reported: %s", round, id)
			}
		}
		all += len(promised)
		found := checkPromises(t, path, promised, nonces)
		if found.Floor != 0 { // killed during recovery, so the next one assumes a power cut
			path, nonces = memoryDir(t), map[string]bool{}
		}
	}
	if all < 100 {
		t.Fatalf("got %d nonces, want at least 100", all)
	}
}

// duplicate returns a descriptor that AdoptDir can own, also if it fails.
func duplicate(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 3)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// adopted hands d over within this process, through duplicates of its descriptors.
func adopted(t *testing.T, d *Dir, change func(*DirState)) (*Dir, error) {
	t.Helper()
	w, err := handover.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := d.HandOver(w)
	s.Lock = duplicate(t, s.Lock)
	for name, fd := range s.Files {
		s.Files[name] = duplicate(t, fd)
	}
	change(&s)
	return AdoptDir(s)
}

func asItIs(*DirState) {}

func TestAdoptDir_DescriptorsAreCloseOnExec(t *testing.T) {
	d := openDir(t, t.TempDir())
	n, _ := d.nonces(t, &clock{1000}, 1, onDisk)
	defer n.kill()
	next, err := adopted(t, d, asItIs)
	if err != nil {
		t.Fatal(err)
	}
	if len(next.unopened) != nonceFiles+1 {
		t.Errorf("got %d files, want %d", len(next.unopened), nonceFiles+1)
	}
	for _, f := range append(slices.Collect(maps.Values(next.unopened)), next.lock) {
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s: got the flags %#x, %v, want FD_CLOEXEC", f.Name(), flags, err)
		}
	}
}

func TestAdoptDir_WrongDescriptorsAreRefused(t *testing.T) {
	d := openDir(t, t.TempDir())
	n, _ := d.nonces(t, &clock{1000}, 1, onDisk)
	defer n.kill()
	other := openDir(t, t.TempDir())
	reader, err := os.Open(filepath.Join(d.path, "nonces-00.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	lockedByOther, err := os.OpenFile(filepath.Join(other.path, "lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lockedByOther.Close()
	for name, test := range map[string]struct {
		change func(*DirState)
		want   string
	}{
		"not open":       {func(s *DirState) { s.Files["nonces-00.log"] = 1 << 20 }, "bad file"},
		"negative":       {func(s *DirState) { s.Files["nonces-00.log"] = -1 }, "bad file"},
		"read only":      {func(s *DirState) { s.Files["nonces-00.log"] = duplicate(t, int(reader.Fd())) }, "to read and write"},
		"a device":       {func(s *DirState) { s.Files["nonces-00.log"] = duplicate(t, int(null.Fd())) }, "to read and write"},
		"twice the same": {func(s *DirState) { s.Files["nonces-00.log"] = s.Lock }, "another file"},
		"no lock":        {func(s *DirState) { s.Lock = duplicate(t, int(lockedByOther.Fd())) }, "lock"},
		"newer":          {func(s *DirState) { s.Format++ }, errNewer.Error()},
	} {
		if _, err := adopted(t, d, test.change); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
		}
	}
}

// A file that is not there cannot be created, and none is opened twice.
func TestAdoptDir_OtherFilesAreRefused(t *testing.T) {
	d := openDir(t, t.TempDir())
	n, _ := d.nonces(t, &clock{1000}, 1, onDisk)
	defer n.kill()
	next, err := adopted(t, d, asItIs)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := next.nonces(t, &clock{1000}, 1, onDisk)
	defer again.kill()
	if _, _, err := next.openNonces(window, (&clock{1000}).now, [16]byte{1}, onDisk); !errors.Is(err, errNotHandedOver) {
		t.Errorf("the nonces, twice: got %v, want %v", err, errNotHandedOver)
	}
	before := files(t, d.path)
	if _, _, err := next.openDeliveries(MinCapacity, 0, onDisk); !errors.Is(err, errNotHandedOver) {
		t.Errorf("files that were not open: got %v, want %v", err, errNotHandedOver)
	}
	if after := files(t, d.path); len(after) != len(before) {
		t.Errorf("got %d files, want the %d from before", len(after), len(before))
	}
}

// A damaged file stays as it is until a start that can set it aside. What it held is missing, and
// recovery says so.
func TestAdoptDir_DamagedFileIsLeftAlone(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	n, _ := d.nonces(t, &clock{1000}, 1, onDisk)
	add(t, n, 1, 1000)
	if err := n.Sync(); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(path, "nonces-00.log")
	f, err := os.OpenFile(damaged, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("\xff"), 14); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	content := files(t, path)["nonces-00.log"]
	next, err := adopted(t, d, asItIs)
	if err != nil {
		t.Fatal(err)
	}
	n.kill()
	n, found := next.nonces(t, &clock{1001}, 1, onDisk)
	if len(found.Damage) == 0 || found.Damage[0].Kind != Unused || found.Floor < 1000 ||
		!strings.Contains(found.Damage[0].String(), "nonces-00.log") {
		t.Errorf("got %+v, want an unused file, and a floor that covers its nonce", found)
	}
	add(t, n, 2, found.Floor+1)
	if got := files(t, path)["nonces-00.log"]; string(got) != string(content) {
		t.Errorf("got %d other bytes in the damaged file, want it as it was", len(got))
	}
	n.kill()
	_ = next.Close()
	_ = d.Close()
	n, found = openDir(t, path).nonces(t, &clock{1001}, 1, onDisk)
	defer n.kill()
	if _, err := os.Stat(damaged + ".damaged"); err != nil || len(found.Live) != 1 {
		t.Errorf("the next start: got %v and the nonces %v, want it set aside, and one", err, found.Live)
	}
}

// A successor could not go on where the files have become read-only, so it is asked before.
func TestNonces_SyncForHandoverOfReadOnlyFiles(t *testing.T) {
	var f fault
	n, _, err := openDir(t, memoryDir(t)).openNonces(time.Minute, time.Now, [16]byte{1}, f.open)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Sync(); err != nil {
		t.Fatal(err)
	}
	f.set(unix.EROFS, unix.EROFS, nil)
	if err := n.Sync(); err != nil {
		t.Errorf("Sync without anything to write: got %v, want none", err)
	}
	if err := n.SyncForHandover(); !errors.Is(err, unix.EROFS) {
		t.Errorf("SyncForHandover: got %v, want EROFS", err)
	}
	f.set(nil, nil, unix.EIO)
	if err := n.SyncForHandover(); !errors.Is(err, unix.EIO) {
		t.Errorf("SyncForHandover of files that cannot be synced: got %v, want EIO", err)
	}
	f.set(nil, nil, nil)
	if err := n.SyncForHandover(); err != nil {
		t.Errorf("SyncForHandover of files that can be written again: got %v, want none", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := n.SyncForHandover(); err == nil {
		t.Error("SyncForHandover after Close: got none, want an error")
	}
}

// The end of a job is not synced when it is recorded, but a successor syncs all before it serves.
func TestDeliveries_SyncOfTheEndOfAJob(t *testing.T) {
	var f fault
	l, _ := openDir(t, memoryDir(t)).deliveries(t, f.open)
	accept(t, l, "a")
	accept(t, l, "b")
	if err := l.Done("a"); err != nil {
		t.Fatal(err)
	}
	f.set(nil, nil, unix.EIO)
	if err := l.Sync(); !errors.Is(err, unix.EIO) {
		t.Errorf("got %v, want EIO", err)
	}
	f.set(nil, nil, nil)
	accept(t, l, "c")
	if err := l.Sync(); err != nil {
		t.Errorf("when the disk works again: got %v, want none", err)
	}
}
