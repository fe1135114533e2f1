package doctor

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Of a directory for a start by hand it is not known whose it should be, so nothing is said of that.
func TestTheStateDirectoryIsPraisedForNoMoreThanWasLookedAt(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for unitDir, want := range map[string]Finding{
		"":          well("the state directory %s has room", dir),
		SystemUnits: failed("others than root can reach the state directory %s (user %d, mode 0777)", dir, os.Geteuid()).mendedBy("chown root:root " + dir + " && chmod 0700 " + dir),
	} {
		p := &patient{Options: Options{UnitDir: unitDir, StateDir: dir}}
		if found := checkState(p); len(found) != 1 || found[0] != want {
			t.Errorf("%q: %v, want %s", unitDir, found, want)
		}
	}
}

// What a test cannot bring about on the host that it shares with others.
func TestTheHostIsJudged(t *testing.T) {
	for _, test := range []struct {
		finding Finding
		level   Level
		says    string
	}{
		{judgeSeccomp("kill_process errno allow"), OK, "seccomp is there"},
		{judgeSeccomp(""), Failure, "CONFIG_SECCOMP_FILTER"},
		{judgeLandlock(7, nil), OK, "in version 7"},
		{judgeLandlock(4, nil), OK, "from version 6"},
		{judgeLandlock(0, unix.ENOSYS), Warning, "use Linux 5.13"},
		{judgeDumps("0"), OK, "suid_dumpable is 0"},
		{judgeDumps("2"), OK, "suid_dumpable is 2"},
		{judgeDumps("1"), Warning, "run sysctl -w fs.suid_dumpable=0"},
		{judgeClock(unix.TIME_OK, nil, time.Minute), OK, "is synchronised"},
		{judgeClock(unix.TIME_INS, nil, time.Minute), OK, "is synchronised"},
		{judgeClock(unix.TIME_ERROR, nil, time.Minute), Warning, "TIME_WINDOW (1m0s): run timedatectl set-ntp true"},
		{judgeClock(0, unix.EPERM, time.Minute), OK, "host of this container"},
		{judgeClock(0, unix.ENOSYS, time.Minute), Warning, "cannot ask"},
	} {
		if test.finding.Level != test.level || !strings.Contains(test.finding.String(), test.says) {
			t.Errorf("%s, want %s with %q", test.finding, test.level, test.says)
		}
	}
}
