package exec

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxLeft bounds the cgroups besides those of running commands: idle ones, and those of background
// processes. 100,000 of them stall systemd for 22 seconds when the unit stops.
const maxLeft = 4096

// freezePoll is the interval at which Freeze looks whether all commands are frozen.
const freezePoll = 500 * time.Microsecond

// OpenCgroups makes the folders, moves this process into its own, and gives that of the commands to
// uid and gid, which are the daemon's. Root calls it before the drop, in a process without
// children. Its error says why commands cannot have cgroups; the daemon goes on without.
func OpenCgroups(uid, gid, maxRunning int) (*Cgroups, error) {
	path, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	unit, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the daemon's own cgroup: %w", err)
	}
	defer unix.Close(unit)
	if err := checkDelegation(unit); err != nil {
		return nil, err
	}
	if err := enterLeaf(unit); err != nil {
		return nil, err
	}
	jobs, err := makeJobs(unit, uid, gid)
	if err != nil {
		return nil, err
	}
	c := &Cgroups{jobs: jobs, ending: make(map[string]*cgroup)}
	c.killFile = unix.Faccessat(unit, "cgroup.kill", unix.F_OK, 0) == nil
	if c.most, err = openBound(jobs); err == nil {
		err = c.bound(maxRunning)
	}
	if err == nil {
		err = c.controllers.open(unit, jobs)
	}
	if err != nil {
		unix.Close(jobs)
		return nil, err
	}
	return c, nil
}

// openBound opens the file that bounds the number of cgroups, as root. Its descriptor can be
// written after the drop as well.
func openBound(jobs int) (int, error) {
	const flags = unix.O_WRONLY | unix.O_CLOEXEC
	fd, err := unix.Openat(jobs, "cgroup.max.descendants", flags, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot bound the number of the commands' cgroups: %w", err)
	}
	return fd, nil
}

func (c *Cgroups) bound(maxRunning int) error {
	if _, err := unix.Pwrite(c.most, []byte(strconv.Itoa(maxRunning+maxLeft)), 0); err != nil {
		return fmt.Errorf("cannot bound the number of the commands' cgroups: %w", err)
	}
	return nil
}

// Freeze stops all commands until Thaw, so that none executes anything. It waits for at most limit
// until all are stopped: a process that hangs in the kernel is not, but executes nothing either. It
// fails if the kernel cannot be told to stop them.
func (c *Cgroups) Freeze(limit time.Duration) error {
	if err := writeFile(c.jobs, "cgroup.freeze", "1"); err != nil {
		return fmt.Errorf("cannot freeze the commands: %w", err)
	}
	for until := time.Now().Add(limit); time.Now().Before(until); time.Sleep(freezePoll) {
		events, err := readFile(c.jobs, "cgroup.events")
		if err == nil && bytes.Contains(events, []byte("frozen 1")) {
			break
		}
	}
	return nil
}

// Thaw lets the commands go on.
func (c *Cgroups) Thaw() error {
	if err := writeFile(c.jobs, "cgroup.freeze", "0"); err != nil {
		return fmt.Errorf("cannot thaw the commands: %w", err)
	}
	return nil
}

// ownCgroup is the path of the daemon's cgroup of version 2, which hybrid hosts mount besides
// version 1.
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

// checkDelegation proves, as far as possible, that only the daemon uses this cgroup. One that other
// processes live in, as after a login, must not be given away.
func checkDelegation(unit int) error {
	if err := unix.Faccessat(unit, "cgroup.freeze", unix.F_OK, 0); err != nil {
		return errors.New("the daemon's cgroup cannot be ended as a whole: " +
			"it takes Linux 5.2, and a unit that is not the root cgroup")
	}
	if hasAttribute(unit, "user.invocation_id") && !hasAttribute(unit, "user.delegate") {
		return errors.New("systemd keeps the unit's cgroup to itself: the unit lacks Delegate=yes")
	}
	pids, err := readPIDs(unit, "cgroup.procs")
	if err != nil {
		return fmt.Errorf("cannot list the processes of the daemon's cgroup: %w", err)
	}
	for _, pid := range pids {
		if pid != os.Getpid() {
			return fmt.Errorf("the daemon shares its cgroup with others, such as process %d: "+
				"it needs a unit with Delegate=yes", pid)
		}
	}
	return nil
}

// hasAttribute looks for an attribute that systemd 252 and later sets on cgroups.
func hasAttribute(dir int, name string) bool {
	_, err := unix.Fgetxattr(dir, name, nil)
	return err == nil
}

// enterLeaf moves this process into the folder daemon. A previous daemon that cannot die may still
// be in it.
func enterLeaf(unit int) error {
	err := unix.Mkdirat(unit, "daemon", 0o755)
	if err == unix.EROFS {
		return fmt.Errorf("cannot make cgroups: %w: the unit has ProtectControlGroups=yes, "+
			"or the container a read-only /sys/fs/cgroup", err)
	}
	if err != nil && err != unix.EEXIST {
		return fmt.Errorf("cannot make a cgroup for the daemon: %w", err)
	}
	if err := writeFile(unit, "daemon/cgroup.procs", "0"); err != nil {
		return fmt.Errorf("cannot move the daemon into a cgroup of its own: %w", err)
	}
	return nil
}

// makeJobs gives the daemon's user no more than it needs: the limits of the unit stay root's.
func makeJobs(unit, uid, gid int) (int, error) {
	if err := unix.Mkdirat(unit, "jobs", 0o755); err != nil && err != unix.EEXIST {
		return -1, fmt.Errorf("cannot make a cgroup for the commands: %w", err)
	}
	for _, name := range []string{
		"jobs", "jobs/cgroup.procs", "jobs/cgroup.freeze", "cgroup.procs",
	} {
		if err := giveTo(unit, name, uid, gid); err != nil {
			_ = unix.Unlinkat(unit, "jobs", unix.AT_REMOVEDIR)
			return -1, fmt.Errorf("cannot give %s of the daemon's cgroup to user %d: %w: "+
				"does the unit have CAP_CHOWN?", name, uid, err)
		}
	}
	jobs, err := unix.Openat(unit, "jobs", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open the cgroup for the commands: %w", err)
	}
	return jobs, nil
}

// giveTo changes the owner, unless uid owns it already, as in a unit of a user.
func giveTo(dir int, name string, uid, gid int) error {
	var stat unix.Stat_t
	if err := unix.Fstatat(dir, name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if int(stat.Uid) == uid {
		return nil
	}
	return unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// prepare removes the empty cgroups of a previous daemon, and proves, after the drop, that
// processes can be started and ended in a cgroup.
func (c *Cgroups) prepare(with spawner) error {
	if with.noClone3 {
		return errors.New("processes cannot be born into a cgroup: " +
			"this kernel has no clone3, or the container forbids it")
	}
	if c.proven {
		return nil
	}
	// A daemon that was killed after Freeze left it frozen.
	if err := c.Thaw(); err != nil {
		return err
	}
	c.sweeping.Do(c.sweep)
	g, dir, err := c.acquire(true, cgroupLimits{})
	if err != nil {
		return err
	}
	defer g.remove()
	defer unix.Close(dir)
	status, err := with.exitAtOnce(dir)
	if err != nil {
		return fmt.Errorf("cannot start processes in a cgroup: %w", err)
	}
	if status.Signaled() {
		return errors.New("processes started in a cgroup die at birth: " +
			"the unit's own cgroup was once killed, stop and start the unit")
	}
	if err := g.kill(); err != nil {
		return fmt.Errorf("cannot end the processes of a cgroup: %w", err)
	}
	return nil
}

// sweep removes the empty cgroups, and moves the latest name beyond all that exist.
func (c *Cgroups) sweep() {
	for _, name := range c.names() {
		if number, err := strconv.ParseUint(name, 10, 63); err == nil {
			c.last.Store(max(c.last.Load(), number))
		}
		err := unix.Unlinkat(c.jobs, name, unix.AT_REMOVEDIR)
		if err != nil && !c.killFile {
			// A daemon that was killed within freezeAndKill left it frozen.
			_ = writeFile(c.jobs, name+"/cgroup.freeze", "0")
		}
	}
}
