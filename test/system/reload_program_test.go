package system

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

// askFor asks the daemon to go on as any program, as `reload` asks for its own, and returns the
// answer.
func (d *daemon) askFor(program string) string {
	d.t.Helper()
	text, err := os.ReadFile(d.config)
	if err != nil {
		d.t.Fatal(err)
	}
	request, err := json.Marshal(map[string]any{
		"Path": d.config, "Config": string(text), "Keys": [][]byte{[]byte(testKey)},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	end := append([]byte("sidecar handover"), make([]byte, 16)...)
	binary.BigEndian.PutUint32(end[16:], 1)
	binary.BigEndian.PutUint64(end[24:], uint64(len(request)))
	memory, err := unix.MemfdCreate("request", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		d.t.Fatal(err)
	}
	defer unix.Close(memory)
	if _, err := unix.Write(memory, append(request, end...)); err != nil {
		d.t.Fatal(err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(memory), unix.F_ADD_SEALS, seals); err != nil {
		d.t.Fatal(err)
	}
	file, err := unix.Open(program, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer unix.Close(file)
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(d.stateDir(), "control"), Net: "unix"})
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, _, err := conn.WriteMsgUnix([]byte("reload\n"), unix.UnixRights(memory, file), nil); err != nil {
		d.t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(answer)
}

// A program that cannot take over is refused, and the daemon goes on as before.
func TestReload_ProgramThatCannotTakeOver(t *testing.T) {
	t.Parallel()
	d := startDaemonWithMetrics(t)
	dir := sharedDir(t)
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	other, err := os.ReadFile(testkit.Program(t))
	if err != nil {
		t.Fatal(err)
	}
	half := other[:len(other)/2]
	other = append([]byte{}, other...)
	other[18]++ // e_machine
	shell := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "until test -e " + dir + "/end; do sleep 0.01; done; echo whole"})).raw())
	d.awaitLog("Command started")
	for _, test := range []struct{ name, program, want string }{
		{"it fails", "/bin/false", "it ended with exit status 1"},
		{"it says why", "/bin/sh", "it ended with exit status 2: "},
		{"it never ends", "/usr/bin/yes", "it did not finish within 10s"},
		{"of another architecture", write("other", other), "exec format error"},
		{"half of it", write("half", half), "it was killed by signal"},
		{"not a program", write("text", []byte("text")), "exec format error"},
		{"a folder", dir, "permission denied"},
	} {
		got := d.askFor(test.program)
		if !strings.Contains(got, `"Done":false`) || !strings.Contains(got, test.want) || !strings.Contains(got, "hint: ") {
			t.Errorf("%s: got %s, want a refusal with %q", test.name, got, test.want)
		}
		if a := d.run("echo still"); a.Data.Stdout != "still\n" {
			t.Errorf("%s: got %s afterwards", test.name, a.body)
		}
	}
	if got := strings.Count(d.log(), "Reload refused, the daemon goes on as before: "); got != 7 {
		t.Errorf("got %d entries, want one for each", got)
	}
	if got := d.scrape()["reloads_total{result=refused}"]; got != 7 {
		t.Errorf("got %v refused reloads in the metrics, want 7", got)
	}
	if link, err := os.Readlink("/proc/" + strconv.Itoa(d.pid) + "/exe"); err != nil || link != testkit.Program(t) {
		t.Errorf("got the program %s, %v", link, err)
	}
	d.wantReloaded()
	write("end", nil)
	if a := shell.answer("POST"); a.Data == nil || a.Data.Stdout != "whole\n" {
		t.Errorf("the command of before: got %d %s", a.status, a.body)
	}
}
