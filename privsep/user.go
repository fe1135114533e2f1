package privsep

import (
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// User is an account of this host.
type User struct {
	Name        string
	UID, GID    int
	Groups      []int // the primary group is the first
	Home, Shell string
	Note        string // what could not be found out, as a line for the log; mostly empty
}

// ErrUnknownUser means that neither /etc/passwd nor another source of the host has the user.
var ErrUnknownUser = errors.New("no such user")

// purpose words the errors for what a user is looked up for.
type purpose struct{ task, option, create string }

func (p purpose) errorf(name, format string, args ...any) error {
	return fmt.Errorf("cannot run %s as %q: %w", p.task, name, fmt.Errorf(format, args...))
}

var (
	forCommands = purpose{
		"commands", "--user",
		"useradd --system --user-group --create-home --shell /usr/sbin/nologin",
	}
	forRoles = purpose{
		"the daemon", "--role-user",
		"useradd --system --user-group --no-create-home --home-dir /nonexistent " +
			"--shell /usr/sbin/nologin",
	}
)

// LookupUser finds a user that commands may run as, with the groups of a login. It reads
// /etc/passwd and asks the host's own tools (getent, id) for the rest: user and groups may come
// from a directory service, and to ask one in this process would take cgo. Each tool gets
// maxToolTime.
//
// Where id is missing the groups come from /etc/group alone, and Note says so. The same holds where
// id fails for a user of /etc/passwd, because such a user must not depend on a directory service.
func LookupUser(name string) (User, error) {
	accounts, err := readAccounts()
	if err != nil {
		return User{}, err
	}
	return accounts.runUser(name)
}

// LookupRoleUser finds the user of the daemon's roles. Groups has its primary group alone: the
// roles need no other. The error wraps ErrUnknownUser if there is no such user.
func LookupRoleUser(name string) (User, error) {
	accounts, err := readAccounts()
	if err != nil {
		return User{}, err
	}
	u, _, err := accounts.lookUp(name, forRoles)
	return u, err
}

// CurrentUser returns the user of this process, for a start without root. Its groups are those of
// the process, not those of /etc/group.
func CurrentUser() (User, error) {
	accounts, err := readAccounts()
	if err != nil {
		return User{}, err
	}
	groups, err := os.Getgroups()
	if err != nil {
		return User{}, fmt.Errorf("cannot read the groups of this process: %w", err)
	}
	u, err := accounts.withUID(os.Getuid())
	u.GID, u.Groups = os.Getgid(), groups
	return u, err
}

// defaultShell is what passwd(5) says an empty shell field means.
const defaultShell = "/bin/sh"

// accounts holds the texts of /etc/passwd and /etc/group, and the tools to ask for what they lack.
type accounts struct {
	passwd, group string
	tools         hostTools
}

func readAccounts() (accounts, error) {
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return accounts{}, fmt.Errorf("cannot look up users: %w", err)
	}
	group, err := os.ReadFile("/etc/group")
	if err != nil {
		return accounts{}, fmt.Errorf("cannot look up groups: %w", err)
	}
	return accounts{string(passwd), string(group), defaultTools()}, nil
}

// runUser finds the user, with all groups, and refuses one with root's ids.
func (a accounts) runUser(name string) (User, error) {
	u, local, err := a.lookUp(name, forCommands)
	if err != nil {
		return User{}, err
	}
	groups, err := a.tools.groups(name, u.GID)
	if err == nil {
		u.Groups = groups
		return u, nil
	}
	if !local && !errors.Is(err, errNoTool) {
		return User{}, forCommands.errorf(name, "its groups are not known: %w; %s",
			err, directoryHint)
	}
	u.Note = fmt.Sprintf("The groups of user %q are those of /etc/group alone, as %v: "+
		"if a directory service (LDAP, SSSD) has more, commands lack them until a restart",
		name, err)
	u.Groups, err = a.groupsOf(name, u.GID)
	return u, err
}

// directoryHint is for a directory service that gives no answer or a wrong one.
const directoryHint = "hint: look at the directory service (LDAP, SSSD) that has it, " +
	"and if it starts after this one, name its unit in After= of a drop-in"

// lookUp finds a user and refuses one with root's ids. Local means that /etc/passwd has the user.
func (a accounts) lookUp(name string, p purpose) (u User, local bool, err error) {
	u, err = a.find(0, name)
	local = !errors.Is(err, ErrUnknownUser)
	if !local {
		u, err = a.tools.userNamed(name)
	}
	switch {
	case errors.Is(err, ErrUnknownUser):
		return User{}, false, p.errorf(name, "%w; "+
			"hint: create it with `%s %s` or name another user with %s; if a directory "+
			"service (LDAP, SSSD) has it, `getent passwd %s` must print it",
			err, p.create, name, p.option, name)
	case err != nil && local:
		return User{}, true, p.errorf(name, "%w", err)
	case err != nil:
		return User{}, false, p.errorf(name, "%w; %s", err, directoryHint)
	}
	return u, local, u.checkIDs(p)
}

// checkIDs refuses root's ids.
func (u User) checkIDs(p purpose) error {
	if u.UID <= 0 {
		return p.errorf(u.Name,
			"uid %d is root's or not valid; hint: name an ordinary user with %s",
			u.UID, p.option)
	}
	if u.GID <= 0 {
		return p.errorf(u.Name, "gid %d is root's or not valid; "+
			"hint: give the user a primary group of its own", u.GID)
	}
	return nil
}

// withUID returns the user of an id. For an id without a user, the name is the number.
func (a accounts) withUID(uid int) (User, error) {
	u, err := a.find(2, strconv.Itoa(uid))
	if !errors.Is(err, ErrUnknownUser) {
		return u, err
	}
	if u, err = a.tools.userOfID(uid); err == nil {
		return u, nil
	}
	u = User{Name: strconv.Itoa(uid), UID: uid, Home: "/", Shell: defaultShell}
	if !errors.Is(err, ErrUnknownUser) {
		u.Note = fmt.Sprintf("The name and the home directory of uid %d are not known, as %v: "+
			"commands have %q and /", uid, err, u.Name)
	}
	return u, nil
}

// find returns the user of the first line whose given field has that value.
func (a accounts) find(field int, value string) (User, error) {
	for line := range strings.Lines(a.passwd) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) == 7 && f[field] == value && value != "" {
			u, err := parseUser(f)
			if err != nil {
				err = fmt.Errorf("cannot use the line of %q in /etc/passwd: %w", f[0], err)
			}
			return u, err
		}
	}
	return User{}, ErrUnknownUser
}

// parseUser parses the seven fields of a line of passwd(5).
func parseUser(f []string) (User, error) {
	uid, err := parseID(f[2])
	if err != nil {
		return User{}, err
	}
	gid, err := parseID(f[3])
	if err != nil {
		return User{}, err
	}
	u := User{Name: f[0], UID: uid, GID: gid, Groups: []int{gid}, Home: f[5], Shell: f[6]}
	if u.Home == "" {
		u.Home = "/"
	}
	if u.Shell == "" {
		u.Shell = defaultShell
	}
	if !path.IsAbs(u.Home) {
		return User{}, fmt.Errorf("its home directory %q is not an absolute path", u.Home)
	}
	return u, nil
}

// groupsOf returns the primary group, and those that list the user as a member in /etc/group.
func (a accounts) groupsOf(name string, primary int) ([]int, error) {
	groups := []int{primary}
	for line := range strings.Lines(a.group) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) != 4 || !slices.Contains(strings.Split(f[3], ","), name) {
			continue
		}
		gid, err := parseID(f[2])
		if err != nil {
			return nil, fmt.Errorf("cannot use the line of %q in /etc/group: %w", f[0], err)
		}
		if !slices.Contains(groups, gid) {
			groups = append(groups, gid)
		}
	}
	return groups, nil
}

// parseID also refuses the largest 32-bit number: for the kernel it means "leave this id as it is",
// so dropping to it would drop nothing.
func parseID(s string) (int, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil || id == 1<<32-1 {
		return 0, fmt.Errorf("%q is not an id", s)
	}
	return int(id), nil
}

// CanEnter returns an error unless the user can change to a directory. The caller must be root or
// that user.
func (u User) CanEnter(dir string) error { return u.try(dir + "/.") }

// CanExecute returns an error unless the user can execute a file. The kernel decides: it knows
// access lists, noexec mounts, and the directories on the way. The caller must be root or that
// user.
func (u User) CanExecute(path string) error { return u.try(path) }

// try asks for access as the user, on a thread of its own. That thread stays locked, so it ends
// with its goroutine, and the changed ids with it. The main thread is never used: it would not end,
// and ps shows its ids. If the goroutine gets it, the main thread is kept busy until another thread
// has tried.
func (u User) try(path string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- u.try(path)
			runtime.UnlockOSThread()
			return
		}
		err := u.becomeOnThisThread()
		if err == nil {
			err = unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, 0)
		}
		done <- err
	}()
	return <-done
}

// becomeOnThisThread is neither undone nor proved: the thread makes no other call than access(2).
func (u User) becomeOnThisThread() error {
	if unix.Getuid() == u.UID {
		return nil
	}
	if err := unix.Setgroups(u.Groups); err != nil {
		return fmt.Errorf("cannot look as user %s: %w", u.Name, err)
	}
	for _, change := range []struct{ call, id uintptr }{
		{unix.SYS_SETRESGID, uintptr(u.GID)},
		{unix.SYS_SETRESUID, uintptr(u.UID)},
	} {
		_, _, errno := unix.RawSyscall(change.call, change.id, change.id, change.id)
		if errno != 0 {
			return fmt.Errorf("cannot look as user %s: %w", u.Name, errno)
		}
	}
	return nil
}
