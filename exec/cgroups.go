package exec

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Cgroups is where each command gets a cgroup of its own: the folder jobs in
// the unit's cgroup, which the executor's user may write.
//
//	UNIT/               cgroup.procs is ours as well: the kernel lets nobody be
//	│                   born into another cgroup who may not write that of the
//	│                   common ancestor, and the executor itself stays here
//	└─ jobs/            ours; nothing runs in it
//	   ├─ 1/            one command with all it started, until the last has ended
//	   └─ 2/            empty, for the next command
//
// All commands are the same user, so one that wants to can leave its cgroup by
// writing to another's. The unit's cgroup is the wall that holds it then.
type Cgroups struct {
	jobs int // the folder, for *at calls
	path string
	once sync.Once
	next atomic.Uint64

	mu   sync.Mutex
	idle []idle
}

// OpenCgroups makes the folder and gives uid and gid what commands need. It is
// called by root, before the drop. Its error is the reason why there can be no
// cgroup per command; the daemon goes on without.
func OpenCgroups(uid, gid int) (*Cgroups, error) {
	path, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	unit, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the daemon's own cgroup: %w", err)
	}
	defer unix.Close(unit)
	if err := isDelegated(unit); err != nil {
		return nil, err
	}
	jobs, err := makeJobs(unit, uid, gid)
	if err != nil {
		return nil, err
	}
	return &Cgroups{jobs: jobs, path: path + "/jobs"}, nil
}

// ownCgroup is the path of our cgroup of version 2, which hybrid hosts mount
// beside those of version 1.
func ownCgroup() (string, error) {
	list, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("cannot find the daemon's own cgroup: %w", err)
	}
	for line := range strings.Lines(string(list)) {
		below, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !found {
			continue
		}
		if strings.HasPrefix(below, "/..") || strings.HasSuffix(below, " (deleted)") {
			return "", fmt.Errorf("the daemon's own cgroup %q is out of reach", below)
		}
		mount, err := unifiedMount()
		return strings.TrimSuffix(mount+below, "/"), err
	}
	return "", errors.New("this kernel has no cgroups of version 2")
}

func unifiedMount() (string, error) {
	for _, path := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var stat unix.Statfs_t
		if unix.Statfs(path, &stat) == nil && stat.Type == unix.CGROUP2_SUPER_MAGIC {
			return path, nil
		}
	}
	return "", errors.New("cgroups of version 2 are not mounted at /sys/fs/cgroup")
}

// isDelegated proves as far as it can be proved that nobody but us uses this
// cgroup: it would be wrong to hand one that others live in, as after a login,
// to the user that runs commands.
func isDelegated(unit int) error {
	if err := unix.Faccessat(unit, "cgroup.kill", unix.F_OK, 0); err != nil {
		return errors.New("the daemon's cgroup cannot be ended as a whole: it takes Linux 5.14, and a unit that is not the root cgroup")
	}
	if hasAttribute(unit, "user.invocation_id") && !hasAttribute(unit, "user.delegate") {
		return errors.New("systemd keeps the unit's cgroup to itself: the unit lacks Delegate=yes")
	}
	pids, err := pidsIn(unit, "cgroup.procs")
	if err != nil {
		return fmt.Errorf("cannot see who else is in the daemon's cgroup: %w", err)
	}
	for _, pid := range pids {
		if pid != os.Getpid() {
			return fmt.Errorf("the daemon shares its cgroup with others, such as process %d: it needs a unit with Delegate=yes", pid)
		}
	}
	return nil
}

// hasAttribute looks for what systemd 252 and later puts on cgroups.
func hasAttribute(dir int, name string) bool {
	_, err := unix.Fgetxattr(dir, name, nil)
	return err == nil
}

// makeJobs gives no more than is needed: no limit of the unit or of the folder
// can be changed by a command.
func makeJobs(unit, uid, gid int) (int, error) {
	err := unix.Mkdirat(unit, "jobs", 0o755)
	if err == unix.EROFS {
		return -1, fmt.Errorf("cannot make a cgroup for the commands: %w: the unit has ProtectControlGroups=yes, or the container a read-only /sys/fs/cgroup", err)
	}
	if err != nil && err != unix.EEXIST {
		return -1, fmt.Errorf("cannot make a cgroup for the commands: %w", err)
	}
	for _, name := range []string{"jobs", "cgroup.procs"} {
		if err := give(unit, name, uid, gid); err != nil {
			_ = unix.Unlinkat(unit, "jobs", unix.AT_REMOVEDIR)
			return -1, fmt.Errorf("cannot give %s of the daemon's cgroup to user %d: %w: does the unit have CAP_CHOWN?", name, uid, err)
		}
	}
	// What is deeper we would neither list nor remove. Where that cannot be
	// set, such cgroups are left to the end of the unit.
	_ = writeSmall(unit, "jobs/cgroup.max.depth", strconv.Itoa(1+subfolders))
	jobs, err := unix.Openat(unit, "jobs", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open the cgroup for the commands: %w", err)
	}
	return jobs, nil
}

// give leaves alone what already belongs to uid, as in a unit of a user.
func give(dir int, name string, uid, gid int) error {
	var stat unix.Stat_t
	if err := unix.Fstatat(dir, name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if int(stat.Uid) == uid {
		return nil
	}
	return unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// prepare removes what a predecessor left empty and proves, as the user that
// runs commands, that a process can be started in a cgroup. What it left in use
// holds processes that were put into the background on purpose.
func (c *Cgroups) prepare(with spawner) error {
	if with.old {
		return errors.New("processes cannot be born into a cgroup: this kernel has no clone3, or the container forbids it")
	}
	c.once.Do(c.sweep)
	t, dir, err := c.freshTree()
	if err != nil {
		return err
	}
	defer t.discard()
	defer unix.Close(dir)
	status, err := with.exitAtOnce(dir)
	if err != nil {
		return fmt.Errorf("cannot start processes in a cgroup: %w", err)
	}
	if status.Signaled() {
		return errors.New("processes started in a cgroup die at birth: the unit's own cgroup was once killed, stop and start the unit")
	}
	if err := t.kill(); err != nil {
		return fmt.Errorf("cannot end the processes of a cgroup: %w", err)
	}
	return nil
}

// sweep also moves the count beyond all that is there.
func (c *Cgroups) sweep() {
	for _, name := range foldersIn(c.jobs, ".") {
		if number, err := strconv.ParseUint(name, 10, 63); err == nil {
			c.next.Store(max(c.next.Load(), number))
		}
		removeBelow(c.jobs, name, subfolders)
	}
}

// foldersIn lists the folders in a folder of cgroups.
func foldersIn(dir int, name string) (folders []string) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	entries, _ := file.ReadDir(-1)
	for _, entry := range entries {
		if entry.Type() == fs.ModeDir {
			folders = append(folders, entry.Name())
		}
	}
	return folders
}

// pidsIn reads a list of process ids.
func pidsIn(dir int, name string) (pids []int, err error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, lines.Err()
}
