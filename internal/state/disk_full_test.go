package state

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Case 38: a disk that is really full, for each operation.
func TestFullDisk_OnlyCallbacksAreRefused(t *testing.T) {
	path := smallDisk(t, "2m")
	d, c := openDir(t, path), &clock{1000}
	n, _ := d.nonces(t, c, 1, onDisk)
	l, _ := d.deliveries(t, onDisk)
	out := repeated(50_000)
	for _, id := range []string{"a", "b", "c"} {
		accept(t, l, id)
	}
	finish(t, l, "a", out, "")
	giveBack := fillDisk(t, path)

	refused, accepted := 0, []string{}
	for i := range 200 { // the rest of the last page is still there
		id := time.Duration(i).String()
		if err := l.Accept(someJob(id)); errors.Is(err, unix.ENOSPC) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		} else {
			accepted = append(accepted, id)
		}
	}
	if refused == 0 {
		t.Fatal("got no refusal on a full disk, want some")
	}
	err := l.Finish("b", []byte("meta of b"), text(out), text(out))
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("got %v, want %v", err, unix.ENOSPC)
	}
	checkResult(t, l, "a", out, "")
	for i := range 1000 {
		add(t, n, i, 1000+int64(i/50)) // a request without a callback goes on
	}
	if err := n.Sync(); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	doneErr := l.Done("c")
	giveBack()

	finish(t, l, "b", out, out)
	add(t, n, 5000, 1100)
	if err := n.Sync(); err != nil {
		t.Fatal(err)
	}
	l.kill()
	n.kill()
	l, found := d.deliveries(t, onDisk)
	if len(found.Pending) != 2+len(accepted) || len(found.Damage) > 0 {
		t.Fatalf(
			"got %s, %v, want %d more than a and b (Done of c: %v)", outline(found), found.Damage,
			len(accepted), doneErr,
		)
	}
	checkResult(t, l, "a", out, "")
	checkResult(t, l, "b", out, out)
	_, nonces := d.nonces(t, c, 1, onDisk)
	if nonces.Floor < 1019 || nonces.Floor >= 1100 || len(nonces.Live) == 0 ||
		len(nonces.Damage) > 0 {
		t.Fatalf(
			"got floor %d, %d live, %v, want a floor from 1019 to 1099 and live nonces",
			nonces.Floor, len(nonces.Live), nonces.Damage,
		)
	}
	for _, p := range found.Pending {
		if err := l.Done(p.Job.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// Case 38: what gives space back works on a full disk, as does a start and a stop.
func TestFullDisk_RestartAndDoneFreeSpace(t *testing.T) {
	path := smallDisk(t, "2m")
	d, c := openDir(t, path), &clock{1000}
	n, _ := d.nonces(t, c, 1, onDisk)
	l, _ := d.deliveries(t, onDisk)
	accept(t, l, "a")
	finish(t, l, "a", repeated(100_000), "")
	add(t, n, 1, 1000)
	fillDisk(t, path)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	l.kill()
	n, found := d.nonces(t, c, 1, onDisk)
	if len(found.Live) != 1 || found.Floor != 0 {
		t.Fatalf("got %+v, want one live nonce and no floor", found)
	}
	l, _ = d.deliveries(t, onDisk)
	checkResult(t, l, "a", repeated(100_000), "")
	if err := l.Done("a"); err != nil {
		t.Fatal(err)
	}
	accept(t, l, "b") // into the space of a
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenDir_ReadOnlyDisk(t *testing.T) {
	path := smallDisk(t, "2m")
	if err := unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(path); !errors.Is(err, unix.EROFS) {
		t.Fatal(err)
	}
}
