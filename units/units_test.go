package units

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStopTimeout_IsThatOfTheUnit(t *testing.T) {
	text, err := os.ReadFile(Service)
	if err != nil {
		t.Fatal(err)
	}
	if want := "\nTimeoutStopSec=" + StopTimeout.String() +
		"\n"; !strings.Contains(strings.Replace(string(text), "=60s", "=1m0s", 1), want) {
		t.Errorf("got no %q in %s", want, Service)
	}
}

func TestNames_HaveFiles(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, entry := range entries {
		if slices.Contains([]string{".service", ".socket", ".path"}, filepath.Ext(entry.Name())) {
			files = append(files, entry.Name())
		}
	}
	names := Names()
	if slices.Sort(names); !slices.Equal(files, names) {
		t.Errorf("got the files %q, want %q", files, names)
	}
}

func TestParseShown(t *testing.T) {
	const text = "Id=a.socket\nListen=127.0.0.1:8099 (Stream)\nListen=/run/a=b " +
		"(Stream)\nResult=\n\n" +
		"Listen\nId=b.socket\nListenStream=[::1]:8099\n\n" +
		"ExecStart={ path=/usr/bin/x ; argv[]=/usr/bin/x serve ; ignore_errors=no }\nId=c.service\n"
	got := parseShown(text)
	if anyJob(got) {
		t.Error("got a job of systemd, want none")
	}
	if job := parseShown("Job=\nId=a.socket\n\nJob=381\nId=b.socket\n"); !anyJob(job) {
		t.Error("got no job of systemd, want that of b.socket")
	}
	if len(got) != 3 {
		t.Fatalf("got %d units, want 3", len(got))
	}
	for unit, want := range map[string][]string{
		"a.socket": {"127.0.0.1:8099", "/run/a=b"}, "b.socket": {"[::1]:8099"}, "c.service": nil,
	} {
		if addresses := got[unit].Listen(); !reflect.DeepEqual(addresses, want) {
			t.Errorf("%s: got the addresses %q, want %q", unit, addresses, want)
		}
	}
	if path := got["c.service"].Program(); path != "/usr/bin/x" {
		t.Errorf("got the program %q, want /usr/bin/x", path)
	}
	if path := got["a.socket"].Program(); path != "" {
		t.Errorf("got the program %q of a socket", path)
	}
}

// The texts are those of systemctl show.
func TestProperties_StopTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"45s": 45 * time.Second, "1min": time.Minute, "1min 30s": 90 * time.Second, "1h 20min": 80 * time.Minute,
		"55.500s": 55500 * time.Millisecond, "500ms": 500 * time.Millisecond, "7us": 7 * time.Microsecond,
		"1min 55.500s": 115500 * time.Millisecond, "2h 3min 4s 5ms": 2*time.Hour + 3*time.Minute +
			4005*time.Millisecond,
		"infinity": 0, "1d": 0, "1d 2h": 0, "1w 3d": 0, "2month 4d": 0, "1y": 0, "0": 0, "": 0,
	} {
		if got := (Properties{"TimeoutStopUSec": text}).StopTimeout(); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// journalctl puts a script of that name first in PATH.
func journalctl(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestLastTimes(t *testing.T) {
	journalctl(t, `case " $* " in
*" --unit=dataflux-func-sidecar.service "*" _UID=0 _UID=7 F=often --lines=1 "*)
	echo '{"__REALTIME_TIMESTAMP":"1764547200123456","F":"often"}' ;;
*" F=broken "*) echo '{"__REALTIME_TIMESTAMP":' ;;
*" F=failed "*) echo '{"__REALTIME_TIMESTAMP":"1764547200123456"}'; exit 1 ;;
esac`)
	got := LastTimes(7, "F", []string{"never", "often", "broken", "failed"})
	want := map[string]time.Time{"often": time.UnixMicro(1764547200123456)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// One that hangs costs no more than the bound, for all values together.
func TestLastTimes_Bounded(t *testing.T) {
	journalctl(t, "exec sleep 60")
	ctx, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer stop()
	began := time.Now()
	got := lastTimes(ctx, -1, "F", make([]string, 100))
	if took := time.Since(began); len(got) != 0 || took > 50*time.Second {
		t.Errorf("got %v after %s, want nothing before the end of the program", got, took)
	}
}

// Entries of the journal can be as large as a command likes.
func TestLastEntry_BoundedOutput(t *testing.T) {
	journalctl(t, `echo "Ready: x"; [ ! -e "$0.large" ] || head -c 33554432 /dev/zero`)
	if got, want := LastEntry(-1, "Ready: "), "Ready: x"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	script, err := exec.LookPath("journalctl")
	if err == nil {
		err = os.WriteFile(script+".large", nil, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := LastEntry(-1, "Ready: "); got != "" {
		t.Errorf("with 32 MiB after it: got %.40q, want nothing", got)
	}
}
