package handover

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

type document struct {
	Text        string
	First, Next Blob
	Descriptor  int
}

func write(t *testing.T) (*os.File, document) {
	t.Helper()
	w, err := NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	d := document{
		Text: "<é>", First: w.AddBytes([]byte("first")),
		Next: w.Add(bytes.NewReader(bytes.Repeat([]byte{7}, 3<<20))), Descriptor: w.Keep(2),
	}
	file, err := w.Finish(d)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.Descriptors(); !slices.Equal(got, []int{2}) {
		t.Errorf("got the descriptors %v, want 2", got)
	}
	return file, d
}

func TestHandover_WhatIsWrittenIsRead(t *testing.T) {
	file, want := write(t)
	r, err := NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var got document
	if err := r.Document(&got); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	first, err := r.Bytes(got.First)
	if err != nil || string(first) != "first" {
		t.Errorf("got %q, %v", first, err)
	}
	next, err := r.Bytes(got.Next)
	if err != nil || !bytes.Equal(next, bytes.Repeat([]byte{7}, 3<<20)) {
		t.Errorf("got %d bytes, %v", len(next), err)
	}
	for _, outside := range []Blob{{-1, 1}, {0, -1}, {0, 1 << 40}, {1 << 40, 1}, {3 << 20, 6}} {
		if _, err := r.Bytes(outside); err == nil {
			t.Errorf("%+v was read, want an error", outside)
		}
	}
}

func TestHandover_SealedFileCannotBeChanged(t *testing.T) {
	file, _ := write(t)
	if _, err := file.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("a write answered %v, want EPERM", err)
	}
	if err := file.Truncate(0); !errors.Is(err, unix.EPERM) {
		t.Errorf("a truncation answered %v, want EPERM", err)
	}
}

// With vm.memfd_noexec=2 some kernels from Linux 6.3 on refuse a file that could be made executable.
func TestHandover_FileCannotBeExecuted(t *testing.T) {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		return // before Linux 6.3
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	file, _ := write(t)
	if err := file.Chmod(0o700); !errors.Is(err, unix.EPERM) {
		t.Errorf("chmod 0700 answered %v, want EPERM", err)
	}
}

func TestReader_RefusesOtherFiles(t *testing.T) {
	plain, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	sealed := func(content string) *os.File {
		fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fd), "test")
		t.Cleanup(func() { _ = file.Close() })
		if _, err := file.WriteString(content); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, seals); err != nil {
			t.Fatal(err)
		}
		return file
	}
	other := magic + "\x00\x00\x00\x63\x00\x00\x00\x00" + strings.Repeat("\x00", 8)
	long := magic + "\x00\x00\x00\x01\x00\x00\x00\x00" + strings.Repeat("\x7f", 8)
	for name, c := range map[string]struct {
		file *os.File
		want error // nil: any
	}{
		"not sealed":                    {plain, nil},
		"empty":                         {sealed(""), nil},
		"of another version":            {sealed(other), ErrVersion},
		"a document beyond its file":    {sealed(long), nil},
		"something else that is sealed": {sealed(strings.Repeat("x", 100)), nil},
	} {
		if _, err := NewReader(c.file); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want an error like %v", name, err, c.want)
		}
	}
}
