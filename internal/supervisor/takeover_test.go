package supervisor

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/privsep"
)

const goodConfig = "SECRET_KEY = \"a-key-of-sixteen-bytes\"\n"

func TestDocument_Settings(t *testing.T) {
	sockets := []socketState{{4, "127.0.0.1:8099", false}, {5, "/run/a.sock", false}, {6, "[::1]:1", true}}
	for _, test := range []struct {
		name, config string
		sockets      []socketState
		want         string // in the error; empty: none
	}{
		{"plain", goodConfig, sockets, ""},
		{"a key of another release", goodConfig + "FUTURE = 1", sockets, "/etc/x: line 2, column 1"},
		{"a certificate without its text", goodConfig + "TLS_CERTIFICATE = \"/c\"\nTLS_KEY = \"/k\"", sockets, "TLS_KEY /k together"},
		{"a certificate for no socket", goodConfig + "TLS_CERTIFICATE = \"/c\"\nTLS_KEY = \"/k\"", sockets[1:], ""},
		{"a secret of a file", goodConfig + "[KEY.a]\nSECRET_FILE = \"/s\"", sockets, ""},
		{"a secret of a file without its text", goodConfig + "[KEY.b]\nSECRET_FILE = \"/s\"", sockets, "the secret of KEY.b has not arrived"},
		{"a secret of a file that SECRET_KEY has", "SECRET_KEY = \"of-a-file\"\n[KEY.a]\nSECRET_FILE = \"/s\"", sockets, "KEY.a has the same secret as SECRET_KEY"},
		{"a socket without an address", goodConfig, []socketState{{4, "", false}}, "is no address"},
	} {
		d := document{Request: request{Path: "/etc/x", Config: test.config}, Sockets: test.sockets}
		d.Request.SecretFiles = map[string][][]byte{"a": {[]byte("of-a-file")}}
		got, err := d.settings()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
		if err == nil && (len(got.sockets) != len(test.sockets) || got.identity != nil) {
			t.Errorf("%s: got %+v", test.name, got)
		}
	}
}

func TestReadHandover_RefusesOtherFiles(t *testing.T) {
	for name, fd := range map[string]int{"no descriptor": 1 << 20, "negative": -1} {
		if _, _, _, err := readHandover(fd); err == nil {
			t.Errorf("%s: got none, want an error", name)
		}
	}
}

// Without the list, every key would be revoked.
func TestHandOver_RequestWithoutKeys(t *testing.T) {
	q := &reloadRequest{request: request{Config: goodConfig, Bind: []string{"127.0.0.1:1"}}}
	if err := (&supervisor{}).handOver(q); !errors.Is(err, errForeignRequest) {
		t.Errorf("got %v, want %v", err, errForeignRequest)
	}
}

// A field that JSON does not carry would be lost in silence.
func TestDocument_GoesThroughJSON(t *testing.T) {
	w, err := handover.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	run := privsep.User{Name: "r", UID: 1, GID: 2, Groups: []int{2, 3}, Home: "/h", Shell: "/s"}
	want := document{
		Version: "1", Began: 5, Before: "b", RenewedKeys: []string{"a"},
		Request: request{Config: "text", Key: []byte{0, 255}, SecretFiles: map[string][][]byte{"a": {[]byte("x"), []byte("y")}}},
		AsRoot:  true, Announced: true, Control: 7, Client: -1, Accepting: true,
		Principals: privsep.Principals{Run: run, Role: privsep.User{Name: "d", UID: 4, GID: 5}},
		Sockets:    []socketState{{4, "127.0.0.1:8099", true}}, NoCgroups: "none",
		Roles:    []roleState{{privsep.RoleState{PID: 9, Channel: 3}, "digest"}},
		Executor: w.AddBytes([]byte("{}")),
	}
	file, err := w.Finish(want)
	if err != nil {
		t.Fatal(err)
	}
	own, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0) // the reader's file closes its own
	if err != nil {
		t.Fatal(err)
	}
	read, _, got, err := readHandover(own)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	_ = read.Close()
}
