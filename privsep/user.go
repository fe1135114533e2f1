package privsep

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// User is the account that commands run as. Groups holds the primary group
// too, as a login of that user would have it.
type User struct {
	Name        string
	UID, GID    int
	Groups      []int
	Home, Shell string
}

// ErrUnknownUser means that /etc/passwd has no such user.
var ErrUnknownUser = errors.New("no such user in /etc/passwd")

// LookupUser finds a user that commands may run as. It reads /etc/passwd and
// /etc/group and nothing else: asking a directory service would need cgo.
func LookupUser(name string) (User, error) {
	accounts, err := readAccounts()
	if err != nil {
		return User{}, err
	}
	return accounts.runUser(name)
}

// CurrentUser is the user of this process, for a start without root. Its groups
// are those that the process has, whatever /etc/group says by now.
func CurrentUser() (User, error) {
	accounts, err := readAccounts()
	if err != nil {
		return User{}, err
	}
	groups, err := os.Getgroups()
	if err != nil {
		return User{}, fmt.Errorf("cannot read the groups of this process: %w", err)
	}
	uid := os.Getuid()
	u, err := accounts.find(2, strconv.Itoa(uid))
	if errors.Is(err, ErrUnknownUser) {
		u, err = User{Name: strconv.Itoa(uid), UID: uid, Home: "/", Shell: defaultShell}, nil
	}
	u.GID, u.Groups = os.Getgid(), groups
	return u, err
}

// defaultShell is what passwd(5) says an empty shell field means.
const defaultShell = "/bin/sh"

// accounts holds the texts of /etc/passwd and /etc/group.
type accounts struct{ passwd, group string }

func readAccounts() (accounts, error) {
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return accounts{}, fmt.Errorf("cannot look up users: %w", err)
	}
	group, err := os.ReadFile("/etc/group")
	if err != nil {
		return accounts{}, fmt.Errorf("cannot look up groups: %w", err)
	}
	return accounts{string(passwd), string(group)}, nil
}

// runUser finds the user and refuses one that would leave root's privileges.
func (a accounts) runUser(name string) (User, error) {
	u, err := a.find(0, name)
	if errors.Is(err, ErrUnknownUser) {
		return User{}, fmt.Errorf("cannot run commands as %q: %w: create it with "+
			"`useradd --system --create-home %s` or name another user with --user", name, err, name)
	}
	if err != nil {
		return User{}, err
	}
	u.Groups, err = a.groupsOf(name, u.GID)
	if err != nil {
		return User{}, err
	}
	return u, u.acceptable()
}

// acceptable refuses the ids that Drop could not drop to.
func (u User) acceptable() error {
	if u.UID <= 0 {
		return fmt.Errorf("cannot run commands as %q: uid %d is root's or not valid: name an ordinary user with --user", u.Name, u.UID)
	}
	if u.GID <= 0 {
		return fmt.Errorf("cannot run commands as %q: gid %d is root's or not valid: give the user a primary group of its own", u.Name, u.GID)
	}
	return nil
}

// find returns the user of the first line whose given field has that value.
func (a accounts) find(field int, value string) (User, error) {
	for line := range strings.Lines(a.passwd) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) == 7 && f[field] == value && value != "" {
			return parseUser(f)
		}
	}
	return User{}, ErrUnknownUser
}

func parseUser(f []string) (User, error) {
	uid, err := parseID(f[2])
	if err != nil {
		return User{}, fmt.Errorf("cannot use the line of %q in /etc/passwd: %w", f[0], err)
	}
	gid, err := parseID(f[3])
	if err != nil {
		return User{}, fmt.Errorf("cannot use the line of %q in /etc/passwd: %w", f[0], err)
	}
	u := User{Name: f[0], UID: uid, GID: gid, Groups: []int{gid}, Home: f[5], Shell: f[6]}
	if u.Home == "" {
		u.Home = "/"
	}
	if u.Shell == "" {
		u.Shell = defaultShell
	}
	return u, nil
}

// groupsOf returns the primary group and those whose member lists name the user.
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

// parseID refuses the largest 32-bit number as well: for the kernel it means
// "leave this id as it is", so dropping to it would drop nothing.
func parseID(s string) (int, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil || id == 1<<32-1 {
		return 0, fmt.Errorf("%q is not an id", s)
	}
	return int(id), nil
}
