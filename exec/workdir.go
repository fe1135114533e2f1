package exec

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// isBelowProc finds directories that may be magic links, which Linux before 5.6 cannot refuse in
// the child: /proc/self/fd/N would lead to what only the daemon has open. A link to such a link
// passes; then the rights of the commands' user decide.
func isBelowProc(path string) bool {
	path = filepath.Clean(path)
	return strings.HasPrefix(path+"/", "/proc/") || strings.HasPrefix(path, "/dev/fd/")
}

// inRoot is the command as it starts when its home directory cannot be entered.
func (c *Command) inRoot() *Command {
	root := *c
	root.Env = slices.Clone(c.Env)
	if i := slices.Index(c.Env, "HOME="+c.Dir); i >= 0 {
		root.Env[i] = "HOME=/"
	}
	root.Dir = "/"
	return &root
}

func isDirError(err error) bool {
	var start *StartError
	return errors.As(err, &start) && start.noDir
}

// dirError says what to change about a working directory. Causes that no other directory would help
// against are the host's fault.
func dirError(path string, cause syscall.Errno) error {
	what := "cannot use the working directory " + quote(path)
	advice := map[syscall.Errno]string{
		unix.ENOENT:       "create it or name another",
		unix.ENOTDIR:      "name a directory",
		unix.EACCES:       "let the user that runs commands enter it, or name another",
		unix.EPERM:        "let the user that runs commands enter it, or name another",
		unix.ELOOP:        "name the directory itself, not a link that cannot be followed",
		unix.ENAMETOOLONG: "name one with a shorter path",
	}[cause]
	if advice == "" {
		return hostFault(cause, "%s", what)
	}
	return &StartError{Fault: FaultRequest, What: what + ": " + advice, Err: cause, noDir: true}
}
