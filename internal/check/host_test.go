package check

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Of a directory for a start by hand it is not known whose it should be, so nothing is said of
// that.
func TestState_DirectoryOfManualStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for unitDir, want := range map[string]Finding{
		"": ok("the state directory %s has room", dir),
		SystemUnits: failure("others than root can reach the state directory %s (user %d, mode "+
			"0777)", dir, os.Geteuid()).fix("chown root:root " + dir + " && chmod 0700 " + dir),
	} {
		c := &checker{Options: Options{UnitDir: unitDir, StateDir: dir}}
		if found := checkState(c); len(found) != 1 || found[0] != want {
			t.Errorf("%q: got %v, want %s", unitDir, found, want)
		}
	}
}

// What a test cannot bring about on the host that it shares with others.
func TestHost_Findings(t *testing.T) {
	for _, test := range []struct {
		finding Finding
		level   Level
		says    string
	}{
		{seccompFinding("kill_process errno allow"), OK, "has seccomp"},
		{seccompFinding(""), Failure, "CONFIG_SECCOMP_FILTER"},
		{landlockFinding(7, nil), OK, "Landlock, version 7"},
		{landlockFinding(4, nil), OK, "from version 6"},
		{landlockFinding(0, unix.ENOSYS), Warning, "use Linux 5.13"},
		{dumpsFinding("0"), OK, "suid_dumpable is 0"},
		{dumpsFinding("2"), OK, "suid_dumpable is 2"},
		{dumpsFinding("1"), Failure, "run sysctl -w fs.suid_dumpable=0"},
		{clockFinding(unix.TIME_OK, nil, time.Minute), OK, "is synchronized"},
		{clockFinding(unix.TIME_INS, nil, time.Minute), OK, "is synchronized"},
		{
			clockFinding(unix.TIME_ERROR, nil, time.Minute), Warning,
			"TIME_WINDOW (1m0s); install chrony or systemd-timesyncd if this host has neither: run timedatectl set-ntp true",
		},
		{clockFinding(0, unix.EPERM, time.Minute), OK, "host of this container"},
		{clockFinding(0, unix.ENOSYS, time.Minute), Warning, "cannot ask"},
	} {
		if test.finding.Level != test.level || !strings.Contains(test.finding.String(), test.says) {
			t.Errorf("got %s, want %s with %q", test.finding, test.level, test.says)
		}
	}
}
