package privsep

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ProveDropped returns an error unless every thread is u in each of its ids
// (real, effective, saved, file system), in its groups, and holds no capability,
// and unless root's ids are out of reach.
//
// The bounding set is not asked to be empty: it grants nothing, and sudo in a
// command needs it where the configuration allows sudo.
func ProveDropped(u User) error {
	if err := eachThread(u.checkIDs); err != nil {
		return err
	}
	if err := eachThread(checkNoCapabilities); err != nil {
		return err
	}
	return proveNoWayBack()
}

// proveNoWayBack tries to become root again. What succeeds here is left as it
// is: the caller ends the process.
func proveNoWayBack() error {
	tries := map[string]func() error{
		"setuid(0)":           func() error { return syscall.Setuid(0) },
		"setgid(0)":           func() error { return syscall.Setgid(0) },
		"setresuid(-1, 0, 0)": func() error { return syscall.Setresuid(-1, 0, 0) },
		"setresgid(-1, 0, 0)": func() error { return syscall.Setresgid(-1, 0, 0) },
		"setgroups(0)":        func() error { return syscall.Setgroups([]int{0}) },
	}
	for name, try := range tries {
		if err := try(); !errors.Is(err, syscall.EPERM) {
			return fmt.Errorf("cannot prove that root is dropped: %s answered %v instead of being refused", name, err)
		}
	}
	return nil
}

// status holds the lines of /proc/self/task/TID/status, split into fields.
type status map[string][]string

// eachThread runs check on the status of every thread. A thread started
// meanwhile inherits from one that is checked; one that has ended is passed over.
func eachThread(check func(status) error) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("cannot examine the threads of this process (is /proc mounted?): %w", err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot examine thread %s: %w", task.Name(), err)
		}
		if err := check(parseStatus(string(text))); err != nil {
			return fmt.Errorf("cannot prove the privileges of thread %s: %w", task.Name(), err)
		}
	}
	return nil
}

func parseStatus(text string) status {
	s := status{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			s[key] = strings.Fields(value)
		}
	}
	return s
}

func (u User) checkIDs(s status) error {
	uid, gid := strconv.Itoa(u.UID), strconv.Itoa(u.GID)
	if want := []string{uid, uid, uid, uid}; !slices.Equal(s["Uid"], want) {
		return fmt.Errorf("user ids are %v, not %v", s["Uid"], want)
	}
	if want := []string{gid, gid, gid, gid}; !slices.Equal(s["Gid"], want) {
		return fmt.Errorf("group ids are %v, not %v", s["Gid"], want)
	}
	want := make([]string, 0, len(u.Groups))
	for _, g := range u.Groups {
		want = append(want, strconv.Itoa(g))
	}
	if !slices.Equal(sortedSet(s["Groups"]), sortedSet(want)) {
		return fmt.Errorf("groups are %v, not %v", s["Groups"], want)
	}
	return nil
}

// sortedSet makes lists comparable: the kernel sorts groups and keeps repeats.
func sortedSet(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// checkNoCapabilities wants a line of zeros for each set, so that a kernel that
// shows no such line is refused too. CapAmb is absent before Linux 4.3.
func checkNoCapabilities(s status) error {
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if len(s[set]) == 0 && set == "CapAmb" {
			continue
		}
		if len(s[set]) != 1 || strings.Trim(s[set][0], "0") != "" {
			return fmt.Errorf("%s is %v, not empty", set, s[set])
		}
	}
	return nil
}
