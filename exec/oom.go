package exec

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// daemonOOMScore is low enough that commands are killed first, and no lower: a command can return
// to the lowest value that root gave to one of its ancestors.
const daemonOOMScore = -100

const ownOOMScore = "/proc/self/oom_score_adj"

// ProtectFromOOM makes the kernel's OOM killer prefer other processes to the daemon. It takes root.
// It changes nothing where that is not enough, as in a container, or where the unit sets a lower
// value.
func ProtectFromOOM() {
	if score, err := readOOMScore(); err == nil && score > daemonOOMScore && score <= 0 {
		_ = os.WriteFile(ownOOMScore, []byte(strconv.Itoa(daemonOOMScore)), 0)
	}
}

func readOOMScore() (int, error) {
	text, err := os.ReadFile(ownOOMScore)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// resetOOMScore gives a command the ordinary score. That cannot be done before execve: the newborn
// shares the daemon's memory, and the kernel sets the score of all processes that share it.
//
// The file belongs to the command's user, so this thread takes its file system id for a moment.
func resetOOMScore(pid int, user credentials) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if user.change {
		own := os.Getuid()
		setFileSystemUser(user.uid)
		defer setFileSystemUser(own)
	}
	_ = writeFile(unix.AT_FDCWD, "/proc/"+strconv.Itoa(pid)+"/oom_score_adj", "0")
}

// setFileSystemUser acts on this thread alone. The change leaves the daemon's memory as dumpable as
// fs.suid_dumpable says: that is reset at once.
func setFileSystemUser(uid int) {
	_ = unix.Setfsuid(uid)
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
